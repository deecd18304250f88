"""Formats of text files: compression, and files whose columns hold source and target. `table.py` recognises a file."""

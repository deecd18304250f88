"""The corpora, one module or package per source; `load.py` maps `data.name` to it.

Each defines `load` and `load_tests`, described in `load.Source`.
"""

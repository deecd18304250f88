"""Filters of sentence pairs, one kind per module; `registry.py` has their names and `presets.py` combines them.

A filter is a dataclass, whose fields are its parameters, and is called with a pair. It returns the pair, a changed
pair, or None if the pair is dropped. No filter judges a script or a language by the rules of another.
"""

"""Faults of translations, a kind per module; `registry.py` has their names.

A detector returns the lines, from 0, of a text in which it finds the fault, and what it found there. What the reference
or the source does as well is no fault, and where the texts cannot decide, nothing is reported.
"""

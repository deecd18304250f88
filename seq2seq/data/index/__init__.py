"""Corpora and languages that are known by name."""

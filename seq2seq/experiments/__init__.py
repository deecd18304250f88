"""Sweeps and hyper-parameter search."""

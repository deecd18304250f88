"""Sweeps over settings and hyper-parameter search."""

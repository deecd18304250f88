"""Hyper-parameter search: the space in Hydra's grammar, the study and its trials, pruning, the table at the end."""

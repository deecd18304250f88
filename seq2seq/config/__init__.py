"""The schema of every setting: one module per group, how a field is declared, loading and help."""

"""The files of a run: their names, the model file, metrics.jsonl, provenance."""

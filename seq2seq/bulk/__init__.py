"""Translation of many large files by several processes, on one machine or on a Ray cluster."""

"""Search over token ids: beam search, sampling, constraints. Knows no text and no network."""

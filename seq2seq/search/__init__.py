"""Search over token ids: beam search, sampling, logits processors, constraints. Knows no text and no network class."""

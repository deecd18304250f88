"""Text out: beam search over any step function, and the translator that feeds it lines."""

"""Text to token ids and back: vocabularies, segmentations and their samples, what is known of tokens."""

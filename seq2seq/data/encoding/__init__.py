"""Sentence pairs as token ids on the disk, encoded once, in one process or many."""

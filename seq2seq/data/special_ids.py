"""Ids of the four special tokens, the same in every vocabulary; does not import torch."""

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3

SPECIAL_IDS = {"pad_id": PAD_ID, "unk_id": UNK_ID, "bos_id": BOS_ID, "eos_id": EOS_ID}
"""Keys are SentencePiece's training options."""

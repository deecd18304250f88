"""Ids of the four special tokens, the same in every vocabulary; importable without torch."""

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3

SPECIAL_IDS = {"pad_id": PAD_ID, "unk_id": UNK_ID, "bos_id": BOS_ID, "eos_id": EOS_ID}
"""By the names of SentencePiece's training options."""

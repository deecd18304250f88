"""The BLEU tokenizers that a config or `--tokenize` may name. Without OmegaConf, so that `--help` is quick."""

BLEU_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "flores101", "flores200", "spBLEU-1K")
"""By sacreBLEU's names; the last three are SentencePiece models for BLEU of subwords (spBLEU), which it downloads."""

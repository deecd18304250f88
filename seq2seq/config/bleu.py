"""The BLEU tokenizers that a config or `--tokenize` may name. Without OmegaConf, so that `--help` is quick."""

BLEU_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "flores200")
"""By sacreBLEU's names."""

"""The Moses tokenizer for BLEU as older papers computed it.

Multi30k's scripts lower-case the text, normalise its punctuation and tokenise it. In this order, with hyphens left
alone, they give the published reference lengths: 12,103 tokens of German and 13,988 of French in test_2016_flickr.
"""

from __future__ import annotations

import functools

from seq2seq.errors import ConfigError

MOSES = "moses-"
"""Before a language code: the name of a tokenizer."""


class MosesTokenizer:
    """Normalises punctuation and tokenises with sacremoses; a tokenizer for sacreBLEU's BLEU, which lower-cases first.

    Raises:
        ConfigError: sacremoses is not installed.
    """

    def __init__(self, language: str) -> None:
        """`language` is a two-letter code: it decides about apostrophes and abbreviations, English if not known."""
        try:
            import sacremoses
        except ImportError:
            raise ConfigError("the Moses tokenizer needs sacremoses: pip install 'attentional-lstm[moses]'") from None
        self._name = f"{MOSES}{language}-sacremoses-{sacremoses.__version__}"
        self._normalizer = sacremoses.MosesPunctNormalizer(language)
        self._tokenizer = sacremoses.MosesTokenizer(language)
        self._tokens = functools.lru_cache(maxsize=2**16)(self._split)

    def signature(self) -> str:
        """Return the value of `tok` in BLEU's signature."""
        return self._name

    def __call__(self, line: str) -> str:
        """Return the tokens, separated by spaces."""
        return self._tokens(line)

    def _split(self, line: str) -> str:
        return str(self._tokenizer.tokenize(self._normalizer.normalize(line), return_str=True))

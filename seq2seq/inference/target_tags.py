"""The tags that choose the target language of a multilingual model (Johnson et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError

OPTION = "--tgt-lang"


class TargetTags:
    """Source ids that come before every sentence, by target language."""

    def __init__(self, tokenizer: Tokenizer, tags: Mapping[str, Sequence[str]]) -> None:
        """Take the symbols of each language (`DataConfig.tags`).

        Raises:
            ConfigError: the vocabulary lacks a symbol.
        """
        self.symbols = {language: list(symbols) for language, symbols in tags.items()}
        self._ids = {language: tokenizer.src_symbols(symbols) for language, symbols in tags.items()}

    @property
    def languages(self) -> list[str]:
        """Target languages of the model; empty: unknown."""
        return list(self._ids)

    def ids(self, language: str | None = None, option: str = OPTION) -> list[int]:
        """Return the ids of the tag of a target language; None: that of the only one; `option` names it in an error.

        Raises:
            ConfigError: the model does not have the language, or has several and none is given.
        """
        if language is None and len(self._ids) < 2:
            return next(iter(self._ids.values()), [])
        if language not in self._ids:
            names = ", ".join(self._ids) or "unknown"
            wrong = (
                f"{option} is missing" if language is None else f"{option} {language} is not a language of the model"
            )
            raise ConfigError(f"{wrong}: its target languages are {names} (in Python tgt_lang)")
        return self._ids[language]

"""What must hold between the corpora of a mix, and for the symbols of a vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence

from seq2seq.config.data import MAIN, DataConfig, DataName
from seq2seq.errors import ConfigError

RESERVED = ("<pad>", "<unk>", "<s>", "</s>")
"""SentencePiece's names of the special ids."""


def check_mix(data: DataConfig) -> None:
    """Check names, languages and tags of the corpora, and the symbols of the vocabulary.

    Raises:
        ConfigError: names the key.
    """
    check_symbols(data.tokenizer.user_symbols, "data.tokenizer.user_symbols")
    for name in data.mix:
        if name == MAIN or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ConfigError(
                f"data.mix.{name}: the name of a corpus has letters, digits, - and _, and is not {MAIN!r}: rename it"
            )
    for name, corpus in data.corpora().items():
        key = corpus_key(name)
        if corpus.tag is not None:
            if not corpus.tag_symbols:
                raise ConfigError(f"{key}.tag is blank: null means that there is none")
            check_symbols(corpus.tag_symbols, f"{key}.tag")
        if corpus.src == corpus.tgt and corpus.name is not DataName.files:
            raise ConfigError(f"{key}.src and {key}.tgt are both {corpus.src!r}: set two different languages")
    _check_languages(data)


def corpus_key(name: str) -> str:
    """Return the key under which a corpus of `DataConfig.corpora` is configured."""
    return "data" if name == MAIN else f"data.mix.{name}"


def check_symbols(symbols: Sequence[str], key: str) -> None:
    """Check that each symbol can be a token of its own.

    Raises:
        ConfigError: a symbol is blank, special or given twice, or has a character that SentencePiece changes.
    """
    for i, symbol in enumerate(symbols):
        if not symbol or re.search(r"[\s\u2581\u2585\x00-\x1f\ud800-\udfff]", symbol):
            raise ConfigError(
                f"{key}={symbol!r} cannot be one token: give text without spaces, control characters, \u2581 and \u2585"
            )
        if symbol in RESERVED or re.fullmatch("<0x[0-9A-F]{2}>", symbol):
            raise ConfigError(f"{key}={symbol} is a special token of every vocabulary: choose another name")
        if symbol in symbols[:i]:
            raise ConfigError(f"{key} has {symbol} twice: give each symbol once")


def _check_languages(data: DataConfig) -> None:
    """Check that the tag of a source sentence decides the target language."""
    languages: dict[str, str] = {}  # by tag
    targets = list(data.tags())
    if len(targets) < 2:
        return
    for name, corpus in data.corpora().items():
        key, tag = corpus_key(name), " ".join(corpus.tag_symbols)
        if not tag:
            raise ConfigError(
                f"{key}.tag is not set, but the corpora have the target languages {' and '.join(targets)}: give each "
                f"a tag, for example {key}.tag='<2{corpus.tgt}>'"
            )
        if languages.setdefault(tag, corpus.tgt) != corpus.tgt:
            raise ConfigError(
                f"{key}.tag={tag} is also the tag of target language {languages[tag]}: give {corpus.tgt} another one"
            )

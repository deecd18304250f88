"""The corpora of `data.mix`: their texts, and no pair in training that shares a sentence with a held-out set."""

from __future__ import annotations

import logging
from collections.abc import Callable

from seq2seq.config.data import MAIN, DataConfig, DataName
from seq2seq.config.mix import corpus_key
from seq2seq.data.corpora import files
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.index.language_codes import base_code
from seq2seq.data.text.splitting import remove_overlap
from seq2seq.errors import ConfigError

log = logging.getLogger(__name__)


def add_mix(corpus: Corpus, config: DataConfig, load: Callable[[DataConfig], Corpus]) -> None:
    """Load the corpora of `data.mix` into `corpus.mix`; `load` loads one that is not made of files.

    Raises:
        ConfigError: a language pair or text that a corpus does not have; names the corpus.
        DataError: a file is missing or damaged.
        DownloadError: a file could not be downloaded.
    """
    settings = config.corpora()
    for name, own in settings.items():
        if name != MAIN:
            corpus.mix[name] = _load(own, corpus_key(name), load)
    corpora = {MAIN: corpus, **corpus.mix}
    held_out = {name: list(part.own_held_out().values()) for name, part in corpora.items()}
    for name, part in corpora.items():
        known = _known(settings, held_out, name)
        if known.src or known.tgt:
            before = len(part.train)
            part.train = remove_overlap(part.train, known)
            if dropped := before - len(part.train):
                log.info("%s: dropped %s pairs that share a sentence with a held-out set", name, f"{dropped:,}")
    for name, part in corpus.mix.items():
        part.train = part.train.first(settings[name].train_pairs)
        sizes = (f"{size:,}" for size in (len(part.train), len(part.valid), sum(map(len, part.tests.values()))))
        own = settings[name]
        log.info("%s (%s %s-%s): train %s pairs, valid %s, test %s", name, own.name, own.src, own.tgt, *sizes)


def mix_tests(config: DataConfig, load: Callable[[DataConfig], dict[str, ParallelText]]) -> dict[str, ParallelText]:
    """Return the test sets of `data.mix` as NAME.SET; `load` loads those of a corpus that is not made of files."""
    return {
        f"{name}.{test}": text
        for name, own in config.corpora().items()
        if name != MAIN
        for test, text in (
            files.given_tests(own, corpus_key(name)) if own.name is DataName.files else load(own)
        ).items()
    }


def _load(own: DataConfig, key: str, load: Callable[[DataConfig], Corpus]) -> Corpus:
    if own.name is DataName.files:
        return files.load_given(own, key)
    try:
        return load(own)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def _known(settings: dict[str, DataConfig], held_out: dict[str, list[ParallelText]], name: str) -> ParallelText:
    """Return the sentences of the sets that the other corpora hold out, in the languages of corpus `name`."""
    sides = [
        (base_code(language), lines)
        for other, texts in held_out.items()
        if other != name
        for text in texts
        for language, lines in ((settings[other].src, text.src), (settings[other].tgt, text.tgt))
    ]
    own = settings[name].src, settings[name].tgt
    return ParallelText(
        *([line for language, lines in sides if language == base_code(side) for line in lines] for side in own)
    )

"""Load the corpus that a data config names, and apply `data.train_pairs`, `data.fold` and `data.overfit_pairs`."""

from __future__ import annotations

import logging
from itertools import chain
from typing import Protocol

from seq2seq.config.data import DataConfig, DataName
from seq2seq.data.corpora import files, grammar, huggingface, mtdata, multi30k, opus, tatoeba
from seq2seq.data.corpora.indexed import joined
from seq2seq.data.corpora.mix import add_mix, mix_tests
from seq2seq.data.corpora.named_sets import named_sets
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.text.cleaning import clean
from seq2seq.data.text.splitting import fold, remove_overlap
from seq2seq.data.text.text_store import collected

log = logging.getLogger(__name__)

OVERFIT_TEST = "overfit"


class Source(Protocol):
    """A module of one corpus."""

    def load(self, config: DataConfig) -> Corpus:
        """Return the corpus with clean training text, downloaded first if necessary.

        Raises:
            ConfigError: a language pair that the corpus does not have.
            DataError: a file is missing or damaged.
            DownloadError: a file could not be downloaded.
        """

    def load_tests(self, config: DataConfig) -> dict[str, ParallelText]:
        """Return the test sets of `load`; training files need not exist if the test sets are files of their own."""


SOURCES: dict[DataName, Source] = {
    DataName.tatoeba: tatoeba,
    DataName.grammar: grammar,
    DataName.multi30k: multi30k,
    DataName.files: files,
    DataName.mtdata: mtdata,
    DataName.wmt: mtdata,
    DataName.opus: opus,
    DataName.huggingface: huggingface,
}


def load_corpus(config: DataConfig) -> Corpus:
    """Load the configured corpus; raises as `Source.load`."""
    corpus = _with_named_sets(config)
    if config.fold_of is None:
        corpus.train = corpus.train.first(config.train_pairs)
    else:
        corpus.train, corpus.valid = fold(cross_validation_text(corpus, config), *config.fold_of)
        corpus.held_out |= {"valid"}
    tests = ", ".join(f"{name} {len(text):,}" for name, text in corpus.tests.items())
    log.info(
        "%s %s-%s: train %s pairs, valid %s, %s",
        *(config.name.name, config.src, config.tgt, f"{len(corpus.train):,}", f"{len(corpus.valid):,}", tests),
    )
    if config.overfit_pairs is not None:
        return overfit(corpus, config.overfit_pairs)
    if config.mix:
        add_mix(corpus, config, lambda own: SOURCES[own.name].load(own))
    return corpus


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """Load the test sets of `load_corpus`, without its training text where possible."""
    if config.overfit_pairs is not None:
        return load_corpus(config).tests
    own_tests = SOURCES[config.name].load_tests(config)
    named = named_sets(config.test_datasets, config, "data.test_datasets")
    return own_tests | named | mix_tests(config, lambda own: SOURCES[own.name].load_tests(own))


def _with_named_sets(config: DataConfig) -> Corpus:
    """Return the corpus with the sets of `data.valid_datasets`, in place of its own, and `data.test_datasets`."""
    # Before the training text, so that a wrong name costs no time.
    valid = named_sets(config.valid_datasets, config, "data.valid_datasets")
    tests = named_sets(config.test_datasets, config, "data.test_datasets")
    corpus = SOURCES[config.name].load(config)
    if valid:
        corpus.valid = joined([*valid.values()])
        corpus.held_out -= {"valid"}
    corpus.tests |= tests
    return corpus


def cross_validation_text(corpus: Corpus, config: DataConfig) -> ParallelText:
    """Return the training and validation text that cross-validation divides, at most `data.train_pairs` pairs.

    The test sets stay those of a run without folds, so that scores are comparable. A test set held out of data.train
    may share sentences with a given data.valid; such validation pairs are dropped.
    """
    text = collected(chain(corpus.train, corpus.valid), corpus.train)
    if "test" in corpus.held_out:
        text = remove_overlap(text, corpus.tests["test"])
    return clean(text, config).first(config.train_pairs)


def overfit(corpus: Corpus, limit: int) -> Corpus:
    """Return a corpus whose training, validation and test set are the first `limit` training pairs.

    The tokenizer is still trained on all training text: so few pairs contain too few subwords for the vocabulary of
    the config under test.
    """
    subset = corpus.train.first(limit)
    log.warning("data.overfit_pairs: train, validate and test on the first %s training pairs only", f"{len(subset):,}")
    if conflicts := len(set(subset)) - len(set(subset.src)):
        log.warning("%d of these pairs cannot be memorised: another pair has the same source sentence", conflicts)
    held_out = frozenset({"valid", OVERFIT_TEST})
    return Corpus(subset, subset, {OVERFIT_TEST: subset}, tokenizer_text=corpus.train, held_out=held_out)

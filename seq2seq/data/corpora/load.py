"""From a data config to text: the corpora by name."""

from __future__ import annotations

import logging
import operator

from seq2seq.config.data import DataConfig, DataName
from seq2seq.data.corpora import multi30k, tatoeba
from seq2seq.data.corpus import Corpus, ParallelText, clean, is_given, read_parallel
from seq2seq.data.splitting import fold, hold_out
from seq2seq.errors import ConfigError

log = logging.getLogger(__name__)

GRAMMAR_TRAIN_PAIRS = 100_000
GRAMMAR_SEED = 1
OVERFIT_TEST = "overfit"
SIDES = operator.attrgetter("src"), operator.attrgetter("tgt")


def load_corpus(config: DataConfig) -> Corpus:
    """Read, clean and split the configured corpus, downloading it first if need be.

    Raises:
        ConfigError, DataError, DownloadError: one line that says what to change.
    """
    load = {
        DataName.tatoeba: _tatoeba,
        DataName.grammar: _grammar,
        DataName.multi30k: _multi30k,
        DataName.files: _files,
    }[config.name]
    corpus, dropped = load(config)
    if config.fold_of is None:
        corpus.train = corpus.train.first(config.train_pairs)
    else:
        corpus.train, corpus.valid = fold(pool(corpus, config), *config.fold_of)
    tests = ", ".join(f"{name} {len(text):,}" for name, text in corpus.tests.items())
    log.info(
        "%s %s-%s: train %s, valid %s, %s (%s training pairs with a blank side dropped)",
        config.name.name, config.src, config.tgt, f"{len(corpus.train):,}", f"{len(corpus.valid):,}", tests, dropped,
    )  # fmt: skip
    return corpus if config.overfit_pairs is None else overfit(corpus, config.overfit_pairs)


def pool(corpus: Corpus, config: DataConfig) -> ParallelText:
    """Return what cross-validation divides: the training text, then the validation text, up to `data.train_pairs`.

    The test sets are those of a run without folds, so results can be compared. Where one is held out of the training
    text, the validation text may have its sentences: such pairs are left out.
    """
    both = ParallelText(corpus.train.src + corpus.valid.src, corpus.train.tgt + corpus.valid.tgt)
    if config.name is DataName.files and not is_given(config.test):
        said = [{line.lower() for text in corpus.tests.values() for line in side(text)} for side in SIDES]
        free = (pair for pair in both if not any(line.lower() in known for line, known in zip(pair, said, strict=True)))
        both = ParallelText.from_pairs(list(free))
    return clean(both)[0].first(config.train_pairs)


def overfit(corpus: Corpus, limit: int) -> Corpus:
    """Return a corpus whose every part is the first `limit` training pairs.

    The tokenizer still learns from all of the training text: so few pairs have too few pieces for the vocabulary of
    the configuration that is to be proved.
    """
    few = corpus.train.first(limit)
    log.warning("data.overfit_pairs: train, validate and test on the first %s training pairs only", f"{len(few):,}")
    if conflicts := len(set(few)) - len(set(few.src)):
        log.warning("%d of them cannot be memorised: another one has the same source sentence", conflicts)
    return Corpus(few, few, {OVERFIT_TEST: few}, pieces=corpus.train)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """Read the test sets only; where they are files of their own, the training text need not be there."""
    if config.overfit_pairs is not None:
        return load_corpus(config).tests
    if config.name is DataName.multi30k:
        return multi30k.read_tests(config)
    if config.name is DataName.files and is_given(config.test):
        return {"test": read_parallel(config.test, "data.test")}
    return load_corpus(config).tests


def _tatoeba(config: DataConfig) -> tuple[Corpus, int]:
    text, dropped = clean(tatoeba.read(config))
    splits = hold_out(text, config.valid_pairs, config.test_pairs)
    return Corpus(splits.train, splits.valid, {"test": splits.test}), dropped


def _multi30k(config: DataConfig) -> tuple[Corpus, int]:
    train, dropped = clean(multi30k.read(config, "train"))
    return Corpus(train, multi30k.read(config, "val"), multi30k.read_tests(config)), dropped


def _files(config: DataConfig) -> tuple[Corpus, int]:
    train, dropped = clean(read_parallel(config.train, "data.train"))
    valid = read_parallel(config.valid, "data.valid") if is_given(config.valid) else None
    test = read_parallel(config.test, "data.test") if is_given(config.test) else None
    if valid is None or test is None:
        splits = hold_out(train, 0 if valid else config.valid_pairs, 0 if test else config.test_pairs)
        train, valid, test = splits.train, valid or splits.valid, test or splits.test
    return Corpus(train, valid, {"test": test}), dropped


def _grammar(config: DataConfig) -> tuple[Corpus, int]:
    from seq2seq.data.corpora.grammar import splits  # only this corpus needs its word tables

    if {config.src, config.tgt} != {"en", "de"}:
        raise ConfigError(f"data.src={config.src} data.tgt={config.tgt}: data=grammar makes en-de and de-en")
    count = config.train_pairs or GRAMMAR_TRAIN_PAIRS
    made = splits(count, config.valid_pairs, config.test_pairs, seed=GRAMMAR_SEED)
    texts = {name: ParallelText.from_pairs(pairs) for name, pairs in made.items()}
    if config.src == "de":
        texts = {name: text.swapped() for name, text in texts.items()}
    return Corpus(texts["train"], texts["valid"], {"test": texts["test"]}), 0

"""Complete a corpus whose source has only training text, or not every set: the other sets are held out of it."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.text.splitting import hold_out


def complete(
    train: ParallelText, valid: ParallelText | None, tests: dict[str, ParallelText], config: DataConfig
) -> Corpus:
    """Return a corpus; a missing validation or test set is held out of `train`.

    It is not held out if `data.valid_datasets` or `data.test_datasets` name one, which `load.load_corpus` adds.
    """
    needs_valid = valid is None and not config.valid_datasets
    needs_test = not tests and not config.test_datasets
    held_out = frozenset(name for name, needed in (("valid", needs_valid), ("test", needs_test)) if needed)
    if held_out:
        pairs = config.valid_pairs if needs_valid else 0, config.test_pairs if needs_test else 0
        splits = hold_out(train, *pairs)
        train = splits.train
        valid = splits.valid if needs_valid else valid
        tests = {"test": splits.test} if needs_test else tests
    return Corpus(train, valid or ParallelText([], []), tests, held_out=held_out)

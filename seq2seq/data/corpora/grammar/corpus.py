"""The synthetic corpus in the configured direction and size."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.data.corpora.grammar.generate import splits
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.errors import ConfigError

TRAIN_PAIRS = 100_000
"""Number of training pairs if data.train_pairs is not given."""
SEED = 1


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    parts = _parts(config, config.train_pairs or TRAIN_PAIRS)
    held_out = frozenset({"valid", "test"})
    return Corpus(parts["train"], parts["valid"], {"test": parts["test"]}, held_out=held_out)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`; the test set does not depend on the number of training pairs, so none are generated."""
    return {"test": _parts(config, train_pairs=0)["test"]}


def _parts(config: DataConfig, train_pairs: int) -> dict[str, ParallelText]:
    if {config.src, config.tgt} != {"en", "de"}:
        raise ConfigError(f"data.src={config.src} data.tgt={config.tgt}: data=grammar makes en-de and de-en")
    pairs = splits(train_pairs, config.valid_pairs, config.test_pairs, seed=SEED)
    parts = {name: ParallelText.from_pairs(part) for name, part in pairs.items()}
    return parts if config.src == "en" else {name: text.swapped() for name, text in parts.items()}

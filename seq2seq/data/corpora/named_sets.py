"""Validation and test sets by name, for any training corpus: those of sacreBLEU, and corpora of the index."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.data.corpora import indexed, sacrebleu_sets
from seq2seq.data.corpus import ParallelText
from seq2seq.data.index import corpus_index
from seq2seq.errors import ConfigError


def named_sets(names: list[str], config: DataConfig, key: str) -> dict[str, ParallelText]:
    """Return the sets in the configured direction, by name.

    Raises:
        ConfigError: a name is neither a test set of sacreBLEU nor a corpus of the index, or not for these languages.
        DataError: a file is damaged.
        DownloadError: a file could not be downloaded.
    """
    return {name: _read(name, config, key) for name in dict.fromkeys(names)}


def _read(name: str, config: DataConfig, key: str) -> ParallelText:
    if sacrebleu_sets.is_known(name):
        own_files = "data.test.src and data.test.tgt"
        src, first, *_ = sacrebleu_sets.read(name, f"{config.src}-{config.tgt}", key, own_files)
        return ParallelText(src, first)
    if name.count("-") < 4:
        raise ConfigError(
            f"{key}: {name} is neither a test set of sacreBLEU (sacrebleu --list) nor a corpus of the index (python -m "
            f"seq2seq.data search {config.src}-{config.tgt})"
        )
    (dataset,) = corpus_index.named([name], config.src, config.tgt, key)
    return indexed.read(dataset, config, key)

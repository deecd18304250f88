"""The user's own text files (data=files); validation and test sets that are not given are held out of data.train.

The clean training text and what is held out of it are written to the cache once, as a stream, so that a text may be
larger than memory. Their folder is named by the content of the files and the settings that change them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from seq2seq.atomic_files import part_folder
from seq2seq.config.data import DataConfig, FilesConfig
from seq2seq.data.cached_folders import cached_folder
from seq2seq.data.cleaning import cleaned
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.download import cache_dir, sha256
from seq2seq.data.reading import is_given, read_pairs
from seq2seq.data.splitting import held_out_rows
from seq2seq.data.text_store import open_text, reordered, temporary_text, write_text
from seq2seq.errors import DataError

log = logging.getLogger(__name__)

FORMAT = 1  # of the text in the cache
LATER = ("cache_dir", "train_pairs", "max_length", "overfit_pairs", "fold", "tokenizer", "sampling", "bleu_tokenizer")
"""Settings that do not change the text in the cache."""
MESSAGES_NAME = "messages.json"
FILE_KEYS = ("src", "tgt", "tsv")


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    given = {name: getattr(config, name) for name in ("valid", "test") if is_given(getattr(config, name))}
    sets = {name: _read(files, f"data.{name}") for name, files in given.items()}
    held_out = [name for name in ("valid", "test") if name not in sets]
    texts = _stored(config, ["train", *held_out])
    sets |= {name: ParallelText(list(texts[name].src), list(texts[name].tgt)) for name in held_out}
    return Corpus(texts["train"], sets["valid"], {"test": sets["test"]}, held_out=frozenset(held_out))


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return {"test": _read(config.test, "data.test")} if is_given(config.test) else load(config).tests


def _stored(config: DataConfig, names: list[str]) -> dict[str, ParallelText]:
    """Return the clean training text and the sets held out of it, from the cache if they are there.

    Files that can be read only once, such as `<(command)`, are read into a folder that is removed at the end.
    """
    _check(config.train, "data.train")
    cache = cache_dir(config.cache_dir) / "text"
    paths = [Path(path).expanduser() for path in _paths(config.train)]
    if not all(path.is_file() for path in paths):
        return temporary_text(cache, lambda folder: _write(config, folder), names)
    folder = cache / _key(config, paths)
    if not cached_folder(folder, lambda temporary: _write(config, temporary), "the text is read again"):
        for level, message in json.loads((folder / MESSAGES_NAME).read_text(encoding="utf-8")):
            log.log(level, "%s", message)
    return {name: open_text(folder, name) for name in names}


def _write(config: DataConfig, folder: Path) -> None:
    """Write the texts that `_stored` returns, and the messages that were logged meanwhile."""
    with _recorded_messages() as messages:
        pairs = cleaned(read_pairs(config.train, "data.train"))
        valid, test = (
            0 if is_given(files) else count
            for files, count in ((config.valid, config.valid_pairs), (config.test, config.test_pairs))
        )
        if not valid + test:
            write_text(folder, "train", pairs)
        else:
            with part_folder(folder) as whole:
                write_text(whole, "text", pairs)
                text = open_text(whole, "text")
                rows = held_out_rows(text, valid, test)
                for name in ("train", "valid", "test"):
                    write_text(folder, name, reordered(text, getattr(rows, name)))
    (folder / MESSAGES_NAME).write_text(json.dumps(messages), encoding="utf-8")


def _key(config: DataConfig, paths: list[Path]) -> str:
    """Return the name of the folder of the text."""
    settings = {name: value for name, value in asdict(config).items() if name not in LATER}
    for name in ("train", "valid", "test"):
        settings[name] = {key: bool(value) if key in FILE_KEYS else value for key, value in settings[name].items()}
    try:
        contents = [sha256(path) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: {(error.strerror or str(error)).lower()}") from None
    described = json.dumps([FORMAT, settings, contents], default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:32]


def _paths(files: FilesConfig) -> list[str]:
    return [path for path in (files.src, files.tgt, files.tsv) if path]


@contextmanager
def _recorded_messages() -> Iterator[list[tuple[int, str]]]:
    """Yield a list of the messages that are logged inside the block: a later run logs them again."""
    messages: list[tuple[int, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append((record.levelno, record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger("seq2seq.data")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _read(files: FilesConfig, key: str) -> ParallelText:
    """Read a validation or test set into memory; raises as `_check` and `read_pairs`."""
    _check(files, key)
    return ParallelText.from_pairs(list(read_pairs(files, key)))


def _check(files: FilesConfig, key: str) -> None:
    """Check that none of the files would be waited for without end.

    Raises:
        DataError: a file is a named pipe or a device; standard input and `<(command)`, both under /dev, may be pipes.
    """
    for name in FILE_KEYS:
        path = getattr(files, name)
        try:
            mode = os.stat(Path(path).expanduser()).st_mode if path else stat.S_IFREG
        except (OSError, RuntimeError, ValueError):  # reading it says why
            continue
        is_open = stat.S_ISFIFO(mode) and Path(path).is_relative_to("/dev")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or is_open):
            raise DataError(f"{key}.{name}={path} is a pipe or a device: give a text file")

"""The user's own text files (data=files); validation and test sets that are not given are held out of data.train.

The clean training text and what is held out of it are written to the cache once, as a stream, so that a text may be
larger than memory. Their folder is named by the content of the files and the settings that change them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.files.cached_folders import cached_folder
from seq2seq.data.files.download import cache_dir
from seq2seq.data.files.file_digest import sha256
from seq2seq.data.files.reading import is_given, read_pairs, read_parallel
from seq2seq.data.filters.presets import PRESETS
from seq2seq.data.filters.registry import complete_spec
from seq2seq.data.formats.paths import expand
from seq2seq.data.text.cleaning import cleaned
from seq2seq.data.text.splitting import held_out_rows
from seq2seq.data.text.text_store import open_text, temporary_text, write_rows, write_text
from seq2seq.errors import DataError
from seq2seq.filesystem.atomic_files import part_folder

log = logging.getLogger(__name__)

FORMAT = 1  # of the text in the cache
MESSAGES_NAME = "messages.json"
FILE_KEYS = ("src", "tgt", "tsv", "table")


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    valid = _read(config, "valid") if is_given(config.valid) else None
    tests = given_tests(config, "data")
    sizes = {
        "valid": 0 if valid is not None or config.valid_datasets else config.valid_pairs,
        "test": 0 if tests or config.test_datasets else config.test_pairs,
    }
    texts = _stored(config, "data", sizes)
    held_out = {name: ParallelText(list(texts[name].src), list(texts[name].tgt)) for name in sizes if sizes[name]}
    valid = held_out.get("valid", valid or ParallelText([], []))
    tests = {"test": held_out["test"]} if "test" in held_out else tests
    return Corpus(texts["train"], valid, tests, held_out=frozenset(held_out))


def load_given(config: DataConfig, key: str) -> Corpus:
    """Return the corpus of the given files alone, from which nothing is held out; `key` is that of the corpus."""
    valid = _read(config, "valid", key) if is_given(config.valid) else ParallelText([], [])
    return Corpus(_stored(config, key, {"valid": 0, "test": 0})["train"], valid, given_tests(config, key))


def given_tests(config: DataConfig, key: str) -> dict[str, ParallelText]:
    """Return the test set of the given files; none if there are none."""
    return {"test": _read(config, "test", key)} if is_given(config.test) else {}


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    if is_given(config.test):
        return given_tests(config, "data")
    return {} if config.test_datasets else load(config).tests


def _stored(config: DataConfig, key: str, sizes: dict[str, int]) -> dict[str, ParallelText]:
    """Return the clean training text and the sets of these sizes held out of it, from the cache if they are there.

    Files that can be read only once, such as `<(command)`, are read into a folder that is removed at the end.
    """
    names = ["train", *(name for name, size in sizes.items() if size)]
    cache = cache_dir(config.cache_dir) / "text"
    values = {name: value for name in FILE_KEYS if (value := getattr(config.train, name))}
    paths = [Path(path).expanduser() for name, value in values.items() for path in expand(value, f"{key}.train.{name}")]
    if not all(path.is_file() for path in paths):
        return temporary_text(cache, lambda folder: _write(config, key, sizes, folder), names)
    before = _states(paths)
    folder = cache / _key(config, sizes, paths)

    def write(temporary: Path) -> None:
        _write(config, key, sizes, temporary)
        if changed := [str(path) for path, old, new in zip(paths, before, _states(paths), strict=True) if old != new]:
            raise DataError(f"{changed[0]} changed while it was read: start again when it is complete")

    if not cached_folder(folder, write, "the text is read again"):
        for level, message in json.loads((folder / MESSAGES_NAME).read_text(encoding="utf-8")):
            log.log(level, "%s", message)
    return {name: open_text(folder, name) for name in names}


def _write(config: DataConfig, key: str, sizes: dict[str, int], folder: Path) -> None:
    """Write the texts that `_stored` returns, and the messages that were logged meanwhile."""
    with _recorded_messages() as messages:
        pairs = cleaned(read_pairs(config.train, f"{key}.train", (config.src, config.tgt)), config)
        if not any(sizes.values()):
            write_text(folder, "train", pairs)
        else:
            with part_folder(folder) as whole:
                write_text(whole, "text", pairs)
                text = open_text(whole, "text")
                rows = held_out_rows(text, sizes["valid"], sizes["test"])
                write_rows(folder, text, {name: getattr(rows, name) for name in ("train", *sizes)})
    (folder / MESSAGES_NAME).write_text(json.dumps(messages), encoding="utf-8")


def _states(paths: list[Path]) -> list[tuple[int, int] | None]:
    """Return size and time of the last change of each file; None of one that is gone."""
    states: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            state = path.stat()
            states.append((state.st_size, state.st_mtime_ns))
        except OSError:
            states.append(None)
    return states


def _key(config: DataConfig, sizes: dict[str, int], paths: list[Path]) -> str:
    """Return the name of the folder of the text: a hash of the content of the files and of what changes the text."""
    files = {name: value for name, value in asdict(config.train).items() if name not in FILE_KEYS}
    filters = [complete_spec(spec) for spec in PRESETS[str(config.clean)]]
    settings = [FORMAT, config.src, config.tgt, str(config.clean), filters, sizes, files]
    kinds = [bool(getattr(config.train, name)) for name in FILE_KEYS]
    try:
        contents = [sha256(path) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename}: {(error.strerror or str(error)).lower()}") from None
    endings = [path.suffixes for path in paths]  # they tell CSV from TSV
    described = json.dumps([settings, kinds, contents, endings], default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:32]


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


def _read(config: DataConfig, part: str, key: str = "data") -> ParallelText:
    """Read a validation or test set into memory."""
    return read_parallel(getattr(config, part), f"{key}.{part}", (config.src, config.tgt))

"""What an output file may not be: an input of the same command, a model, a folder, or compressed by its name alone.

`filesystem.atomic_files` and `line_writer` write; both leave the old file until the new one is complete.
"""

from __future__ import annotations

import glob
import os
import stat
import zipfile
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from seq2seq.config.paths import path_list
from seq2seq.data.formats.compression import ENDINGS
from seq2seq.errors import ConfigError, DataError
from seq2seq.storage.run_folder import BEST_NAME

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig


def check_output(
    name: str,
    inputs: Iterable[str],
    force: bool | None = None,
    *,
    option: str = "--output",
    compresses: Collection[str] = (),
) -> None:
    """Check, before any work, that writing a file destroys nothing that the user wants to keep.

    Args:
        name: the output; -: standard output.
        inputs: every file that the command reads; a run folder stands for the model in it; -: standard input.
        force: value of the command's --force, without which it overwrites no file; None: it has no such option.
        option: that names the output, for the message.
        compresses: the endings of compressed files that the command can write.

    Raises:
        ConfigError: the output is a folder; has the ending of a compressed file that the command cannot write; or is a
            model, or any file, and `force` is not given.
        DataError: the output is also an input, whatever its name, and `force` is not given.
    """
    found = _found(name, 1)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{option} {name} is a folder: name a file")
    ending = os.path.splitext(name)[1].lower()
    if ending in ENDINGS and ending not in compresses:
        written = " or ".join(["without this ending", *(f"in {known}" for known in compresses)])
        raise ConfigError(f"{option} {name}: {ending} cannot be written: end the name {written}")
    if found is None or not stat.S_ISREG(found.st_mode) or force:  # a device or a pipe is not replaced
        return
    if force is False:
        raise ConfigError(f"{option} {name} exists: name another file, or overwrite it with --force")
    check_not_input(name, inputs)
    if name != "-" and _is_model(name):
        raise ConfigError(f"{option} {name} is a model or checkpoint: name another file, or remove it first")


def check_outputs(named: Mapping[str, str], inputs: Iterable[str], compresses: Collection[str] = ()) -> None:
    """Check the outputs of a command, by the options that name them.

    Raises:
        ConfigError, DataError: as `check_output`; or two outputs are the same file.
    """
    inputs, files = list(inputs), set()
    for option, name in named.items():
        check_output(name, inputs, option=option, compresses=compresses)
        file = os.path.realpath(name)
        if file in files:
            raise ConfigError(f"{name} is named twice as output: name different files")
        files.add(file)


def check_not_input(name: str, inputs: Iterable[str]) -> None:
    """Check that an output is none of the inputs, compared by device and inode: links are found, too.

    Raises:
        DataError: it is; the message names both.
    """
    found = _found(name, 1)
    if found is None or not stat.S_ISREG(found.st_mode):
        return
    for source in inputs:
        for path in (source, os.path.join(source, BEST_NAME)):
            read = _found(path, 0)
            if read is not None and os.path.samestat(found, read):
                output = "standard output" if name == "-" else name
                shown = "standard input" if source == "-" else source
                same = "" if source == name else f": {shown} is the same file"
                raise DataError(f"{output} is both input and output{same}")


def data_files(data: DataConfig) -> list[str]:
    """Return the files that a data config names."""
    corpora = [data, *data.mix.values()]
    texts = [
        file
        for corpus in corpora
        for text in (corpus.train, corpus.valid, corpus.test)
        for value in (text.src, text.tgt, text.tsv, text.table)
        for path in path_list(value, "data")
        for file in [path, *glob.glob(path, recursive=True)]
    ]
    vocabulary = data.tokenizer
    models = (vocabulary.src_model, vocabulary.tgt_model, vocabulary.normalization_rules)
    return [name for name in (*texts, *models) if name]


def _found(name: str, descriptor: int) -> os.stat_result | None:
    """Return the status of a file, or of a standard stream for `-`; None if there is none."""
    for path in (name or ".", os.path.expanduser(name)):
        try:
            return os.fstat(descriptor) if name == "-" else os.stat(path)
        except (OSError, ValueError):  # missing; a name with a null byte
            continue
    return None


def _is_model(name: str) -> bool:
    """Return True for a model file and for a checkpoint, which torch writes as a zip file."""
    from safetensors import SafetensorError, safe_open

    try:
        if zipfile.is_zipfile(name):
            return True
        with safe_open(name, framework="numpy") as content:
            return "config" in (content.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False

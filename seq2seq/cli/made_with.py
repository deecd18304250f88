"""What an output was made with. A command that continues an output refuses one that was made with other settings."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from seq2seq.filesystem.atomic_files import write_atomically


def write_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write settings to a JSON file.

    Raises:
        StorageError: the file cannot be written.
    """
    text = json.dumps(settings, indent=2, default=str) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def changed_settings(path: Path, settings: dict[str, Any]) -> list[str]:
    """Return the names of the settings that differ from those in a JSON file.

    Raises:
        ValueError: the file is damaged or cannot be read.
    """
    settings = json.loads(json.dumps(settings, default=str))
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return sorted(key for key in {**before, **settings} if before.get(key) != settings.get(key))
    except (OSError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def translation_settings(args: argparse.Namespace, models: Sequence[str], ignored: Collection[str]) -> dict[str, Any]:
    """Return what the translation of a line depends on, by the names that errors use.

    Args:
        args: the command line of `translate`.
        models: model files or run folders.
        ignored: the options that do not change it; files are compared by their content.

    Raises:
        ModelFileError, DataError: a file cannot be read.
    """
    files = {"glossary": args.glossary, "shortlist": args.shortlist}
    rerank = [[model_digests(names) for names in args.rerank or ()], args.rerank_weights, args.rerank_as]
    ignored = {*ignored, *files, "rerank", "rerank_weights", "rerank_as"}
    return {
        "models": model_digests(models),
        **{name: path and text_digests([path])[0] for name, path in files.items()},
        **({"rerank": rerank} if args.rerank else {}),
        "options": {name: value for name, value in sorted(vars(args).items()) if name not in ignored},
    }


def text_digests(files: Sequence[str]) -> list[str]:
    """Return the digests of input files, in order; of a pipe or device its name.

    Raises:
        DataError: a file cannot be read.
    """
    from seq2seq.data.files.file_digest import file_digest

    return [
        file_digest(name) if os.path.isfile(name) and not name.startswith("/dev/") else name  # /dev/stdin would be read
        for name in files
    ]


def model_digests(models: Sequence[str]) -> list[str]:
    """Return the digests of models, in order.

    Raises:
        ModelFileError: there is no model.
        DataError: a model cannot be read.
    """
    from seq2seq.data.files.file_digest import file_digest
    from seq2seq.storage.model_file import find_model

    return [file_digest(find_model(Path(name))) for name in models]

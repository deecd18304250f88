"""`translate --engine ray`: find the blocks, skip those that are finished, translate what is left."""

from __future__ import annotations

import argparse
import copy
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.bulk.blocks import JSONL, PARQUET, TEXT, Block, find_files, list_blocks, relative_names
from seq2seq.bulk.manifest import open_folder
from seq2seq.bulk.options import BLOCK_KIB
from seq2seq.bulk.ray_engine import translate_blocks
from seq2seq.cli.line_translation import LineTranslator
from seq2seq.cli.made_with import translation_settings
from seq2seq.cli.progress import progress
from seq2seq.errors import ConfigError
from seq2seq.runtime.ray_cluster import cluster

NO_EFFECT = ("names", "engine", "input", "output", "actors", "device", "threads")
"""Options that change no output, or that the manifest holds by their content."""


def translate_files(args: argparse.Namespace, models: Sequence[str]) -> None:
    """Translate the files of the command line, which `check_bulk` has accepted.

    Raises:
        Seq2SeqError: invalid options, input or models; the blocks that are finished stay.
    """
    logging.basicConfig(format="warning: %(message)s")
    args = _absolute(args)
    models = [*map(_model_path, models)]
    files = find_files(args.input)
    blocks = list_blocks(files, args.output, (args.block_kib or BLOCK_KIB) * 1024)
    if args.n_best > 1 and any(block.kind == PARQUET for block in blocks):
        raise ConfigError("--n-best has no effect for Parquet files, which have one translation in a row")
    check = LineTranslator(_on_cpu(args), models)  # an invalid option fails here, in one line, before Ray starts
    check.check_language(JSONL if all(block.kind == JSONL for block in blocks) else TEXT)
    open_folder(Path(args.output), _settings(args, models, files))
    waiting = [block for block in blocks if not os.path.exists(block.output)]
    start = time.perf_counter()
    lines = _translate(args, models, waiting, len(blocks)) if waiting else 0
    before, seconds = len(blocks) - len(waiting), time.perf_counter() - start
    sys.stderr.write(
        f"{args.output}: {len(blocks):,} blocks, {before:,} finished before; {lines:,} lines in {seconds:.1f} s\n"
    )


def _translate(args: argparse.Namespace, models: Sequence[str], blocks: Sequence[Block], total: int) -> int:
    lines = 0
    with cluster() as ray, progress([], args.output, total - len(blocks), total) as advance:
        for result in translate_blocks(ray, args, models, blocks):
            lines += result.lines
            advance(1)
    return lines


def _absolute(args: argparse.Namespace) -> argparse.Namespace:
    """Return the command line with absolute paths, as a worker may run in another folder, and a number of threads."""
    args = copy.copy(args)
    for name in ("output", "glossary", "shortlist"):
        if (path := getattr(args, name)) is not None:
            setattr(args, name, os.path.abspath(path))
    args.rerank = args.rerank and [[*map(_model_path, names)] for names in args.rerank]
    args.threads = args.threads if isinstance(args.threads, int) else 1
    return args


def _model_path(name: str) -> str:
    from seq2seq.storage.model_file import find_model

    return os.path.abspath(find_model(Path(name)))


def _on_cpu(args: argparse.Namespace) -> argparse.Namespace:
    """Return the command line for this process, which checks the options: it may be on a machine without a GPU.

    Raises:
        ConfigError: `--precision int8` for a GPU.
    """
    here: dict[str, Any] = {}
    if args.device in (None, "auto"):
        here = {"device": "cpu"}
    elif args.device == "cuda":
        if args.precision == "int8":
            raise ConfigError("precision int8 runs on a CPU, not on cuda: add --device cpu, or use fp32 or bf16")
        here = {"device": "cpu", "precision": "fp32"}
    return argparse.Namespace(**{**vars(args), **here})


def _settings(args: argparse.Namespace, models: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """Return all that the outputs depend on, by the names that errors use."""
    from seq2seq.data.files.file_digest import file_digest

    return {
        **translation_settings(args, models, NO_EFFECT),
        "inputs": {name: file_digest(file) for name, file in zip(relative_names(files), files, strict=True)},
    }

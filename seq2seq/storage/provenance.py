"""Provenance of a run: versions, machine, code, data and resolved settings, for each part of the run.

A seed determines a run only as long as these are the same; the records of two runs show what differs.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.errors import ConfigError, first_line
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.kernels import bindings
from seq2seq.storage.run_folder import PROVENANCE_NAME
from seq2seq.version import __version__

PACKAGES = ("torch", "numpy", "sentencepiece", "sacrebleu", "hydra-core", "torchtext", "safetensors")
GIT_SEC = 2.0  # timeout of each git command, for slow network drives
LINES = 1 << 16  # hashed at a time, so that a large corpus is not copied as a whole
log = logging.getLogger(__name__)


def record(folder: Path, facts: dict[str, Any], resumes: bool) -> None:
    """Append `facts` to the record in `folder` if the run resumes another one, else start a new record.

    Log a warning if the record is damaged (it is replaced) or if the data changed since the run started; the run can
    continue in both cases.

    Raises:
        StorageError: the record could not be written; the old one is unchanged.
    """
    path = folder / PROVENANCE_NAME
    parts = _parts_or_warning(path) if resumes else []
    if parts and parts[0].get("data") != facts["data"]:
        log.warning("the data changed since the run started: compare the parts in %s", path)
    text = json.dumps([*parts, facts], indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # An argument that is not UTF-8 contains lone surrogates, which JSON writes as \udcff.
    write_atomically(path, lambda new: new.write_text(text, encoding="utf-8", errors="backslashreplace"))


def first_part(folder: Path) -> dict[str, Any]:
    """Return the facts about the first part of the run in `folder`; none if there is no readable record."""
    return next(iter(read_parts(folder)), {})


def read_parts(folder: Path) -> list[dict[str, Any]]:
    """Return the facts about each part of the run in `folder`; none if there is no readable record."""
    try:
        return _parts(folder / PROVENANCE_NAME)
    except (OSError, ValueError):
        return []


def check_held_out(folder: Path, held_out: dict[str, str]) -> None:
    """Check that a resumed run holds out the same sets as before.

    Args:
        folder: of the run.
        held_out: fingerprints of the sets that are drawn from the training text now.

    Raises:
        ConfigError: another set or one more is drawn, with sentences that the first part was trained on.
    """
    recorded = first_part(folder).get("held_out")
    changed = [name for name, digest in held_out.items() if recorded is not None and recorded.get(name) != digest]
    if changed:
        raise ConfigError(
            f"{folder} cannot be resumed: the {' and '.join(changed)} pairs held out of the training text are not "
            "those that the run started with, and may contain training pairs: restore the text and its settings, or "
            "start a new run"
        )


def make_facts(seed: int, device: torch.device, dtype: torch.dtype, ranks: int, data: str, step: int) -> dict[str, Any]:
    """Return the facts about this process as plain values; unknown ones are None.

    Args:
        seed: of the run.
        device: as resolved.
        dtype: of the matrix products, as resolved.
        ranks: number of processes that train together.
        data: `fingerprint` of the corpus.
        step: number of updates before this part of the run.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "step": step,
        "seed": seed,
        "data": data,
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "kernels": bindings.usable(torch.empty(0, device=device, dtype=dtype)),
        "ranks": ranks,
        "code": code_state(Path(__file__).parent),
        "platform": {
            "os": platform.platform(),
            "cpu": _cpu_name(),
            "logical_cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
        "versions": {
            "python": platform.python_version(),
            "seq2seq": __version__,
            **{name: _version(name) for name in PACKAGES},
        },
    }


def fingerprint(corpus: Corpus) -> str:
    """Return a hash of all texts, which depends on the lines, their order, side and set, and not on the machine."""
    digest = blake2b(digest_size=16)
    _add(digest, ["train", "valid", *sorted(corpus.tests)])
    for text in (corpus.train, corpus.valid, *(corpus.tests[name] for name in sorted(corpus.tests))):
        _add_text(digest, text)
    for name, other in corpus.mix.items():
        _add(digest, [name, fingerprint(other)])
    return digest.hexdigest()


def text_fingerprint(text: ParallelText) -> str:
    """Return a hash of one text, as `fingerprint`."""
    digest = blake2b(digest_size=16)
    _add_text(digest, text)
    return digest.hexdigest()


def code_state(package: Path) -> dict[str, str | bool | None]:
    """Return the commit of the checkout that contains `package`, and if the files of the package differ from it.

    Both are None without git and if git does not track the package: a virtual environment may be inside the checkout
    of another project.
    """
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py") is not None
    commit = _git(package, "rev-parse", "HEAD") if tracked else None
    changes = None if commit is None else _git(package, "status", "--porcelain", "--", ".")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _add_text(digest: blake2b, text: ParallelText) -> None:
    _add(digest, text.src)
    _add(digest, text.tgt)


def _add(digest: blake2b, lines: Sequence[str]) -> None:
    """Hash the number of lines, their lengths and their text, so that different lists of lines hash differently."""
    digest.update(len(lines).to_bytes(8, "little"))
    for start in range(0, len(lines), LINES):
        chunk = list(lines[start : start + LINES])
        digest.update(np.fromiter(map(len, chunk), dtype="<i8", count=len(chunk)).tobytes())
        digest.update("".join(chunk).encode("utf-8", "surrogatepass"))


def _parts(path: Path) -> list[dict[str, Any]]:
    """Return the recorded parts.

    Raises:
        OSError: the record is missing or cannot be read.
        ValueError: it is damaged.
    """
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("not a list of parts")
    return parts


def _parts_or_warning(path: Path) -> list[dict[str, Any]]:
    """Return the recorded parts; none if the record is missing, or damaged, which is logged."""
    try:
        return _parts(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning(
            "%s is damaged (%s): it is replaced by a record that starts with this part of the run",
            path,
            first_line(error),
        )
        return []


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command in `folder`; None if it fails, is missing or times out."""
    # GIT_DIR etc., which hooks set, would select another checkout; a lock could block another git process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SEC,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_name() -> str | None:
    """Return the model name of the processor."""
    try:  # Linux; platform.processor() is empty or says "x86_64" there
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

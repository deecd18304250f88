"""What a run was made with: versions, machine, code, data, settings as they were resolved, for each part of the run.

A seed fixes a run only as long as these stay the same; where two runs differ, their records say in what.
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

from seq2seq.atomic_files import first_line, write_atomically
from seq2seq.data.corpus import Corpus
from seq2seq.kernels import bindings
from seq2seq.version import __version__

PROVENANCE_NAME = "provenance.json"
PACKAGES = ("torch", "numpy", "sentencepiece", "sacrebleu", "hydra-core", "torchtext", "safetensors")
GIT_SEC = 2.0  # on a slow network drive a run does not wait longer for each answer
LINES = 1 << 16  # hashed at a time: a large corpus is not in memory twice
log = logging.getLogger(__name__)


def record(folder: Path, facts: dict[str, Any], resumes: bool) -> None:
    """Append `facts` to the record of the run in `folder`; a run that does not go on with an older one begins its own.

    A record that cannot be read is begun anew, and data that are not those of the run's first part are told: either is
    a warning, as the run itself can go on.

    Raises:
        StorageError: the disk refuses; the older record is kept.
    """
    path = folder / PROVENANCE_NAME
    parts = _read(path) if resumes else []
    if parts and parts[0].get("data") != facts["data"]:
        log.warning("the texts of this run are not those it began with: compare the parts in %s", path)
    text = json.dumps([*parts, facts], indent=2, ensure_ascii=False) + "\n"
    # An argument that is not UTF-8 holds lone surrogates; \udcff is how JSON writes one.
    write_atomically(path, lambda new: new.write_text(text, encoding="utf-8", errors="backslashreplace"))


def make_facts(seed: int, device: torch.device, dtype: torch.dtype, ranks: int, data: str, step: int) -> dict[str, Any]:
    """Return what this process is and is about to do, as plain values; what cannot be found out is None.

    Args:
        seed: of the run.
        device: as resolved.
        dtype: of the matrix products, as resolved.
        ranks: processes that train together.
        data: the corpus's `fingerprint`.
        step: updates made before this part of the run.
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
    """Return a hash of the texts: equal for the same lines in the same order, sides and sets, on any machine."""
    digest = blake2b(digest_size=16)
    _add(digest, ["train", "valid", *sorted(corpus.tests)])
    for text in (corpus.train, corpus.valid, *(corpus.tests[name] for name in sorted(corpus.tests))):
        _add(digest, text.src)
        _add(digest, text.tgt)
    return digest.hexdigest()


def code_state(package: Path) -> dict[str, str | bool | None]:
    """Return the commit of the checkout that `package` is a part of, and whether its files differ from that.

    Both are None without git, and where the package is no part of a checkout: a virtual environment may lie inside
    one of another project.
    """
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py") is not None
    commit = _git(package, "rev-parse", "HEAD") if tracked else None
    changes = None if commit is None else _git(package, "status", "--porcelain", "--", ".")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _add(digest: blake2b, lines: Sequence[str]) -> None:
    """Hash lines so that no other lines give the same bytes: their number, their lengths, their text."""
    digest.update(len(lines).to_bytes(8, "little"))
    for start in range(0, len(lines), LINES):
        some = lines[start : start + LINES]
        digest.update(np.fromiter(map(len, some), dtype="<i8", count=len(some)).tobytes())
        digest.update("".join(some).encode("utf-8", "surrogatepass"))


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the parts that are recorded: none where there is no record, or a damaged one."""
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise ValueError("no list of parts")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("%s is damaged (%s): a new one begins with this part of the run", path, first_line(error))
        return []
    return parts


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says of `folder`; None where it fails, is missing or takes too long."""
    # GIT_DIR and the like, which a hook sets, would speak of another checkout; a lock could be in another git's way.
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
    """Return the name of the processor's model."""
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

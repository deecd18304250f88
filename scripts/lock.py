"""Write constraints.txt: the exact version of everything `.[test]` needs, resolved on an old and on a newer Python.

Usage (make lock): python scripts/lock.py python3.10 python3.11
The first interpreter is the oldest supported one, the second the one the tests run on. Nothing is installed.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Chosen by hand; everything else is the newest that fits.
CHOSEN = [
    "torch==2.13.0",
    "soupsieve<3",  # 3 needs Python 3.11.5, Debian 12 has 3.11.2
]
BACKENDS = ["hatchling", "setuptools"]  # hatchling builds this project, setuptools the sdist of antlr4 (for hydra)
HEADER = """\
# Exact versions for `pip install -c constraints.txt`, written by `make lock` (scripts/lock.py): do not edit.
# CUDA packages are left out: they differ between the builds of torch, and each build names its own.
"""


def resolve(python: str) -> dict[str, str]:
    """Return name -> version of the whole dependency tree as pip of this interpreter resolves it."""
    pip = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = json.loads(subprocess.check_output([*pip, *CHOSEN, *BACKENDS, f"{ROOT}[test]"]))
    found = [item["metadata"] for item in report["install"] if "dir_info" not in item["download_info"]]
    # A CPU build calls itself 2.13.0+cpu; without the local part the pin fits every build.
    versions = {item["name"].lower().replace("_", "-"): item["version"].split("+")[0] for item in found}
    return {name: v for name, v in versions.items() if not name.startswith(("nvidia-", "cuda-", "triton"))}


def main() -> None:
    """Resolve on both interpreters and merge: one line where they agree, two lines with a marker where they do not."""
    oldest, newer = (resolve(python) for python in sys.argv[1:])
    split = f'python_version {{}} "{".".join(map(str, minor_of(sys.argv[2])))}"'
    lines = []
    for name in sorted(oldest | newer):
        if oldest.get(name) == newer.get(name):
            lines.append(f"{name}=={newer[name]}")
            continue
        lines += [f"{name}=={v[name]} ; {split.format(op)}" for v, op in ((oldest, "<"), (newer, ">=")) if name in v]
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def minor_of(python: str) -> list[int]:
    """Return [major, minor] of an interpreter."""
    code = "import sys, json; print(json.dumps(sys.version_info[:2]))"
    version: list[int] = json.loads(subprocess.check_output([python, "-c", code]))
    return version


if __name__ == "__main__":
    main()

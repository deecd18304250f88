"""Write constraints.txt: the exact version of everything `.[test]` needs, resolved for an old and for a newer Python.

Usage (make lock): python scripts/lock.py [--keep] 3.10 3.11
The first version is the oldest supported one, the second the one the tests run on. Neither needs to be there: pip
resolves for another version than its own, from wheels. Nothing is installed. --keep leaves the pins that stand in
constraints.txt as they are, and adds what has none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
# Chosen by hand; everything else is the newest that fits.
CHOSEN = [
    "torch==2.13.0",
    "soupsieve<3",  # 3 needs Python 3.11.5, Debian 12 has 3.11.2
]
BACKENDS = ["hatchling", "setuptools"]  # hatchling builds this project, setuptools the sdist of antlr4 (for hydra)
SDISTS = ["antlr4-python3-runtime==4.9.3"]  # no wheel is published; the one made here fits every Python 3
NAME = "seq2seq-lstm"
HEADER = """\
# Exact versions for `pip install -c constraints.txt`, written by `make lock` (scripts/lock.py): do not edit.
# CUDA packages are left out: they differ between the builds of torch, and each build names its own.
"""
Packages = dict[str, dict[str, Any]]
"""Name -> metadata, as in pip's report."""


def resolve(version: str, project: Path, options: list[str]) -> dict[str, str]:
    """Return name -> version of the whole dependency tree on a version of Python.

    pip takes files that fit this version, but evaluates `python_version < "3.11"` with its own. So what it leaves out
    for that is added and the rest resolved again, and what is there for no other reason is dropped.
    """
    roots = [*CHOSEN, *BACKENDS, f"{NAME}[test] @ {project.as_uri()}"]  # the index has another project of this name
    added: list[str] = []
    while True:
        found = report([*options, "--python-version", version, *roots, *added])
        needed, missing = reach(found, roots, version)
        if not missing:
            break
        added += missing
    # A CPU build calls itself 2.13.0+cpu; without the local part the pin fits every build.
    versions = {name: found[name]["version"].split("+")[0] for name in needed if name != NAME}
    return {name: v for name, v in versions.items() if not name.startswith(("nvidia-", "cuda-", "triton"))}


def report(arguments: list[str]) -> Packages:
    """Return what pip would install."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    # The folder is only named: pip wants one where it resolves for another Python.
    content = json.loads(subprocess.check_output([*pip, "--only-binary=:all:", "--target", "nowhere", *arguments]))
    return {canonicalize_name(item["metadata"]["name"]): item["metadata"] for item in content["install"]}


def reach(found: Packages, roots: Iterable[str], version: str) -> tuple[set[str], list[str]]:
    """Return the packages that `roots` need on a version of Python, and the requirements that are not among `found`."""
    python = {"python_version": version, "python_full_version": f"{version}.0"}
    seen: set[str] = set()
    names: set[str] = set()
    missing: list[str] = []
    stack = list(roots)
    while stack:
        text = stack.pop()
        if text in seen:
            continue
        seen.add(text)
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name not in found:
            requirement.marker = None
            missing.append(str(requirement))
            continue
        names.add(name)
        for one in map(Requirement, found[name].get("requires_dist", [])):
            extras = [{**python, "extra": extra} for extra in ("", *requirement.extras)]
            if one.marker is None or any(one.marker.evaluate(environment) for environment in extras):
                stack.append(str(one))
    return names, missing


def kept_pins(version: str) -> list[str]:
    """Return the pins that constraints.txt has for a version of Python."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    held = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": version})]
    return [f"{pin.name}{pin.specifier}" for pin in held]


def main() -> None:
    """Resolve for both versions and merge: one line where they agree, two lines with a marker where they do not."""
    parser = argparse.ArgumentParser(description="Write constraints.txt.")
    parser.add_argument("--keep", action="store_true", help="leave the pins as they are and add what has none")
    parser.add_argument("versions", nargs=2, metavar="VERSION", help="of Python: the oldest, the newer")
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
        subprocess.check_call([*wheel, str(ROOT), *SDISTS])
        (project,) = Path(folder).glob(f"{NAME.replace('-', '_')}-*.whl")
        for version in args.versions:
            pins = Path(folder, "pins.txt")
            pins.write_text("\n".join(kept_pins(version) if args.keep else []), encoding="utf-8")
            found.append(resolve(version, project, ["--find-links", folder, "--constraint", str(pins)]))
    oldest, newer = found
    lines = []
    for name in sorted(oldest | newer):
        if oldest.get(name) == newer.get(name):
            lines.append(f"{name}=={newer[name]}")
            continue
        split = f'python_version {{}} "{args.versions[1]}"'
        lines += [f"{name}=={v[name]} ; {split.format(op)}" for v, op in ((oldest, "<"), (newer, ">=")) if name in v]
    CONSTRAINTS.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

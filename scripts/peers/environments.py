"""A virtual environment for each toolkit, made once and kept in the cache.

Each has its own packages, installed without their dependencies, and sees the packages of the running interpreter behind
its own: so all toolkits use one build of torch, and neither CUDA packages nor another torch are downloaded.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


class NotMeasured(Exception):
    """A toolkit cannot be measured here; the message is the reason."""


@dataclass(frozen=True)
class Recipe:
    """What to install.

    Attributes:
        packages: requirements, without dependencies; the first is the toolkit.
        before: requirements that must be there before the toolkit is built.
    """

    packages: Sequence[str]
    before: Sequence[str] = ()


# The lists hold what the work imports and the dependencies of this project lack.
RECIPES = {
    "fairseq": Recipe(
        [
            "fairseq==0.12.2",
            "hydra-core==1.0.7",  # fairseq asks for < 1.1
            "omegaconf==2.0.6",
            "antlr4-python3-runtime==4.8",  # the version of hydra-core 1.0
            "bitarray",
            "regex",
        ],
        before=["pip<24.1"],  # later ones reject the metadata of omegaconf 2.0
    ),
    "opennmt": Recipe(["OpenNMT-py==3.5.1", "configargparse", "pyonmttok", "six"]),
    "eole": Recipe(["eole==0.6.4", "configargparse", "pyonmttok", "six"]),
    "joeynmt": Recipe(["joeynmt==2.3.0", "importlib-metadata", "zipp", "lazy-importer"]),
}


def make(name: str, cache: Path) -> Path:
    """Return the Python of the environment of toolkit `name`; create it if it is missing or its recipe has changed.

    Raises:
        NotMeasured: it cannot be created.
    """
    folder = cache / f"environment-{name}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    recipe = json.dumps({**asdict(RECIPES[name]), "python": sys.version, "torch": str(torch_folder())})
    done = folder / "recipe.json"
    if done.is_file() and done.read_text() == recipe:
        return python
    print(f"creating {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in commands(folder, python, RECIPES[name]):
        call(command)
    # Last, so that pip installs what the recipe names, and a build does not see torch.
    site_packages = call([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    Path(site_packages, "running_interpreter.pth").write_text(f"{torch_folder()}\n")
    done.write_text(recipe)
    return python


def commands(folder: Path, python: Path, recipe: Recipe) -> list[list[str]]:
    """Return the commands that create an environment."""
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
    creation = [[sys.executable, "-m", "venv", str(folder)]]
    return creation + [[*install, *packages] for packages in (recipe.before, recipe.packages) if packages]


def torch_folder() -> Path:
    """Return the folder of packages that contains torch."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise NotMeasured("torch is not installed")
    return Path(found.origin).parents[1]


def call(command: Sequence[str], variables: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a command with the environment `variables` in `folder`; return the last line of its output.

    Raises:
        NotMeasured: it fails; the reason is the last line of its messages that is not empty.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=folder)
    except OSError as error:
        raise NotMeasured(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise NotMeasured(reason(done.stderr) or f"{command[0]} ended with status {done.returncode}")
    return (done.stdout.splitlines() or [""])[-1]


def reason(messages: str) -> str:
    """Return the error in the messages of a failed command: its last error line, or its last line."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.partition(":")[0].lower()]
    return (errors or lines or [""])[-1]

"""Files for those who work on the project: they can be read, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2seq.version import __version__

ROOT = Path(__file__).resolve().parents[2]
NAMING_TARGETS = [
    ".ci/run",
    ".pre-commit-config.yaml",
    ".github/workflows/ci.yml",
    ".github/pull_request_template.md",
    "CONTRIBUTING.md",
    "README.md",
]
FORMS = ["bug.yml", "feature.yml"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMING_TARGETS)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|[`: ])make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert set(named) <= targets


def test_the_tests_run_on_every_supported_python() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    versions = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == [f"3.{minor}" for minor in range(10, 10 + len(versions))]  # strings: a bare 3.10 would be 3.1
    assert f'requires-python = ">={versions[0]}"' in pyproject


@pytest.mark.parametrize("name", FORMS)
def test_an_issue_form_asks_for_something(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}")
    assert {"name", "description", "body"} <= form.keys()
    assert any(field.get("validations", {}).get("required") for field in form["body"])
    identifiers = [field["id"] for field in form["body"]]
    assert len(set(identifiers)) == len(identifiers)


def test_local_hooks_run_the_tools_of_make_lint() -> None:
    hooks = {hook["id"]: hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    tools = set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe[1]))
    entries = {hook["entry"].split()[0] for hook in hooks.values() if "entry" in hook}
    assert {f".venv/bin/{tool}" for tool in tools} <= entries


def test_the_citation_names_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()  # what the format requires
    assert citation["authors"] == [{"name": "The seq2seq authors"}]
    assert citation["version"] == __version__

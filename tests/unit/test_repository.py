"""Files for contributors parse, and the targets, paths, links, tools and versions that they name exist."""

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
    "docs/index.md",
]
LINKING = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "data/README.md", "CHANGELOG.md"]
GUIDES = sorted(f"docs/guides/{path.name}" for path in (ROOT / "docs/guides").glob("*.md"))
FOLDERS = [path.name for path in (*ROOT.iterdir(), *(ROOT / "seq2seq").iterdir()) if path.is_dir()]
FORMS = ["bug.yml", "feature.yml"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMING_TARGETS)
def test_named_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|[`: ])make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert set(named) <= targets


@pytest.mark.parametrize("name", LINKING + GUIDES)
def test_named_paths_exist(name: str) -> None:
    """Paths in inline code are relative to the root or to the package; a path with NAME stands for any."""
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(rf"`((?:examples|{'|'.join(FOLDERS)})/[\w./-]*(?:/|\.(?:py|md|yaml|h)))`", text)
    assert [path for path in paths if "NAME" not in path and not exists(path)] == []


def exists(path: str) -> bool:
    return (ROOT / path).exists() or (ROOT / "seq2seq" / path).exists()


def test_documented_benchmarks_read_the_corpus_where_training_downloads_it() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    folders = [folder for text in texts for folder in re.findall(r"scripts/\w+\.py [^\n`]*--data (\S+)", text)]
    assert set(folders) == {str(Path("data", "multi30k"))}


@pytest.mark.parametrize("name", LINKING)
def test_links_lead_somewhere(name: str) -> None:
    """mkdocs checks the links of docs/ only."""
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links or name == "SECURITY.md"  # which has none
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_ci_tests_every_supported_python() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    versions = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == [f"3.{minor}" for minor in range(10, 10 + len(versions))]  # strings: a bare 3.10 would be 3.1
    assert f'requires-python = ">={versions[0]}"' in pyproject


@pytest.mark.parametrize("name", FORMS)
def test_issue_forms_have_required_fields(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}")
    assert {"name", "description", "body"} <= form.keys()
    assert any(field.get("validations", {}).get("required") for field in form["body"])
    identifiers = [field["id"] for field in form["body"]]
    assert len(set(identifiers)) == len(identifiers)


def test_local_hooks_run_the_tools_of_lint() -> None:
    hooks = {hook["id"]: hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    tools = set(re.findall(r"\$\(BIN\)/([\w-]+)", recipe[1]))
    entries = {hook["entry"].split()[0] for hook in hooks.values() if "entry" in hook}
    assert {f".venv/bin/{tool}" for tool in tools} <= entries


def test_citation_has_this_version() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()  # what the format requires
    assert citation["authors"] == [{"name": "The seq2seq authors"}]
    assert citation["version"] == __version__

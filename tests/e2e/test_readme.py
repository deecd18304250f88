"""Commands and code of the README run as written, except that overrides shorten training; settings in guides exist."""

import ast
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/guides").glob("*.md"))]
OVERRIDES = {
    "README": 10,
    "own-data": 40,
    "fine-tuning": 5,
    "experiments": 30,
    "mixing-corpora": 20,
}  # at least this number is found
SHORT = [
    *("data.valid_pairs=10", "data.test_pairs=10", "data.tokenizer.vocab_size=400", "model.hidden_size=16"),
    *("model.emb_size=16", "model.attention_size=16", "training.max_steps=3", "data.cache_dir=cache"),
]


def blocks(language: str, page: Path = ROOT / "README.md") -> list[str]:
    """Return the page's code blocks in a language, with continued lines joined."""
    texts = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text.replace("\\\n", " ") for text in texts]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the README names."""
    folder = tmp_path_factory.mktemp("readme")
    program = "from seq2seq.data.corpora.grammar import splits; print(splits(400, 10, 10, 1))"
    # In a subprocess: the checks of jaxtyping make it slow here.
    process = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    splits = ast.literal_eval(process.stdout)
    for name, part in (("train", "train"), ("new", "valid"), ("test", "test")):
        for side, language in enumerate(("en", "de")):
            lines = "".join(f"{pair[side]}\n" for pair in splits[part])
            (folder / f"{name}.{language}").write_text(lines, encoding="utf-8")
    return folder


def run(command: str, place: Path) -> str:
    """Run a shell command of the README and return its stdout."""
    if "-m seq2seq.train" in command:
        command = f"{command} {shlex.join(SHORT)}"
    command = re.sub(r"\bpython\b", shlex.quote(sys.executable), command)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def own_data(place: Path) -> Path:
    """Run the block “Your own data” line by line."""
    (block,) = (block for block in blocks("sh") if "data.train.src" in block)
    for command in block.strip().splitlines():
        run(command, place)
    return place


def test_own_data_block_trains_and_translates(own_data: Path) -> None:
    assert (own_data / "runs/mine/best.safetensors").is_file()
    assert len((own_data / "new.de").read_text().splitlines()) == 10


def test_translation_session(own_data: Path) -> None:
    shutil.copytree(own_data / "runs/mine", own_data / "runs/tatoeba/DATE_TIME", dirs_exist_ok=True)
    (block,) = blocks("console")
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    outputs = [run(command, own_data).splitlines() for command in commands if "evaluate" not in command]
    assert [len(lines) for lines in outputs] == [2, 2, 2]
    (python,) = blocks("python")
    *_, last = python.strip().splitlines()
    printing = python.replace(last, f"print(*{last}, sep='\\n')")
    assert len(run(f"python -c {shlex.quote(printing)}", own_data).splitlines()) == 2


def test_python_guide_trains_and_translates(place: Path) -> None:
    (block,) = (block for block in blocks("python", ROOT / "docs/guides/python.md") if "seq2seq.train(" in block)
    short = block.replace('"data=grammar"', ", ".join(repr(setting) for setting in ["data=grammar", *SHORT]))
    *_, last = short.strip().splitlines()
    printing = short.replace(last, f"print(len({last}))").replace("runs/mine", "runs/guide")
    assert short != block
    assert run(f"python -c {shlex.quote(printing)}", place).splitlines()[-1] == "1"
    assert (place / "runs/guide/best.safetensors").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_overrides_compose(page: Path) -> None:
    """Every `key=value` in inline code or a shell command is accepted, together with those beside it."""
    from seq2seq.config.loading import compose_config, to_config
    from seq2seq.config.schema import Config

    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    quoted = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    groups = "|".join(field.name for field in dataclasses.fields(Config))
    # Of a sweep's values the first; not a sweep such as interval(0,1), which only -m and tune read.
    pattern = re.compile(rf"'?((?:{groups}|experiment)(?:\.\w+)*=[^\s,()\[']+)(?!\()(?=[\s,']|$)")
    commands = [[m[1] for m in map(pattern.match, code.split()) if m] for code in [*quoted, *shell.splitlines()]]
    assert sum(map(len, commands)) >= OVERRIDES.get(page.stem, 0)
    files = ("data.train.", "data.valid.", "data.test.")  # keys of one corpus only
    for overrides in {tuple(command): None for command in commands if command}:
        corpus = ["data=files"] if any(override.startswith(files) for override in overrides) else []
        to_config(compose_config([*corpus, "data.src=en", "data.tgt=de", *overrides]))


def test_named_make_targets_exist() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"help"}
    assert named
    for target in named:
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target

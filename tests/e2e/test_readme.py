"""What the README says works as written; training is shortened by overrides, nothing else is changed."""

import ast
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
SHORT = [
    *("data.valid_pairs=10", "data.test_pairs=10", "data.tokenizer.vocab_size=400", "model.hidden_size=16"),
    *("model.emb_size=16", "model.attention_size=16", "training.max_steps=3", "data.cache_dir=cache"),
]


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language, continued lines joined."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", " ") for block in found]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README names."""
    folder = tmp_path_factory.mktemp("readme")
    program = "from seq2seq.data.corpora.grammar import splits; print(splits(400, 10, 10, 1))"  # no slow jaxtyping
    made = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    splits = ast.literal_eval(made.stdout)
    for name, part in (("train", "train"), ("new", "valid"), ("test", "test")):
        for side, language in enumerate(("en", "de")):
            lines = "".join(f"{pair[side]}\n" for pair in splits[part])
            (folder / f"{name}.{language}").write_text(lines, encoding="utf-8")
    return folder


def run(command: str, place: Path) -> str:
    """Run one shell command of the README and return what it prints."""
    if "seq2seq.train" in command:
        command = f"{command} {shlex.join(SHORT)}"
    command = re.sub(r"\bpython\b", shlex.quote(sys.executable), command)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def own_data(place: Path) -> Path:
    """The block “Your own data”, run line by line."""
    (block,) = (block for block in blocks("sh") if "data.train.src" in block)
    for command in block.strip().splitlines():
        run(command, place)
    return place


def test_own_data_in_five_lines(own_data: Path) -> None:
    assert (own_data / "runs/mine/best.safetensors").is_file()
    assert len((own_data / "new.de").read_text().splitlines()) == 10


def test_translation_session(own_data: Path) -> None:
    shutil.copytree(own_data / "runs/mine", own_data / "runs/tatoeba/DATE_TIME", dirs_exist_ok=True)
    (block,) = blocks("console")
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    lines = [run(command, own_data).splitlines() for command in commands if "evaluate" not in command]
    assert [len(found) for found in lines] == [2, 3]
    (python,) = blocks("python")
    *_, last = python.strip().splitlines()
    shown = python.replace(last, f"print(*{last}, sep='\\n')")
    assert len(run(f"python -c {shlex.quote(shown)}", own_data).splitlines()) == 2


def test_every_setting_named_is_one() -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore

    from seq2seq.config.loading import config_dir, to_config
    from seq2seq.config.schema import Config

    ConfigStore.instance().store(name="train_schema", node=Config)
    quoted = re.findall(r"`([^`\n]+)`", README)
    pattern = re.compile(r"(?!hydra)[a-z_]+(\.[a-z_]+)*=[^\s,]+")  # of a sweep's values the first
    commands = [[m[0] for m in map(pattern.match, text.split()) if m] for text in quoted]
    assert sum(map(len, commands)) > 10
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        for overrides in filter(None, commands):
            to_config(compose("train", overrides=["data.src=en", "data.tgt=de", *overrides]))


def test_make_targets_exist() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)) - {"help"}:
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target

"""Shortlists: IBM Model 1, the file, and the commands."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file

from seq2seq import evaluate, shortlist, translate
from seq2seq.data.special_ids import EOS_ID
from seq2seq.data.subwords import ibm_model_1
from seq2seq.errors import ConfigError
from seq2seq.inference.translator import Translator
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.storage.model_file import save_model
from seq2seq.storage.run_folder import SHORTLIST_NAME
from tiny_model import SENTENCES, make_model

Pairs = list[tuple[list[int], list[int]]]


def model_1(pairs: Pairs, rounds: int) -> dict[int, dict[int, float]]:
    """p(target | source) by the definition, pair by pair."""
    p: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(lambda: 1.0))
    for _ in range(rounds):
        counts: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for src, tgt in pairs:
            for word in tgt:
                everything = sum(p[read][word] for read in [*src, EOS_ID])
                for read in [*src, EOS_ID]:
                    counts[read][word] += p[read][word] / everything
        p = {read: {word: n / sum(row.values()) for word, n in row.items()} for read, row in counts.items()}
    return p


@pytest.mark.parametrize("seed", range(5))
def test_the_table_is_that_of_ibm_model_1(seed: int) -> None:
    numbers = random.Random(seed)
    pairs = [tuple([numbers.randrange(4, 12) for _ in range(numbers.randint(1, 6))] for _ in "st") for _ in range(30)]
    expected = model_1(pairs, ibm_model_1.ROUNDS)
    table = ibm_model_1.likeliest_translations(pairs, 13, best=4)
    assert not table[12].any()  # not in the source text
    for piece in range(4, 12):
        found = [expected[piece][word] for word in table[piece].tolist() if word]
        assert found == pytest.approx(sorted(expected[piece].values(), reverse=True)[:4])


def test_model_1_separates_words_that_occur_together() -> None:
    das, haus, buch, ein, the, house, book, a = range(4, 12)
    pairs = [([das, haus], [the, house]), ([das, buch], [the, book]), ([ein, buch], [a, book])]
    table = ibm_model_1.likeliest_translations(pairs, 8, best=1)
    assert table[[das, haus, buch, ein], 0].tolist() == [the, house, book, a]


def test_only_part_of_a_large_corpus_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibm_model_1, "MOST_CELLS", 10)
    table = ibm_model_1.likeliest_translations([([4], [5, 6]), ([7] * 9, [8] * 9)], 9, best=2)
    assert sorted(table[4].tolist()) == [5, 6]
    assert not table[7].any()


def test_the_tokens_of_each_sentence() -> None:
    table = torch.zeros(10, 2, dtype=torch.long)
    table[6], table[7] = torch.tensor([9, 4]), torch.tensor([9, 0])
    found = Shortlist(table, torch.tensor([5])).candidates([[6, 7], [8]], required=[[], [12]])
    assert [[token for token in row if token >= 0] for row in found.tokens.tolist()] == [
        [0, 1, 2, 3, 4, 5, 9],
        [0, 1, 2, 3, 5, 12],
    ]
    assert found.union.tolist() == [0, 1, 2, 3, 4, 5, 9, 12]
    own = found.own(found.union.float().expand(2, 1, -1))[:, 0]
    assert torch.equal(own, torch.where(found.tokens >= 0, found.tokens.float(), -torch.inf))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder / "best.safetensors", make_model(folder))
    return folder


def make(model: Path, folder: Path, *options: str, targets: Sequence[str] = SENTENCES) -> int:
    for name, lines in (("src", SENTENCES), ("tgt", targets)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return shortlist.main([str(model), "--src", str(folder / "src"), "--tgt", str(folder / "tgt"), *options])


def test_a_translation_contains_listed_tokens_only(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list"
    assert make(model, tmp_path, "--best", "1", "--frequent", "1", "--output", str(file), targets=["jug"] * 3) == 0
    (tmp_path / "in").write_text("a fox\n", encoding="utf-8")
    assert translate.main([str(model), str(tmp_path / "in"), "--shortlist", str(file), "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert set(output) <= set("jug \n")
    assert output != translated_without(model)


def translated_without(model: Path) -> str:
    (text,) = Translator.load(model, device="cpu").translate(["a fox"])
    return f"{text}\n"


def test_the_default_file_is_beside_the_model_and_can_be_evaluated(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(model, tmp_path) == 0
    assert (model / SHORTLIST_NAME).is_file()
    pair = ["--src", str(tmp_path / "src"), "--ref", str(tmp_path / "tgt"), "--json"]
    assert evaluate.main([str(model), *pair, "--shortlist", str(model / SHORTLIST_NAME)]) == 0
    assert '"bleu"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), ("text", "not a file made by"), ("other", "not a file made by")]
)
def test_a_file_of_another_kind_is_refused(model: Path, tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "list"
    if content == "text":
        path.write_text("no list", encoding="utf-8")
    elif content:
        save_file({"table": torch.zeros(2, 2).numpy()}, path, {"kind": "another"})
    with pytest.raises(ConfigError, match=message):
        Translator.load(model, device="cpu", shortlist=path)


def test_a_list_for_another_vocabulary_is_refused(model: Path, tmp_path: Path) -> None:
    Shortlist(torch.zeros(2, 2, dtype=torch.long), torch.tensor([5])).save(tmp_path / "list", "another")
    with pytest.raises(ConfigError, match="another vocabulary"):
        Translator.load(model, device="cpu", shortlist=tmp_path / "list")


@pytest.mark.parametrize("option", ["--best", "--frequent"])
def test_sizes_out_of_range_are_refused(
    model: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(model, tmp_path, option, "0") == 2
    assert f"error: argument {option}: 0 is not at least 1" in capsys.readouterr().err

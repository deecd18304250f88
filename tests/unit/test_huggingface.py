"""Datasets in a folder, in the formats of the Hugging Face Hub: splits, columns, and errors of one line."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.text_files import ColumnsConfig, SplitsConfig
from seq2seq.data.corpora.load import load_corpus, load_tests
from seq2seq.errors import ConfigError, DataError

pytest.importorskip("datasets")

NESTED = [{"id": i, "translation": {"en": f"house {i}", "de": f"Haus {i}"}} for i in range(60)]
FLAT = [{"source": f"house {i}", "target": f"Haus {i}", "note": None if i else "first"} for i in range(60)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    else:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(folder: Path, **values: Any) -> DataConfig:
    settings = {"src": "en", "tgt": "de", "valid_pairs": 3, "test_pairs": 3, "dataset": str(folder), **values}
    return DataConfig(name=DataName.huggingface, **settings)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("rows", [NESTED, FLAT], ids=["translation", "source and target"])
def test_usual_columns_are_found_and_missing_splits_held_out(
    tmp_path: Path, ending: str, rows: list[dict[str, Any]]
) -> None:
    write(tmp_path / "set", f"train.{ending}", rows)
    corpus = load_corpus(config(tmp_path / "set"))
    assert (len(corpus.train), len(corpus.valid), len(corpus.tests["test"])) == (54, 3, 3)
    assert corpus.held_out == {"valid", "test"}
    assert all(de == en.replace("house", "Haus") for en, de in corpus.train)


def test_splits_of_the_dataset_are_used(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "validation", "test")):
        write(tmp_path / "set", f"{name}.jsonl", NESTED[number : number + 10])
    chosen = config(tmp_path / "set", src="de", tgt="en")
    corpus = load_corpus(chosen)
    assert corpus.held_out == frozenset()
    assert corpus.train.src[0] == "Haus 0"
    assert corpus.valid.tgt[0] == "house 1"
    assert load_tests(chosen) == corpus.tests == {"test": corpus.tests["test"]}
    assert load_tests(config(tmp_path / "moved", root=str(tmp_path / "set"), src="de", tgt="en")) == corpus.tests
    chosen.splits = SplitsConfig(train="validation[:5]", valid="test", test="train")
    corpus = load_corpus(chosen)
    assert len(corpus.train) == 5
    assert (corpus.train.src[0], corpus.valid.src[0], corpus.tests["test"].src[0]) == ("Haus 1", "Haus 2", "Haus 0")


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    rows = [{"a": {"b": f"house {i}\nred"}, "c": f"Haus {i}" if i else None} for i in range(20)]
    write(tmp_path / "set", "train.jsonl", rows)
    corpus = load_corpus(config(tmp_path / "set", columns=ColumnsConfig("a.b", "c")))
    assert ("house 7 red", "Haus 7") in [*corpus.train, *corpus.valid, *corpus.tests["test"]]
    assert not any(en.startswith("house 0") for en in corpus.train.src)  # its target is null


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"dataset": None}, ConfigError, r"set data\.dataset=OWNER/NAME, or a folder"),
        ({"splits": SplitsConfig(train="trian")}, ConfigError, r"data\.splits\.train=trian: .* has train; set data\."),
        ({"splits": SplitsConfig(test="tset")}, ConfigError, r"data\.splits\.test=tset: .* has train"),
        ({"columns": ColumnsConfig("translation.en", "translation.dee")}, DataError, r"no column 'translation\.dee'"),
        ({"columns": ColumnsConfig("translation.en", "id")}, DataError, r"train, row 1: id is int, not a string"),
        ({"columns": ColumnsConfig(src="id")}, ConfigError, r"data\.columns\.src is given without data\.columns\.tgt"),
        (
            {"tgt": "fr"},
            DataError,
            r"its columns are id, translation\.en, translation\.de: choose with data\.col",
        ),
        ({"subset": "en-de"}, ConfigError, r"data\.subset=en-de: .*default"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, values: dict[str, Any], kind: type[Exception], message: str) -> None:
    write(tmp_path / "set", "train.jsonl", NESTED)
    with pytest.raises(kind, match=message) as caught:
        load_corpus(config(tmp_path / "set", **values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", '{"en": "a", "de": "b"}\n{"en": "c", "de": \n', "no JSON"])
def test_a_damaged_folder_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(content)
    with pytest.raises(DataError) as caught:
        load_corpus(config(tmp_path / "set"))
    assert str(tmp_path / "set") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_datasets_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'attentional-lstm\[huggingface\]'"):
        load_corpus(config(tmp_path))

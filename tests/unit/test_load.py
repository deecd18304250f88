"""Each corpus by its name: sets, directions, limits, and the error for a wrong folder or language."""

import gzip
import io
import itertools
import os
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.text_files import FilesConfig
from seq2seq.data.corpora import multi30k
from seq2seq.data.corpora.load import load_corpus, load_tests
from seq2seq.data.files import archives
from seq2seq.errors import ConfigError, DataError

TATOEBA = "".join(f"hello {i}\tbonjour {i}\tCC-BY 2.0 (France) #{i}\n" for i in range(200)).encode()
BOTH_WAYS = [("en", "fr"), ("fr", "en")]


def zipped(data: bytes, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def tarred(data: bytes, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


ZIP = zipped(TATOEBA, "fra.txt")
MEMBER = "nmt-0.0.6/data/fra-eng.zip"
SDIST = tarred(ZIP, MEMBER)


def tatoeba(root: Path, src: str = "en", tgt: str = "fr", **settings: int) -> DataConfig:
    return DataConfig(root=str(root), src=src, tgt=tgt, **{"valid_pairs": 5, "test_pairs": 7, **settings})


@pytest.mark.parametrize(("name", "data"), [("fra.txt", TATOEBA), ("fra-eng.zip", ZIP), ("nmt-0.0.6.tar.gz", SDIST)])
@pytest.mark.parametrize(("src", "tgt"), BOTH_WAYS)
def test_tatoeba_from_a_folder(tmp_path: Path, name: str, data: bytes, src: str, tgt: str) -> None:
    (tmp_path / name).write_bytes(data)
    corpus = load_corpus(tatoeba(tmp_path, src, tgt))
    assert (len(corpus.train), len(corpus.valid), len(corpus.tests["test"])) == (188, 5, 7)
    assert corpus.tests == load_tests(tatoeba(tmp_path, src, tgt))
    greeting = {"en": "hello", "fr": "bonjour"}
    for left, right in corpus.train:
        assert left.split() == [greeting[src], right.split()[1]]
        assert right.startswith(greeting[tgt])


def test_tatoeba_holds_out_the_same_pairs_in_both_directions(tmp_path: Path) -> None:
    (tmp_path / "fra.txt").write_bytes(TATOEBA)
    forward, backward = (load_corpus(tatoeba(tmp_path, *pair)) for pair in BOTH_WAYS)
    assert forward.tests["test"] == backward.tests["test"].swapped()
    assert forward.valid == backward.valid.swapped()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("other.txt", b"", r"contains none of fra\.txt, fra-eng\.zip, nmt-0\.0\.6\.tar\.gz"),
        ("fra-eng.zip", ZIP[:-30], r"cannot read fra\.txt"),
        ("fra-eng.zip", zipped(b"", "spa.txt"), r"cannot read fra\.txt"),
        ("nmt-0.0.6.tar.gz", SDIST[: len(SDIST) // 2], "damaged archive"),
        ("nmt-0.0.6.tar.gz", b"junk", "damaged archive"),
        ("nmt-0.0.6.tar.gz", tarred(b"", "else"), "damaged archive"),
        ("fra.txt", b"a\tb\nonly one column\n", r"fra\.txt, line 2: no tab"),
        ("fra.txt", b"", "0 pairs"),
    ],
    ids=itertools.count(),  # archives contain the time, and test ids must be the same in every process
)
def test_tatoeba_from_a_wrong_folder(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        load_corpus(tatoeba(tmp_path))
    assert "\n" not in str(caught.value)


def tar_with(kind: bytes, target: str) -> bytes:
    """Return a source distribution whose member is a folder, a link or a device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(MEMBER)
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return buffer.getvalue()


def zip_with(change: bytes, offsets: dict[bytes, int], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip file with other bytes at these offsets behind each signature."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("fra.txt", TATOEBA)
    data = bytearray(buffer.getvalue())
    for signature, offset in offsets.items():
        at = data.index(signature) + offset
        data[at : at + len(change)] = change
    return bytes(data)


FLAGS = {b"PK\3\4": 6, b"PK\1\2": 8}
METHODS = {b"PK\3\4": 8, b"PK\1\2": 10}
SIZES = {b"PK\3\4": 22, b"PK\1\2": 24}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("fra-eng.zip", zip_with(b"\1", FLAGS), "it is encrypted"),
        ("fra-eng.zip", zip_with(b"", {}, zipfile.ZIP_BZIP2), "compression method 12 is not supported"),
        ("fra-eng.zip", zip_with(b"\x63", METHODS), "compression method 99 is not supported"),
        ("fra-eng.zip", zip_with(b"\xff" * 4, {b"PK\1\2": 16}), "CRC"),
        ("fra-eng.zip", zip_with(b"\1\0\0\0", SIZES), ""),
        ("fra-eng.zip", zip_with(b"\0\0", {b"PK\3\4": 30}), "differ"),
        ("fra-eng.zip", b"", "not a zip file"),
        ("fra-eng.zip", SDIST, "not a zip file"),
        ("fra-eng.zip", zipped(bytes(3000), "fra.txt"), "larger than"),
        ("nmt-0.0.6.tar.gz", b"", "empty"),
        ("nmt-0.0.6.tar.gz", ZIP, "gzip"),
        ("nmt-0.0.6.tar.gz", gzip.compress(b""), "empty"),
        ("nmt-0.0.6.tar.gz", gzip.compress(bytes(100_000)), "larger than"),
        ("nmt-0.0.6.tar.gz", gzip.compress(b"text"), "truncated|bad"),
        ("nmt-0.0.6.tar.gz", SDIST[:-9], "end"),
        ("nmt-0.0.6.tar.gz", tarred(b"no zip", MEMBER), "not a zip file"),
        ("nmt-0.0.6.tar.gz", tarred(ZIP, f"/{MEMBER}"), "not found"),
        ("nmt-0.0.6.tar.gz", tarred(ZIP, f"../{MEMBER}"), "not found"),
        *[
            ("nmt-0.0.6.tar.gz", tar_with(kind, MEMBER), "a folder, a link or a device")
            for kind in (tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
        ],
    ],
    ids=itertools.count(),
)
def test_an_archive_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, reason: str
) -> None:
    if reason == "larger than":  # without half a gigabyte
        monkeypatch.setattr(archives, "MAX_BYTES", 2000)
        monkeypatch.setattr(archives, "CHUNK", 100)
    root = tmp_path / "root"
    root.mkdir()
    (root / name).write_bytes(data)
    with pytest.raises(
        DataError, match=rf"^{re.escape(str(root / name))}.*: .*cannot read .*fra.*\(.*{reason}"
    ) as caught:
        load_corpus(tatoeba(root))
    assert "\n" not in str(caught.value)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["root", f"root/{name}"]


@pytest.mark.parametrize("name", [DataName.tatoeba, DataName.multi30k])
@pytest.mark.parametrize(
    ("root", "reason"),
    [("missing", "no such folder"), ("file", "not a folder"), ("~nobody-here/x", "home"), ("a\0b", "")],
)
def test_a_root_that_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: DataName, root: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for load in (load_corpus, load_tests):
        with pytest.raises(DataError, match=rf"^data\.root={root}: .*{reason}"):
            load(DataConfig(name=name, src="en", tgt="fr", root=root))


def test_pipes_and_folders_in_the_root_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "fra.txt").mkdir()
    os.mkfifo(tmp_path / "fra-eng.zip")
    (tmp_path / "nmt-0.0.6.tar.gz").symlink_to("nmt-0.0.6.tar.gz")
    with pytest.raises(DataError, match="contains none of"):
        load_corpus(tatoeba(tmp_path))
    os.mkfifo(tmp_path / "train.en.gz")
    with pytest.raises(DataError, match=r"train\.en\.gz is missing"):
        load_corpus(DataConfig(name=DataName.multi30k, src="en", tgt="de", root=str(tmp_path)))


def test_text_from_a_pipe_or_a_device_is_refused(tmp_path: Path, files: dict[str, FilesConfig]) -> None:
    """Reading the first would wait without end, the second would fill the memory."""
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        for key in ("train", "valid", "test"):
            given = {**files, key: FilesConfig(tsv=path)}
            with pytest.raises(DataError, match=rf"^data\.{key}\.tsv={path} is a pipe or a device"):
                load_corpus(DataConfig(name=DataName.files, **given))
    with pytest.raises(DataError, match=r"data\.test\.tgt=/dev/zero"):
        load_tests(DataConfig(name=DataName.files, test=FilesConfig(src=str(tmp_path / "test"), tgt="/dev/zero")))


def test_text_from_the_output_of_a_command_is_read(files: dict[str, FilesConfig]) -> None:
    """`data.test.tsv=<(command)` of a shell is a pipe that is open already."""
    reading, writing = os.pipe()
    os.write(writing, b"a\tb\n")
    os.close(writing)
    try:
        config = DataConfig(name=DataName.files, test=FilesConfig(tsv=f"/dev/fd/{reading}"))
        assert list(load_tests(config)["test"]) == [("a", "b")]
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("name", "src", "tgt", "message"),
    [
        (DataName.tatoeba, "en", "de", "data.src=en data.tgt=de: data=tatoeba has en-fr, fr-en, en-es and es-en"),
        (DataName.tatoeba, "fr", "es", "data.src=fr data.tgt=es"),
        (DataName.grammar, "en", "fr", "data.src=en data.tgt=fr: data=grammar makes en-de and de-en"),
        (DataName.multi30k, "en", "it", "data.tgt=it: data=multi30k has en, de, fr, cs"),
        (DataName.multi30k, "xx", "en", "data.src=xx"),
    ],
)
def test_a_language_pair_the_corpus_lacks(tmp_path: Path, name: DataName, src: str, tgt: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_corpus(DataConfig(name=name, src=src, tgt=tgt, root=str(tmp_path)))


def test_grammar_in_both_directions() -> None:
    def grammar(src: str, tgt: str, train: int) -> DataConfig:
        return DataConfig(name=DataName.grammar, src=src, tgt=tgt, train_pairs=train, valid_pairs=5, test_pairs=7)

    en_de, de_en = load_corpus(grammar("en", "de", 30)), load_corpus(grammar("de", "en", 40))
    assert (len(en_de.train), len(en_de.valid), len(en_de.tests["test"])) == (30, 5, 7)
    assert load_tests(grammar("en", "de", 30)) == en_de.tests
    assert en_de.train == de_en.train.swapped().first(30)
    assert (en_de.valid, en_de.tests["test"]) == (de_en.valid.swapped(), de_en.tests["test"].swapped())


@pytest.fixture
def files(tmp_path: Path) -> dict[str, FilesConfig]:
    """A training file with two blank sides, and validation and test files with a blank line each."""
    texts = {
        "train": "".join(f"s {i}\tt {i}\n" for i in range(100)) + " \tx\ny\t\n",
        "valid": "v\tw\n\tq\n",
        "test": "a\tb\n\t\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {name: FilesConfig(tsv=str(tmp_path / name)) for name in texts}


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        (("train", "valid", "test"), (100, 2, 2)),
        (("train", "valid"), (95, 2, 5)),
        (("train", "test"), (95, 5, 2)),
        (("train",), (90, 5, 5)),
    ],
)
def test_sets_that_are_not_given_are_held_out(
    files: dict[str, FilesConfig], given: tuple[str, ...], sizes: tuple[int, int, int]
) -> None:
    config = DataConfig(name=DataName.files, **{name: files[name] for name in given}, valid_pairs=5, test_pairs=5)
    corpus = load_corpus(config)
    assert (len(corpus.train), len(corpus.valid), len(corpus.tests["test"])) == sizes
    assert load_tests(config) == corpus.tests
    config.train_pairs = 10
    limited = load_corpus(config)
    assert limited.train == corpus.train.first(10)
    assert (limited.valid, limited.tests) == (corpus.valid, corpus.tests)


@pytest.mark.parametrize("given", [("train",), ("train", "valid", "test"), ("train", "test")])
def test_folds_divide_training_and_validation_text(files: dict[str, FilesConfig], given: tuple[str, ...]) -> None:
    settings = {name: files[name] for name in given}
    config = DataConfig(name=DataName.files, **settings, valid_pairs=5, test_pairs=5)
    whole = load_corpus(config)
    expected = {pair for pair in [*whole.train, *whole.valid] if all(pair)}  # a given validation text keeps blank sides
    valid = []
    for part in (1, 2, 3):
        config.fold = f"{part}/3"
        corpus = load_corpus(config)
        assert corpus.tests == whole.tests == load_tests(config)
        assert corpus.tokenizer_text is None  # the tokenizer learns from the training part
        assert {*corpus.train, *corpus.valid} == expected
        assert not {*corpus.train} & {*corpus.valid}
        valid += corpus.valid
    assert sorted(valid) == sorted(expected)


def test_folds_divide_the_first_pairs_where_the_text_is_limited(files: dict[str, FilesConfig]) -> None:
    config = DataConfig(name=DataName.files, **files, train_pairs=12)
    limited = load_corpus(config).train
    config.fold = "1/4"
    corpus = load_corpus(config)
    assert sorted([*corpus.train, *corpus.valid]) == sorted(limited)
    assert len(corpus.valid) == 3


def test_overfitting_uses_the_first_training_pairs_for_every_set(files: dict[str, FilesConfig]) -> None:
    config = DataConfig(name=DataName.files, **files)
    whole = load_corpus(config).train
    config.overfit_pairs = 3
    corpus = load_corpus(config)
    assert list(corpus.train) == [("s 0", "t 0"), ("s 1", "t 1"), ("s 2", "t 2")]
    assert corpus.train == corpus.valid
    assert [*corpus.tests.values()] == [corpus.train]
    assert load_tests(config) == corpus.tests  # not the given test file
    assert corpus.tokenizer_text == whole  # the vocabulary is that of the whole training text


def test_sets_that_are_held_out_are_named(files: dict[str, FilesConfig], tmp_path: Path) -> None:
    def held_out(*given: str, **settings: Any) -> dict[str, int]:
        config = DataConfig(name=DataName.files, **{name: files[name] for name in ("train", *given)}, **settings)
        return {name: len(text) for name, text in load_corpus(config).held_out_texts().items()}

    sizes = {"valid_pairs": 1, "test_pairs": 1}
    assert held_out(**sizes) == {"test": 1, "valid": 1}
    assert held_out("test", **sizes) == {"valid": 1}
    assert held_out("test", "valid") == {}
    assert held_out("test", "valid", fold="1/3").keys() == {"valid"}
    assert held_out("test", "valid", overfit_pairs=2) == {"overfit": 2, "valid": 2}
    (tmp_path / "fra.txt").write_bytes(TATOEBA)
    assert load_corpus(tatoeba(tmp_path, "en", "fr")).held_out == {"valid", "test"}


def test_overfitting_warns_about_pairs_that_cannot_be_memorised(
    tmp_path: Path, files: dict[str, FilesConfig], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "seq2seq")
    (tmp_path / "train").write_text("a\tx\na\ty\nb\tz\nb\tz\n", encoding="utf-8")
    load_corpus(DataConfig(name=DataName.files, overfit_pairs=4, **files))
    assert "on the first 4 training pairs only" in caplog.messages[0]
    assert caplog.messages[1].startswith("1 of these pairs cannot be memorised")


def test_given_test_sets_need_no_training_text(files: dict[str, FilesConfig]) -> None:
    assert list(load_tests(DataConfig(name=DataName.files, test=files["test"]))["test"]) == [("a", "b"), ("", "")]


def test_training_text_without_a_complete_pair(tmp_path: Path, files: dict[str, FilesConfig]) -> None:
    (tmp_path / "train").write_text("a\t\nb\t\n")
    with pytest.raises(DataError, match=r"data\.train: no text in .*: no pair is complete, all 2 have a blank side"):
        load_corpus(DataConfig(name=DataName.files, **files))


def test_multi30k_from_a_folder(corpora: Path) -> None:
    root = str(corpora / "multi30k")
    corpus = load_corpus(DataConfig(name=DataName.multi30k, src="de", tgt="fr", root=root))
    assert (len(corpus.train), len(corpus.valid)) == (29_000, 1014)
    assert {name: len(text) for name, text in corpus.tests.items()} == {"test_2016_flickr": 1000}
    assert corpus.train.src[0].startswith("Zwei junge weiße Männer")
    assert corpus.train.tgt[0].startswith("Deux jeunes hommes blancs")


def test_multi30k_from_a_wrong_folder(tmp_path: Path) -> None:
    config = DataConfig(name=DataName.multi30k, src="en", tgt="de", root=str(tmp_path))
    with pytest.raises(DataError, match=r"data\.root=.*train\.en\.gz is missing"):
        load_corpus(config)
    (tmp_path / "train.en.gz").write_bytes(b"other")
    with pytest.raises(DataError, match=r"train\.en\.gz is not the published file"):
        load_corpus(config)


def test_every_multi30k_set_has_a_digest_for_each_of_its_languages() -> None:
    for part in ("train", "val", *multi30k.TESTS):
        languages = {name.split(".")[1] for name in multi30k.SHA256 if name.startswith(f"{part}.")}
        assert {"en", "de", "fr"} <= languages <= set(multi30k.LANGUAGES)

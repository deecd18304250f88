"""Corpora by name, from local servers and files in the formats that the real ones have."""

import gc
import io
import json
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_server import Reply, Site, serving
from seq2seq.cli.data.named_corpus import NamedCorpus
from seq2seq.cli.evaluation.texts import ScoredText, joined
from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.loading import compose_config, to_config
from seq2seq.data.corpora.load import load_corpus, load_tests
from seq2seq.data.corpora.opus import load as load_opus
from seq2seq.data.files import archives, download
from seq2seq.data.files.http_download import ResumingDownloader
from seq2seq.data.index import corpus_index
from seq2seq.errors import ConfigError, DataError, DownloadError
from seq2seq.evaluate import main as evaluate

# urllib, which sacreBLEU uses, leaves the socket of an error to the collector; `site` collects it while this holds.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")

EN = "".join(f"the house number {i} is red\n" for i in range(200)).encode()
DE = "".join(f"das Haus Nummer {i} ist rot\n" for i in range(200)).encode()
PAIRS = [("the house number 3 is red", "das Haus Nummer 3 ist rot")]
EUROPARL = "http://www.statmt.org/europarl/v7/de-en.tgz"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server that answers for every http:// address as the configured proxy, so that the real index is used."""

    def downloader(folder: Path, part: str = "part") -> ResumingDownloader:
        return ResumingDownloader(folder / part, retries=1, timeout_sec=2.0, backoff_sec=0.01)

    monkeypatch.setattr(download, "_downloader", downloader)
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxy of its first use
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as made:
        monkeypatch.setenv("http_proxy", made.url)
        yield made
    gc.collect()


def tarred(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def settings(tmp_path: Path, name: DataName, **values: Any) -> DataConfig:
    values = {"src": "en", "tgt": "de", "valid_pairs": 5, "test_pairs": 5, **values}
    return DataConfig(name=name, cache_dir=str(tmp_path / "cache"), **values)


def mtdata(tmp_path: Path, *datasets: str, **values: Any) -> DataConfig:
    pytest.importorskip("mtdata")
    return settings(tmp_path, DataName.mtdata, datasets=list(datasets), **values)


EUROPARL_TGZ = tarred({"README": b"", "europarl-v7.de-en.de": DE, "europarl-v7.de-en.en": EN})


@pytest.mark.parametrize(("src", "tgt"), [("en", "de"), ("de", "en")])
def test_a_corpus_of_the_index_is_downloaded_once(site: Site, tmp_path: Path, src: str, tgt: str) -> None:
    site.pages[EUROPARL] = [Reply(EUROPARL_TGZ)]
    config = mtdata(tmp_path, "Statmt-europarl-7-deu-eng", src=src, tgt=tgt)
    corpus = load_corpus(config)
    assert (len(corpus.train), len(corpus.valid), len(corpus.tests["test"])) == (190, 5, 5)
    assert corpus.held_out == {"valid", "test"}
    for left, right in corpus.train:
        english, german = (left, right) if src == "en" else (right, left)
        assert german == english.replace("the house number", "das Haus Nummer").replace("is red", "ist rot")
    assert load_tests(config) == corpus.tests
    assert len(site.requests) == 1


TMX = """<?xml version="1.0"?><tmx version="1.4"><body>{}</body></tmx>""".format(
    "".join(
        f'<tu><tuv xml:lang="EN-GB"><seg>the house {i}</seg></tuv><tuv xml:lang="de"><seg>das Haus {i}</seg></tuv></tu>'
        for i in range(100)
    )
).encode()
TED = "\t".join(["talk_name", "en", *["x"] * 14, "de", "fr"]) + "\n"
TED += "".join("\t".join([f"talk {i}", f"the house {i}", *["x"] * 14, f"das Haus {i}", "f"]) + "\n" for i in range(100))
TITLES = "".join(f"das Haus {i}\tthe house {i}\n" for i in range(100)).encode()
SGM = b'<doc>\n<seg id="%d">the house &amp; %d</seg>\n</doc>\n'
FORMATS = {
    "EU-ecdc-1-eng-deu": ("http://optima.jrc.it/Resources/ECDC-TM/ECDC-TM.zip", zipped({"ECDC-TM/ECDC.tmx": TMX})),
    "Neulab-tedtalks_train-1-eng-deu": (
        "http://phontron.com/data/ted_talks.tar.gz",
        tarred({"all_talks_train.tsv": TED.encode(), "all_talks_dev.tsv": b"no"}),
    ),
    "Statmt-wikititles-3-deu-eng": ("http://data.statmt.org/wikititles/v3/wikititles-v3.de-en.tsv", TITLES),
    "Statmt-ccaligned-1-deu_DE-eng": (
        "http://data.statmt.org/cc-aligned/sentence-aligned/de_DE-en_XX.tsv.xz",
        lzma.compress(TITLES),
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_index(site: Site, tmp_path: Path, name: str) -> None:
    url, content = FORMATS[name]
    site.pages[url] = [Reply(content)]
    corpus = load_corpus(mtdata(tmp_path, name))
    assert ("the house 7", "das Haus 7") in [*corpus.train, *corpus.valid, *corpus.tests["test"]]


def test_corpora_are_united_and_sets_are_named(site: Site, tmp_path: Path) -> None:
    dev = "http://data.statmt.org/wmt20/translation-task/dev.tgz"
    tests = {
        "dev/newstest2014-deen-src.de.sgm": SGM % (1, 1),
        "dev/newstest2014-deen-ref.en.sgm": SGM % (1, 2),
        "dev/newstest2013.en": b"a\nb\n",
        "dev/newstest2013.de": b"c\nd\n",
    }
    site.pages |= {
        EUROPARL: [Reply(EUROPARL_TGZ)],
        FORMATS["Statmt-wikititles-3-deu-eng"][0]: [Reply(TITLES)],
        dev: [Reply(tarred(tests))],
    }
    config = mtdata(
        tmp_path,
        "Statmt-europarl-7-deu-eng",
        "Statmt-wikititles-3-deu-eng",
        valid_datasets=["Statmt-newstest-2013-eng-deu"],
        test_datasets=["Statmt-newstest_deen-2014-deu-eng"],
    )
    corpus = load_corpus(config)
    assert len(corpus.train) == 300  # nothing is held out
    assert corpus.held_out == frozenset()
    assert list(corpus.valid) == [("a", "c"), ("b", "d")]
    assert list(corpus.tests["Statmt-newstest_deen-2014-deu-eng"]) == [("the house & 2", "the house & 1")]
    assert [path for _, path, *_ in site.requests].count(dev) == 1  # two sets of one archive
    site.requests.clear()
    assert load_tests(config) == corpus.tests
    assert not site.requests


def test_named_sets_are_held_out_of_text_files(site: Site, tmp_path: Path) -> None:
    name = "Statmt-newstest-2013-eng-deu"
    members = {"dev/newstest2013.en": b"a\nb\n", "dev/newstest2013.de": b"c\nd\n"}
    site.pages["http://data.statmt.org/wmt20/translation-task/dev.tgz"] = [Reply(tarred(members))]
    for key in ("valid_datasets", "test_datasets"):
        data = DataConfig(name=DataName.files, src="en", tgt="de", cache_dir=str(tmp_path), **{key: [name]})
        assert {found: list(text) for found, text in NamedCorpus(data).held_out_sets().items()} == {
            name: [("a", "c"), ("b", "d")]
        }


def test_files_in_a_folder_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "de-en.tgz").write_bytes(EUROPARL_TGZ)
    corpus = load_corpus(mtdata(tmp_path, "Statmt-europarl-7-deu-eng", root=str(tmp_path)))
    assert len(corpus.train) == 190
    with pytest.raises(
        DataError, match=r"wikititles-v3\.de-en\.tsv is missing; it is published at http://data\.statmt"
    ):
        load_corpus(mtdata(tmp_path, "Statmt-wikititles-3-deu-eng", root=str(tmp_path)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"data=mtdata: set data\.datasets=\[NAME,NAME\]; list the names with .* search en-de"),
        (
            {"datasets": ["Statmt-europarl-99-deu-eng"]},
            r"data\.datasets: .* is no corpus of en-de .*similar: Statmt-eur",
        ),
        (
            {"datasets": ["Google-wmt24pp-1-eng-deu_DE"]},
            r"use data=huggingface data\.dataset=google/wmt24pp data\.subset",
        ),
        ({"datasets": ["Statmt-newstest_deen-2021-deu-eng"]}, r"format wmt21xml, which is not read: download http"),
    ],
)
def test_a_corpus_that_cannot_be_used(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    pytest.importorskip("mtdata")
    with pytest.raises(ConfigError, match=message):
        load_corpus(settings(tmp_path, DataName.mtdata, **values))


def test_without_a_network_the_alternatives_are_named(tmp_path: Path, site: Site) -> None:
    with pytest.raises(DownloadError, match=r"could not download http://www\.statmt.*404.*data\.root=DIR with"):
        load_corpus(mtdata(tmp_path, "Statmt-europarl-7-deu-eng"))


# --- OPUS -------------------------------------------------------------------------------------------------------------

MOSES = {"README": b"", "LICENSE": b"CC-BY 2.0\nsee tatoeba.org", "Tatoeba.de-en.de": DE, "Tatoeba.de-en.en": EN}


def opus(tmp_path: Path, **values: Any) -> DataConfig:
    return settings(tmp_path, DataName.opus, **{"corpus": "Tatoeba", "version": "v2023-04-12", **values})


@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize(("src", "tgt"), [("en", "de"), ("de", "en")])
def test_opus(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has_index: bool,
    src: str,
    tgt: str,
) -> None:
    caplog.set_level("INFO", "seq2seq")
    monkeypatch.setattr(corpus_index, "OPUS_URL", corpus_index.OPUS_URL.replace("https:", "http:"))
    if has_index:
        pytest.importorskip("mtdata")
    else:
        monkeypatch.setattr("seq2seq.data.index.languages.is_installed", lambda: False)
    site.pages["http://object.pouta.csc.fi/OPUS-Tatoeba/v2023-04-12/moses/de-en.txt.zip"] = [Reply(zipped(MOSES))]
    corpus = load_corpus(opus(tmp_path, src=src, tgt=tgt))
    assert len(corpus.train) == 190
    assert all(line.startswith("the" if src == "en" else "das") for line in corpus.train.src)
    assert "Tatoeba v2023-04-12: licence: CC-BY 2.0 see tatoeba.org" in caplog.messages


def test_the_newest_version_of_opus_is_chosen_from_the_index(tmp_path: Path) -> None:
    pytest.importorskip("mtdata")
    (tmp_path / "de-en.txt.zip").write_bytes(zipped(MOSES))
    for version in (None, "latest"):
        config = opus(tmp_path, version=version, src="eng", tgt="deu", root=str(tmp_path))
        assert load_opus(config).train.src[0].startswith("the house")
    with pytest.raises(ConfigError, match=r"data\.version=v1: Tatoeba en-de has v2, v20190709, .*, v2023-04-12$"):
        load_corpus(opus(tmp_path, version="v1"))
    with pytest.raises(ConfigError, match=r"set data\.corpus, for example data\.corpus=Tatoeba"):
        load_corpus(opus(tmp_path, corpus=None))


def test_without_the_index_the_newest_version_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seq2seq.data.index import languages

    monkeypatch.setitem(sys.modules, "mtdata", None)
    monkeypatch.setattr(languages, "_PARSED", {})
    with pytest.raises(ConfigError, match=r"pip install 'attentional-lstm\[data\]'"):
        load_corpus(opus(tmp_path, version=None))


# --- archives ---------------------------------------------------------------------------------------------------------


def linked() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("a.en")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("a.en")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"b.de": b"x"}), r"contains no \*\.en"),
        (zipped({"a.en": b"x", "b.en": b"y", "b.de": b""}), r"a\.en and b\.en match \*\.en: expected one file"),
        (zipped({"a.en": b"x" * 3000, "a.de": b"y"}), r"decompresses to more than 2 times the size"),
        (tarred({"a.en": b"x" * 30000, "a.de": b"y"}), r"decompresses to more than 2 times the size"),
        (tarred({"other": b"x" * 30000}), r"decompresses to more than 2 times the size"),
        (linked(), r"a folder, a link or a device"),
        (zip_link(), r"it is a link"),
        (zipped({"a.en": EN, "a.de": DE})[:-40], r"damaged archive"),
        (tarred({"a.en": EN, "a.de": DE})[:200], r"damaged archive|cannot read"),
        (b"<html>not found</html>", r"damaged archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",  # the bytes hold the time
)
def test_a_bad_archive_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    monkeypatch.setattr(archives, "MAX_RATIO", 2)
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        archives.extract(tmp_path / "archive", ["*.en", "*.de"], tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_members_keep_to_the_folder_and_are_copied_anew_with_the_archive(tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "archive"
    for content in (EN, DE):
        archive.write_bytes(tarred({"../../escaped.en": content, "./a.de": DE}, mode))
        (copy, other) = archives.extract(archive, ["*escaped.en", "a.de"], tmp_path / "cache")
        assert (copy.read_bytes(), other.read_bytes()) == (content, DE)
        assert copy.is_relative_to(tmp_path / "cache")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "cache"]


# --- sacreBLEU --------------------------------------------------------------------------------------------------------


@pytest.fixture
def wmt(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Serve wmt13 of sacreBLEU, whose cache is in `tmp_path`."""
    from sacrebleu.dataset import DATASETS

    dataset = DATASETS["wmt13"]
    src, ref = dataset.langpairs["en-de"]
    lines = b"".join(b'<seg id="%d">the house %d</seg>\n' % (i, i) for i in range(3))
    content = tarred({src: lines, ref: lines.replace(b"the house", b"das Haus")})
    site.pages["http://statmt.org/wmt13/test.tgz"] = [Reply(content)]
    for name, value in (("data", ["http://statmt.org/wmt13/test.tgz"]), ("md5", None)):
        monkeypatch.setattr(dataset, name, value)
    monkeypatch.setattr(dataset, "_outdir", str(tmp_path / "wmt13"))
    monkeypatch.setattr(dataset, "_rawdir", str(tmp_path / "wmt13" / "raw"))
    return site


def test_test_sets_of_sacrebleu_join_any_corpus(wmt: Site, tmp_path: Path) -> None:
    config = settings(
        tmp_path, DataName.grammar, train_pairs=50, valid_datasets=["wmt13"], test_datasets=["wmt13"], test_pairs=4
    )
    corpus = load_corpus(config)
    assert list(corpus.tests["wmt13"]) == [(f"the house {i}", f"das Haus {i}") for i in range(3)]
    assert corpus.valid == corpus.tests["wmt13"]
    assert len(corpus.tests["test"]) == 4
    wmt.pages.clear()  # the second time they come from the cache
    assert load_tests(config).keys() == {"test", "wmt13"}


def test_own_files_hold_nothing_out_for_a_named_set(wmt: Site, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("".join(f"a {i}\tb {i}\n" for i in range(40)))
    train = {"train": {"tsv": str(tmp_path / "train.tsv")}, "src": "en", "tgt": "de"}
    data = to_config(compose_config(["data=files", "data.src=en", "data.tgt=de"])).data
    data.train.tsv, data.test_datasets, data.valid_pairs = train["train"]["tsv"], ["wmt13"], 2  # type: ignore[index]
    corpus = load_corpus(data)
    assert (len(corpus.train), len(corpus.valid), corpus.held_out) == (38, 2, {"valid"})
    assert list(corpus.tests) == ["wmt13"]
    data.fold = "1/2"
    assert len(load_corpus(data).train) == 20


def test_a_test_set_without_a_network_is_one_line(wmt: Site, tmp_path: Path) -> None:
    wmt.pages.clear()
    config = settings(tmp_path, DataName.grammar, train_pairs=5, test_datasets=["wmt13"])
    with pytest.raises(
        DownloadError, match=r"^data\.test_datasets: sacreBLEU could not download wmt13: .*404"
    ) as raised:
        load_tests(config)
    assert "\n" not in str(raised.value)
    assert "sacrebleu -t wmt13 -l en-de" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "tgt", "message"),
    [
        ("wmt13", "xh", r"sacreBLEU has wmt13 for cs-en, .*, not for en-xh"),
        ("wmt99", "de", r"wmt99 is neither a test set of sacreBLEU \(sacrebleu --list\) nor a corpus of the index"),
    ],
)
def test_an_unknown_test_set(tmp_path: Path, name: str, tgt: str, message: str) -> None:
    (tmp_path / "train.tsv").write_text("a\tb\n" * 9)
    config = settings(tmp_path, DataName.files, tgt=tgt, valid_datasets=[name])
    config.train.tsv = str(tmp_path / "train.tsv")
    with pytest.raises(ConfigError, match=rf"data\.valid_datasets: {message}"):
        load_corpus(config)


def test_evaluate_scores_test_sets_of_sacrebleu(wmt: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hypotheses = tmp_path / "hyp"
    hypotheses.write_text("".join(f"das Haus {i}\n" for i in range(3)), encoding="utf-8")
    command = ["--hyp", str(hypotheses), "--test-set", "wmt13", "--langpair", "en-de"]
    assert evaluate([*command, "--json"]) == 0
    test = json.loads(capsys.readouterr().out)["wmt13"]
    assert (test["sentences"], test["exact_match"]) == (3, 100)
    hypotheses.write_text("das Haus 0\n", encoding="utf-8")
    assert evaluate(command) == 2
    message = (
        f"error: {hypotheses} has 1 lines but wmt13 en-de has 3: translate every line of sacrebleu -t wmt13 -l en-de"
    )
    assert capsys.readouterr().err.startswith(message)
    assert evaluate([*command[:-1], "en-xh"]) == 2
    assert "error: --test-set: sacreBLEU has wmt13 for cs-en, " in capsys.readouterr().err


def test_evaluate_without_a_network_is_one_line(wmt: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wmt.pages.clear()
    (tmp_path / "hyp").write_text("a\n", encoding="utf-8")
    assert evaluate(["--hyp", str(tmp_path / "hyp"), "--test-set", "wmt13", "--langpair", "en-de"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --test-set: sacreBLEU could not download wmt13: ")
    assert line.endswith("or give --ref FILE")


def test_several_test_sets_are_joined_as_sacrebleu_does() -> None:
    one, two = ScoredText([["a"], ["b"]], ["s"]), ScoredText([["c", "d"], ["e", "f"]], ["t", "u"])
    assert joined({"x": one, "y": two}) == ScoredText([["a", "c", "d"], ["b", "e", "f"]], ["s", "t", "u"])
    with pytest.raises(ConfigError, match=r"differ in their number of references \(x 2, z 1\)"):
        joined({"x": one, "z": ScoredText([["a"]], ["s"])})


# --- config -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=tatoeba", "data.datasets=[a]"], "data.datasets is a key of data=mtdata, but data.name=tatoeba"),
        (["data=mtdata", "data.dataset=a"], "data.dataset is a key of data=huggingface, but data.name=mtdata"),
        (["data=files", "data.version=v1"], "data.version is a key of data=opus"),
        (["data=files", "data.valid.tsv=a", "data.valid_datasets=[wmt13]"], "are both set: set one"),
    ],
)
def test_a_key_of_another_source_is_an_error(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        to_config(compose_config(["data.src=en", "data.tgt=de", *overrides]))


def test_the_sets_of_wmt_exist() -> None:
    from sacrebleu.dataset import DATASETS

    pytest.importorskip("mtdata")
    data = to_config(compose_config(["data=wmt"])).data
    assert len(corpus_index.named(data.datasets, data.src, data.tgt, "data.datasets")) == 3
    assert all("en-de" in DATASETS[name].langpairs for name in [*data.valid_datasets, *data.test_datasets])

"""The index of corpora by name: languages, names and addresses as mtdata has them, without the network."""

import json
import logging
import sys
from pathlib import Path

import pytest

from seq2seq.cli.data.app import main
from seq2seq.data.index.corpus_index import find, named, opus_versions
from seq2seq.data.index.languages import language
from seq2seq.errors import ConfigError

pytest.importorskip("mtdata")

TATOEBA = "OPUS-tatoeba-v20230412-deu-eng"


def search(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["search", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_index_is_that_of_mtdata() -> None:
    found = {dataset.name: dataset for dataset in find("en", "de")}
    assert len(found) > 300
    opus = found[TATOEBA]
    assert opus.urls == ("https://object.pouta.csc.fi/OPUS-Tatoeba/v2023-04-12/moses/de-en.txt.zip",)
    assert (opus.format, opus.members, opus.citation) == ("txt", ("*.de", "*.en"), ("tiedemann2012parallel",))
    europarl = found["Statmt-europarl-7-deu-eng"]
    assert europarl.urls == ("http://www.statmt.org/europarl/v7/de-en.tgz",)
    assert europarl.members == ("europarl-v7.de-en.de", "europarl-v7.de-en.en")
    assert (europarl.is_swapped("en", "de"), europarl.is_swapped("de", "en")) == (True, False)
    assert (found["Facebook-wikimatrix-1-deu-eng"].kind, found["Facebook-wikimatrix-1-deu-eng"].columns) == (
        "tsv.gz",
        (1, 2),
    )
    assert found["ELRC-euipo_law-1-deu-eng"].licence == "CC-BY-NC-4.0"
    assert found["Google-wmt24pp-1-eng-deu_DE"].hub == ("google/wmt24pp", "en-de_DE", None)
    assert not any("flores101" in name for name in found)  # mtdata 0.5 names the same file for both languages
    assert all(dataset.urls and dataset.format for dataset in found.values())


def test_reading_the_index_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mtdata_mine.py").write_text("raise SystemExit('code of the current folder ran')")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    handlers = logging.getLogger().handlers[:]
    find("is", "fo")
    assert logging.getLogger().handlers == handlers
    assert not {"mtdata.index", "mtdata.entry", "mtdata.index.statmt"} & set(sys.modules)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("code", ["de", "deu", "ger", "DE"])
def test_the_codes_of_a_language_are_one(code: str) -> None:
    assert language(code).code == "deu"


def test_a_script_or_region_narrows_a_language() -> None:
    assert language("zh").includes(language("zh_Hant"))
    assert not language("zh_Hant").includes(language("zh"))
    assert language("zh-Hant") == language("zho_Hant")


@pytest.mark.parametrize(("code", "near"), [("germn", "de (German)"), ("xx", "xh (Xhosa)")])
def test_an_unknown_language_has_similar_ones(code: str, near: str) -> None:
    with pytest.raises(ConfigError, match="unknown language") as caught:
        language(code)
    assert near in str(caught.value)


def test_a_wrong_name_has_similar_ones() -> None:
    with pytest.raises(ConfigError, match=rf"data\.datasets: OPUS-tatoeba-deu-eng is no corpus of en-de.*{TATOEBA}"):
        named(["OPUS-tatoeba-deu-eng"], "en", "de", "data.datasets")
    (dataset,) = named([TATOEBA.upper(), TATOEBA], "en", "de", "data.datasets")  # counted once
    assert dataset.name == TATOEBA


def test_versions_of_opus_are_in_the_order_of_time() -> None:
    versions = [version for version, _ in opus_versions("Tatoeba", "en", "de", "data.corpus")]
    assert versions[0] == "v2"
    assert versions[1:4] == ["v20190709", "v2020-05-31", "v2020-11-09"]
    with pytest.raises(ConfigError, match=r"data\.corpus=Tatoebe: OPUS has no such corpus; similar: Tatoeba"):
        opus_versions("Tatoebe", "en", "de", "data.corpus")
    with pytest.raises(ConfigError, match=r"data\.corpus=ALT: OPUS does not have it for en-de"):
        opus_versions("ALT", "en", "de", "data.corpus")


def test_search_prints_what_trains(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = search("ger-en", "tatoeba", "2023", "--cache-dir", str(tmp_path), capsys=capsys)
    heading, line = out.splitlines()
    assert (status, err) == (0, "")
    assert heading.split() == ["NAME", "KIND", "SIZE", "LICENCE", "HOST", "TRAIN", "WITH"]
    assert line.startswith(f"{TATOEBA}  zip of txt  unknown  see LICENSE in the archive  object.pouta.csc.fi  ")
    assert line.endswith(f"  data=mtdata data.src=de data.tgt=en 'data.datasets=[{TATOEBA}]'")


def test_search_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    from seq2seq.config.loading import compose_config, to_config

    status, out, _ = search("en-de", "--json", capsys=capsys)
    records = {record["name"]: record for record in map(json.loads, out.splitlines())}
    assert status == 0
    assert records[TATOEBA]["bytes"] is None
    assert records["Google-wmt24pp-1-eng-deu_DE"]["overrides"][0] == "data=huggingface"
    assert records["Statmt-newstest_deen-2021-deu-eng"]["overrides"] is None  # a format that is not read
    accents = "ELRC-portal_oficial_turismo_españa_www.spain.info-1-deu_DE-eng_GB"
    assert to_config(compose_config(records[accents]["overrides"])).data.datasets == [accents]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("xx-de", "unknown language 'xx'"),
        ("de", "write two codes"),
        ("en-de-fr", "write two codes"),
        ("de-ger", "are the same language"),
    ],
)
def test_a_wrong_pair_is_one_line(capsys: pytest.CaptureFixture[str], pair: str, message: str) -> None:
    status, out, err = search(pair, capsys=capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_nothing_found_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert search("en-de", "no such text", capsys=capsys) == (0, "", "no corpus of en-de with no such text\n")


def test_without_mtdata_the_package_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from seq2seq.data.index import languages

    monkeypatch.setitem(sys.modules, "mtdata", None)
    monkeypatch.setattr(languages, "_PARSED", {})
    status, _, err = search("en-de", capsys=capsys)
    assert status == 2
    assert "pip install 'attentional-lstm[data]'" in err

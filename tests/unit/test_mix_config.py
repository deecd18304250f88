"""`data.mix`: corpora by name on the command line, in files and in stored configs, and every wrong one."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seq2seq.cli.hydra_errors import composed
from seq2seq.cli.output_file import data_files
from seq2seq.cli.override_paths import full_paths
from seq2seq.cli.resume import prepare_run
from seq2seq.config.data import DataName, MixConfig
from seq2seq.config.loading import absolute_paths, from_yaml, to_config, to_dict, to_yaml, with_known_paths
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError


def made(*overrides: str) -> Config:
    raw = composed(overrides)
    absolute_paths(raw)
    return to_config(raw)


def checked(*settings: str) -> Config:
    """As `made`, without Hydra, which takes most of a second."""
    least = {"data": {"src": "en", "tgt": "fr"}, "training": {"max_steps": 1}}
    return to_config(OmegaConf.merge(least, OmegaConf.from_dotlist(list(settings))))


def test_a_corpus_is_added_by_naming_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = made(
        "data.mix.web.train.src=a", "data.mix.web.train.tgt=b", "data.mix.web.weight=2", "data.mix.bt={tag:<B>}"
    )
    web, bt = config.data.mix["web"], config.data.mix["bt"]
    assert isinstance(web, MixConfig)
    assert (web.weight, web.train.src, web.name) == (2.0, str(tmp_path / "a"), DataName.files)
    assert bt.tag == "<B>"
    main, *others = config.data.corpora().values()
    assert [(own.name, own.src, own.tgt, own.mix) for own in others] == [(DataName.files, main.src, main.tgt, {})] * 2
    assert data_files(config.data) == [str(tmp_path / "a"), str(tmp_path / "b")]
    rules = checked("data.tokenizer.normalization=identity", "data.tokenizer.normalization_rules=rules.tsv")
    assert data_files(rules.data) == ["rules.tsv"]
    assert config.data.vocabulary.user_symbols == ["<B>"]
    opus = checked(
        "data.valid_datasets=[wmt13]", "data.clean=strict", "data.mix.o={name: opus, corpus: X, clean: none}"
    )
    own = opus.data.corpora()["o"]
    assert (str(own.clean), own.corpus, own.valid_datasets) == ("none", "X", [])
    assert str(checked("data.clean=strict", "data.mix.w={}").data.corpora()["w"].clean) == "strict"
    assert to_config(to_dict(config)) == config
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    stored = from_yaml(tmp_path / "config.yaml")
    assert to_config(stored) == config
    raw = composed(
        ["data.mix.web.train.src=a", "data.mix.web.train.tgt=b", "data.mix.web.weight=2", "data.mix.bt.tag=<B>"]
    )
    absolute_paths(raw)
    assert raw.data.mix == stored.data.mix  # the same command continues the run


def test_symbols_need_no_quotes_of_hydra() -> None:
    given = ["data.tag=<2de> <BT>", "data.tokenizer.user_symbols=[<url>,<x y>]", "data.tag='<a>'", "training.seed=1"]
    assert full_paths(given) == [
        "data.tag='<2de> <BT>'", "data.tokenizer.user_symbols=['<url>','<x y>']", "data.tag='<a>'", "training.seed=1"
    ]  # fmt: skip


def test_paths_of_a_strangers_model_are_not_read(tmp_path: Path) -> None:
    config = made("data.mix.web.train.tsv=/etc/passwd", f"data.mix.web.test.tsv={tmp_path}/test.tsv")
    known = with_known_paths(config, tmp_path, None).data.mix["web"]
    assert (known.train.tsv, known.test.tsv) == (None, f"{tmp_path}/test.tsv")


def test_a_folder_of_a_mixed_dataset_is_a_path_and_its_name_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    config = checked(
        "data.mix.web={name: huggingface, dataset: own}", "data.mix.hub={name: huggingface, dataset: a/b}",
        "data.mix.etc={name: huggingface, dataset: /etc}",
    )  # fmt: skip
    raw = OmegaConf.structured(config)
    absolute_paths(raw)
    config = to_config(raw)
    assert [entry.dataset for entry in config.data.mix.values()] == [f"{tmp_path}/own", "a/b", "/etc"]
    known = with_known_paths(config, tmp_path, None).data.mix
    assert [entry.dataset for entry in known.values()] == [f"{tmp_path}/own", "a/b", None]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.mix.new.train.tsv=a", r"data\.mix \(was web\)"),
        ("data.mix.web.tag='<other>'", r"data\.mix\.web\.tag \(was <web>\)"),
        ("~data.mix.web", r"data\.mix"),
        ("data.mix.web.weight=2", None),
    ],
)
def test_corpora_and_tags_of_a_mix_cannot_change_on_resume(tmp_path: Path, override: str, message: str | None) -> None:
    settings = checked("data.mix.web={train: {tsv: /x}, tag: <web>}")
    (tmp_path / "config.yaml").write_text(to_yaml(settings))
    (tmp_path / "last.pt").touch()
    raw = OmegaConf.structured(settings)
    raw.training.resume = "auto"
    if message is None:
        config, _ = prepare_run(raw, tmp_path, [override])
        assert config.data.mix["web"].weight == 2
        return
    with pytest.raises(ConfigError, match=message):
        prepare_run(raw, tmp_path, [override])


NOT_FILES = ("grammar", "tatoeba", "multi30k", "huggingface", "opus", "mtdata", "wmt")


@pytest.mark.parametrize("name", NOT_FILES)
def test_files_of_a_corpus_that_is_not_files_are_refused(name: str) -> None:
    for part in ("train", "valid", "test"):
        with pytest.raises(ConfigError, match=rf"^data\.{part} is a key of data=files, but data\.name={name}: set .*"):
            checked(f"data.name={name}", f"data.{part}.tsv=x")
        with pytest.raises(ConfigError, match=rf"^data\.mix\.web\.{part} is a key of data\.mix\.web\.name=files, but "):
            checked(f"data.mix.web={{name: {name}, {part}: {{tsv: x}}}}")
    with pytest.raises(ConfigError, match=r"set data=files or, for sets of any corpus, data\.valid_datasets$"):
        checked(f"data.name={name}", "data.valid.tsv=x")


def test_stored_configs_with_ignored_files_load_without_them(tmp_path: Path) -> None:
    stored = to_dict(checked("data.name=grammar", "data.mix.web={name: multi30k}"))
    stored["data"]["valid"]["tsv"] = stored["data"]["mix"]["web"]["test"]["src"] = "x"
    assert to_config(stored).data.valid.tsv is None
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(stored)))
    config = to_config(from_yaml(tmp_path / "config.yaml"))
    assert (config.data.valid.tsv, config.data.mix["web"].test.src) == (None, None)


MULTI = ("data.name=multi30k", "data.tgt=de", "data.tag=<2de>")


def test_languages_have_the_tag_of_their_first_corpus() -> None:
    back = "data.mix.bt={tag: '<2de> <BT>', train: {tsv: x}}"
    config = checked(*MULTI, "data.mix.fr={name: multi30k, tgt: fr, tag: <2fr>}", back)
    assert config.data.tags() == {"de": ["<2de>"], "fr": ["<2fr>"]}
    assert checked("data.mix.bt.tag=<BT>").data.tags() == {"fr": []}
    assert config.data.vocabulary.user_symbols == ["<2de>", "<2fr>", "<BT>"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.mix.web.wieght=1"], "unknown key 'data.mix.web.wieght'; did you mean 'data.mix.NAME.weight'?"),
        (["data.mix.web.train.scr=a"], "unknown key 'data.mix.web.train.scr'"),
        (["data.mix.web=3"], "data.mix.web is not a corpus"),
        (["data.mix.web=null"], "data.mix.web is not a corpus"),
        (["data.mix.web.corpus=Tatoeba"], "data.mix.web.corpus is a key of data.mix.web.name=opus, but"),
        (["data.mix.web.train.src={a: b}"], "data.mix.web.train.src"),
        (["data.mix=3"], "data.mix: "),
        (["data.mix.web.name=webb"], "data.mix.web.name: Invalid value 'webb'"),
        (["data.mix.web.weight=many"], "data.mix.web.weight: Value 'many'"),
        *(
            ([f"{key}.weight={value}"], f"{key}.weight={float(value)} is ")
            for key in ("data", "data.mix.web")
            for value in ("0", "-1", "nan", "inf")
        ),
        (["data.mix_temperature=0"], "data.mix_temperature=0.0 is out of range"),
        (["data.mix.web.train_pairs=0"], "data.mix.web.train_pairs=0 is out of range"),
        (["data.mix.main.weight=1"], "data.mix.main: the name of a corpus"),
        (["data.mix.a/b.weight=1"], "data.mix.a/b: the name of a corpus"),
        (["data.tag=' '"], "data.tag is blank"),
        (["data.mix.web.tag=<s>"], "data.mix.web.tag=<s> is a special token"),
        (["data.mix.web.tag=<a> <a>"], "data.mix.web.tag has <a> twice"),
        (["data.tokenizer.user_symbols=[a,a]"], "data.tokenizer.user_symbols has a twice"),
        (["data.tokenizer.user_symbols=['']"], "data.tokenizer.user_symbols='' cannot be one token"),
        (["data.tokenizer.user_symbols=['a b']"], "data.tokenizer.user_symbols='a b' cannot be one token"),
        (["data.tokenizer.user_symbols=['▁a']"], "data.tokenizer.user_symbols='▁a' cannot be one token"),
        (["data.tokenizer.user_symbols=[<0x41>]"], "data.tokenizer.user_symbols=<0x41> is a special token"),
        (["data.mix.de={tgt: de}"], "data.tag is not set, but the corpora have the target languages fr and de"),
        ([*MULTI, "data.mix.fr={name: multi30k, tgt: fr}"], "data.mix.fr.tag is not set, but the corpora have"),
        ([*MULTI, "data.mix.fr={name: multi30k, tgt: fr, tag: <2de>}"], "data.mix.fr.tag=<2de> is also the tag of"),
        ([*MULTI, "data.mix.x={name: multi30k, tgt: en, tag: <x>}"], "data.mix.x.src and data.mix.x.tgt are both 'en'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_that_names_the_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}") as caught:
        checked(*overrides)
    assert "\n" not in str(caught.value)


def test_an_empty_path_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^data\.mix\.web\.train\.tsv is empty: "):
        made("data.mix.web.train.tsv=")

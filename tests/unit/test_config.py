"""Every YAML composes, every key is documented, and every mistake is told in one line that names its key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from hydra_cli import Launcher
from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.error_messages import nearest_key
from seq2seq.config.field import Effect, effects, is_group, walk
from seq2seq.config.help import groups, help_text
from seq2seq.config.loading import config_dir, to_config, to_dict, to_yaml, with_known_paths
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import TextNormalization
from seq2seq.config.training import PrecisionName, TrainingConfig
from seq2seq.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"
CHOICES = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()
}
LEAVES = {key: field for key, field in walk(Config) if not is_group(field)}
LEAST = {"data": {"src": "en", "tgt": "fr"}, "training": {"max_steps": 1}}  # what has no default in the schema
NO_LANGUAGES = ("files", "mtdata", "opus", "huggingface")
LANGUAGES = {name: ["data.src=xx", "data.tgt=yy"] for name in NO_LANGUAGES}  # these choices have no default for them


def test_help_explains_every_choice_and_default() -> None:
    for group, choices in groups().items():
        for choice, meaning in choices.items():
            assert meaning.endswith((".", "…")), f"conf/{group}/{choice}.yaml: the first comment line is no sentence"
    text = help_text()
    assert "small: One layer per side, 384 units, for small corpora" in " ".join(text.split())
    assert "_type object" not in text
    assert re.search(r"^  data\.mix\.NAME\.datasets\n[^\[]*\[default none", text, re.MULTILINE)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Launcher:
    monkeypatch.chdir(tmp_path)
    return Launcher(monkeypatch, capsys)


def composed(start: Launcher, *overrides: str) -> Config:
    done = start(*overrides, "hydra.run.dir=run")
    assert (done.status, done.err) == (0, "")
    ((config, run),) = done.jobs
    assert run.folder == Path("run")
    assert not run.resumes
    return config


# --- the tree under conf/ --------------------------------------------------------------------------------------------


def test_this_is_the_tree_that_is_used() -> None:
    assert Path(config_dir()) == CONF
    assert CHOICES.keys() == {"data", "model", "training", "decode", "runtime", "tune", "experiment"}


@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group, choices in CHOICES.items() for choice in choices]
)
def test_every_choice_composes(start: Launcher, group: str, choice: str) -> None:
    config = composed(start, f"{group}={choice}", *LANGUAGES.get(choice, []))
    if group == "data":
        assert config.data.name is DataName[choice]


@pytest.mark.slow
def test_experiments_compose_with_another_corpus(start: Launcher) -> None:
    """Each experiment with one corpus, so that each corpus has its turn; all pairs would take minutes."""
    corpora, experiments = CHOICES["data"], CHOICES["experiment"]
    for i in range(max(len(corpora), len(experiments))):
        corpus, experiment = corpora[i % len(corpora)], experiments[i % len(experiments)]
        config = composed(start, f"data={corpus}", f"experiment={experiment}", *LANGUAGES.get(corpus, []))
        assert config.data.name is DataName[corpus]


def test_experiments_are_what_they_say(start: Launcher) -> None:
    config = composed(start, "experiment=multi30k_en_de")
    assert (config.data.name, config.data.src, config.data.tgt) == (DataName.multi30k, "en", "de")
    assert composed(start, "experiment=multi30k_en_de", "data.tgt=fr").data.tgt == "fr"


def test_every_key_stands_in_a_yaml_file_of_its_group() -> None:
    """So that a reader of conf/ sees all there is to set, with a comment."""
    written = set()
    for group in CHOICES.keys() - {"experiment"}:
        for file in (CONF / group).glob("*.yaml"):
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            written |= {key for key in flat(content, f"{group}.") if not key.startswith(f"{group}.defaults")}
    assert written == LEAVES.keys()


def flat(content: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict) and value:  # an empty dictionary of named groups is a value
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_the_schema_has_the_defaults_of_the_default_run(start: Launcher) -> None:
    schema = Config(data=DataConfig(src="en", tgt="fr"))
    assert to_dict(composed(start)) == to_dict(schema)


def test_paths_are_kept_in_full(start: Launcher, tmp_path: Path) -> None:
    config = composed(start, "data=files", *LANGUAGES["files"], "data.root=here", "data.train.tsv='~/x.tsv'")
    assert (config.data.root, config.data.train.tsv) == (str(tmp_path / "here"), str(Path("~/x.tsv").expanduser()))


def test_lists_and_patterns_of_paths_are_kept_in_full(start: Launcher, tmp_path: Path) -> None:
    given = ["data.train.src=[~/a.en,'b c.en',part-*.en]", "data.train.tgt=part-?.de", "data.test.table=[x]"]
    data = composed(start, "data=files", "data.src=en", "data.tgt=de", *given).data
    assert data.train.src == [str(Path("~/a.en").expanduser()), f"{tmp_path}/b c.en", f"{tmp_path}/part-*.en"]
    assert (data.train.tgt, data.test.table) == (f"{tmp_path}/part-?.de", [f"{tmp_path}/x"])


def test_lists_of_paths_of_a_model_are_used_only_inside_its_folder(tmp_path: Path) -> None:
    inside, outside = [f"{tmp_path}/a", f"{tmp_path}/${{oc.env:HOME}}"], [f"{tmp_path}/a", "/etc/passwd"]
    files = {"name": "files", "train": {"src": inside, "tgt": outside}, "test": {"table": outside}}
    config = to_config({**LEAST, "data": {**LEAST["data"], **files}})
    assert to_dict(to_config(to_dict(config))) == to_dict(config)
    known = with_known_paths(config, tmp_path, None).data
    assert (known.train.src, known.train.tgt, known.test.table) == (inside, None, None)
    (tmp_path / "run").write_text(to_yaml(config), encoding="utf-8")
    assert with_known_paths(config, tmp_path, tmp_path / "run").data == config.data


@pytest.mark.parametrize("value", [{"a": "b"}, [], [None], [["a"]], [{}]])
@pytest.mark.parametrize("name", ["src", "table"])
def test_a_path_is_text_or_a_list(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.valid\.{name}=.*: give a file, or a list of files"):
        to_config({**LEAST, "data": {**LEAST["data"], "name": "files", "valid": {name: value}}})


def test_the_run_folder_is_named_after_the_corpus(start: Launcher) -> None:
    ((_, run),) = start().jobs
    assert re.fullmatch(r"runs/tatoeba/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run.folder.as_posix())


def test_a_folder_of_ones_own_adds_choices(start: Launcher, tmp_path: Path) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "mine.yaml").write_text("defaults: [small, _self_]\nhidden_size: 33\n")
    config = composed(start, "--config-dir", str(tmp_path / "own"), "model=mine")
    assert (config.model.hidden_size, config.model.emb_size) == (33, 256)


# --- conversion ------------------------------------------------------------------------------------------------------


def test_a_config_survives_json_and_yaml(start: Launcher, tmp_path: Path) -> None:
    for overrides in (["model=large", "training.precision=bf16"], ["experiment=multi30k_en_de", "training.seed=7"]):
        config = composed(start, *overrides)
        assert to_config(to_dict(config)) == config
        assert to_config(json.loads(json.dumps(to_dict(config)))) == config
        OmegaConf.save(OmegaConf.create(to_dict(config)), tmp_path / "config.yaml")
        assert to_config(OmegaConf.load(tmp_path / "config.yaml")) == config


def test_types_are_the_schemas() -> None:
    training = {"max_steps": "3", "precision": "bf16", "learning_rate": 1, "max_minutes": None}
    config = to_config({**LEAST, "training": training})
    assert (config.training.max_steps, config.training.precision) == (3, PrecisionName.bf16)
    assert isinstance(config.training.learning_rate, float)
    assert config.training.max_minutes is None


def test_the_default_of_every_field_is_in_its_range() -> None:
    assert to_config(LEAST).training.max_steps == 1


def test_a_stored_config_without_a_newer_key_has_the_value_of_its_version() -> None:
    assert to_config(LEAST).data.tokenizer.normalization is TextNormalization.nmt_nfkc
    named = {**LEAST, "data": {"src": "en", "tgt": "fr", "tokenizer": {"normalization": "nfkc"}}}
    assert to_config(named).data.tokenizer.normalization is TextNormalization.nfkc


# --- mistakes --------------------------------------------------------------------------------------------------------

LIMITS = [
    (key, step, field.metadata[end])
    for key, field in LEAVES.items()
    for end, step in (("at_least", -1), ("at_most", 1))
    if field.metadata[end] is not None
]


NEEDED: dict[str, dict[str, float | str]] = {  # settings that mean nothing without another
    "decode.min_length_ratio": {"decode.max_length_ratio": 1000},
    "decode.min_length_extra": {"decode.max_length_extra": 10_000},
    **{f"decode.{name}": {"decode.search": "sample"} for name in ("temperature", "top_k", "top_p")},
    "model.attention_heads": {"model.attention_size": 256, "model.encoder_hidden_size": 128},
}


def with_value(key: str, value: float | str) -> Config:
    raw = OmegaConf.create(LEAST)
    for other, needed in NEEDED.get(key, {}).items():
        OmegaConf.update(raw, other, needed)
    OmegaConf.update(raw, key, value)
    return to_config(raw)


@pytest.mark.parametrize(("key", "step", "limit"), LIMITS)
def test_a_range_holds_its_ends_and_nothing_beyond(key: str, step: int, limit: float) -> None:
    with_value(key, limit)
    beyond = limit + step if limit + step != limit else math.nextafter(limit, math.inf * step)
    with pytest.raises(
        ConfigError, match=rf"^{re.escape(key)}={re.escape(str(beyond))}(\.0)? is out of range: "
    ) as caught:
        with_value(key, beyond)
    assert f"{limit:g}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_number_has_two_bounds() -> None:
    """Without an upper bound a typo hangs the process or fills the memory."""
    for key, field in LEAVES.items():
        if str(field.type).startswith(("int", "float")):
            assert all(math.isfinite(field.metadata[end]) for end in ("at_least", "at_most")), key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.5}, "decode.temperature=0.5 needs decode.search=sample or mbr, not beam"),
        ({"search": "mbr", "coverage_penalty": 0.2}, "decode.coverage_penalty=0.2 needs decode.search=beam, not mbr"),
        ({"min_length_ratio": 3}, "decode.min_length_ratio=3 is above decode.max_length_ratio=2"),
        ({"min_length_extra": 11}, "decode.min_length_extra=11 is above decode.max_length_extra=10"),
    ],
)
def test_decode_settings_that_mean_nothing_together_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        to_config({**LEAST, "decode": values})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "key", ["training.learning_rate", "training.max_grad_norm", "model.initialisation.forget_bias"]
)
def test_a_number_is_finite(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}={value} is not a finite number$"):
        with_value(key, value)


@pytest.mark.parametrize("key", ["hidden_size", "encoder_hidden_size"])
def test_layer_norm_needs_two_units(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model.layer_norm=true needs model.{key} above 1"):
        to_config({**LEAST, "model": {"layer_norm": True, "hidden_size": 8, "encoder_hidden_size": 4, key: 1}})


def no_dropout(but: str = "") -> list[str]:
    return [f"model.dropout.{place}=0" for place in ("embedding", "layers", "context", "readout") if place != but]


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        # A key that does not exist, with the nearest one that does.
        (["training.learnin_rate=1"], ["training.learnin_rate", "did you mean 'training.learning_rate'?"]),
        (["model.hiden_size=1"], ["model.hiden_size", "did you mean 'model.hidden_size'?"]),
        (["lerning_rate=1"], ["lerning_rate", "did you mean 'training.learning_rate'?"]),
        (["learning_rate=1"], ["learning_rate", "did you mean 'training.learning_rate'?"]),
        (["training.hidden_size=1"], ["training.hidden_size", "did you mean 'model.hidden_size'?"]),
        (["model.dropout.ebedding=0"], ["model.dropout.ebedding", "did you mean 'model.dropout.embedding'?"]),
        (["+training.foo=1"], ["training.foo"]),
        (["+foo=1"], ["foo"]),
        (["zzz=1"], ["zzz"]),
        # A value of the wrong type.
        (["training.max_steps=many"], ["training.max_steps", "many"]),
        (["training.max_steps=1.5"], ["training.max_steps", "1.5"]),
        (["model.hidden_size=null"], ["model.hidden_size"]),
        (["model.hidden_size=[1]"], ["model.hidden_size"]),
        (["data.tokenizer.joint=perhaps"], ["data.tokenizer.joint", "perhaps"]),
        (["training.learning_rate=fast"], ["training.learning_rate", "fast"]),
        (["model.dropout=0.3"], ["model.dropout"]),
        (["data.train=text.txt"], ["data.train"]),
        # A name that is none of the names.
        (["training.optimizer=sgd"], ["training.optimizer", "sgd", "adam", "adamw"]),
        (["model.attention=bilinear"], ["model.attention", "bilinear", "additive"]),
        (["training.precision=fp8"], ["training.precision", "fp8", "bf16"]),
        # Out of range.
        (["model.dropout.layers=1.5"], ["model.dropout.layers=1.5", "0.95"]),
        (["training.batch_tokens=0"], ["training.batch_tokens=0", "8 ≤"]),
        # Missing, or at odds with another.
        (["data=files"], ["data.src", "data.tgt"]),
        (["data=files", "data.src=en"], ["data.tgt"]),
        (["data.tokenizer.joint=false"], ["model.tie_embeddings=three_way", "data.tokenizer.joint=true"]),
        (["training.max_minutes=null"], ["training.max_steps", "training.max_epochs", "training.max_minutes"]),
        (["data.tgt=en"], ["data.src", "data.tgt", "'en'"]),
        (["model.attention_heads=5"], ["model.attention_heads=5", "model.attention_size=192"]),
        (
            ["model.attention_heads=8", "model.encoder_hidden_size=10"],
            ["model.attention_heads=8", "model.encoder_hidden_size=20"],
        ),
        (
            ["model.attention_heads=2", "model.attention=general"],
            ["model.attention_heads=2", "model.attention=additive"],
        ),
        (["model.attention=dot", "model.encoder_hidden_size=64"], ["model.attention=dot", "model.hidden_size=384"]),
        (["model.attention=none", "model.coverage=true"], ["model.coverage", "model.attention=additive", "none"]),
        (["model.attention=dot", "model=gnmt"], ["model.attention_weight_norm", "model.attention=additive", "dot"]),
        (["model.peephole_candidate=true"], ["model.peephole_candidate", "model.cell=peephole_lstm", "not lstm"]),
        (["data.sampling.src=0.1", "data.tokenizer.type=char"], ["data.sampling", "unigram", "bpe"]),
        (
            ["training.scheduled_sampling.schedule=exponential", "training.scheduled_sampling.final_ratio=0"],
            ["training.scheduled_sampling.final_ratio=0", "above 0"],
        ),
        (["training.r_drop=1", *no_dropout()], ["training.r_drop=1", "model.dropout"]),
        (["training.r_drop=1", *no_dropout("layers")], ["training.r_drop=1", "layers"]),
        (["training.r_drop=1", "model.attention=none", *no_dropout("context")], ["training.r_drop=1", "context"]),
        (
            ["training.minimum_risk.weight=0.5", "training.r_drop=1"],
            ["training.minimum_risk.weight=0.5", "training.r_drop=1", "set one of them"],
        ),
        (
            ["training.minimum_risk.weight=1", "training.scheduled_sampling.schedule=linear"],
            ["training.minimum_risk.weight=1", "training.scheduled_sampling.schedule=linear"],
        ),
        (["training.minimum_risk.samples=1"], ["training.minimum_risk.samples=1", "2 ≤"]),
        (["training.minimum_risk.metric=ter"], ["training.minimum_risk.metric", "ter", "bleu", "chrf"]),
        (["training.init_vocabulary=replace"], ["training.init_vocabulary=replace", "training.init_from"]),
        (["model.attention=none", "decode.coverage_penalty=0.2"], ["decode.coverage_penalty=0.2", "model.attention"]),
        *(
            ([f"data.fold={fold}"], [f"data.fold={fold}: write K/N"])
            for fold in ("1", "1/1", "0/5", "6/5", "a/b", "1/5/9")
        ),
        (["data.fold=1/5", "data.overfit_pairs=9"], ["data.fold=1/5", "data.overfit_pairs=9"]),
        # A group or choice that does not exist.
        (["model=huge"], ["model/huge", "base", "gnmt", "large", "rnnsearch", "small"]),
        (["data=wmt99"], ["data/wmt99", "files", "multi30k"]),
        (["experiment=best"], ["experiment/best", "multi30k_en_de"]),
        # Not the language of overrides.
        (["training.max_steps"], ["training.max_steps"]),
        (["training.seed=1,2"], ["training.seed=1,2", "--multirun"]),
        (["data.src=(("], ["data.src=((", "quote"]),
        (["data.train.src=a=b"], ["data.train.src=a=b", "quote"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_that_names_its_key(start: Launcher, overrides: list[str], fragments: list[str]) -> None:
    done = start(*overrides)
    assert done.status == 2
    assert not done.jobs
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    for fragment in fragments:
        assert fragment in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("training.max_step", "training.max_steps"),
        ("vocab_size", "data.tokenizer.vocab_size"),
        ("data.vocab_size", "data.tokenizer.vocab_size"),
        ("src", "data.src"),
        ("decode.beam", "decode.beam_size"),
        ("qqqq", None),
    ],
)
def test_the_nearest_key(typed: str, nearest: str | None) -> None:
    assert nearest_key(typed) == nearest


def test_a_config_is_checked_however_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"data\.max_length=0 is out of range"):
        Config(data=DataConfig(src="en", tgt="fr", max_length=0), training=TrainingConfig(max_steps=1))


# --- what the command says about them --------------------------------------------------------------------------------


def test_a_field_has_the_effect_of_its_group_unless_it_declares_one() -> None:
    changes = effects(Config)
    assert changes.keys() == LEAVES.keys()
    expected = {
        Effect.fixed: ["model.hidden_size", "model.dropout.layers", "data.tokenizer.vocab_size", "training.monitor"],
        Effect.limit: ["training.max_steps", "training.early_stopping"],
        Effect.process: ["runtime.threads", "training.device", "tune.trials", "data.cache_dir"],
        Effect.result: ["data.max_length", "training.learning_rate", "decode.beam_size"],
    }
    assert {key: changes[key] for keys in expected.values() for key in keys} == {
        key: effect for effect, keys in expected.items() for key in keys
    }


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_key_with_meaning_unit_range_and_default(start: Launcher, flag: str) -> None:
    done = start(flag)
    assert (done.status, done.err, done.jobs) == (0, "", [])
    text = re.sub(r"\s+", " ", done.out)
    defaults = OmegaConf.create(to_dict(composed(start)))
    for key, field in LEAVES.items():
        entry = text.partition(f" {key} {field.metadata['doc']} [default ")[2].partition("]")[0]
        default, *facts = entry.split("; ")
        value = OmegaConf.select(defaults, key)
        assert default == ("null" if value is None else "none" if value == [] else str(value).lower()), key
        assert field.metadata["unit"] in ("", *facts)
        assert ("cannot change on resume" in facts) == (effects(Config)[key] is Effect.fixed)
        for limit in (field.metadata["at_least"], field.metadata["at_most"]):
            assert limit is None or f"{limit:g}" in facts[-1]
    for group, choices in CHOICES.items():
        assert f" {group}={'|'.join(choices)} " in text


def test_cfg_job_prints_a_config_that_loads(start: Launcher) -> None:
    done = start("--cfg", "job", "model=base", "training.seed=5", "experiment=multi30k_en_de")
    assert (done.status, done.err, done.jobs) == (0, "", [])
    printed = to_config(yaml.safe_load(done.out))
    assert printed == composed(start, "model=base", "training.seed=5", "experiment=multi30k_en_de")
    assert list(Path().iterdir()) == [Path("run")]  # that of the line before: --cfg makes no folder

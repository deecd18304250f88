"""Starting from another model: which rows are copied from where, what must fit, and which tokenizer a run has."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from torch import Tensor

from seq2seq.config.data import DataConfig, DataName, MixConfig
from seq2seq.config.model import (
    AttentionName,
    CellName,
    DropoutConfig,
    InitialisationConfig,
    MatrixInit,
    ModelConfig,
    TieName,
)
from seq2seq.config.schema import Config
from seq2seq.config.text_files import FilesConfig, SplitsConfig
from seq2seq.config.tokenizer import PieceType, TokenizerConfig
from seq2seq.config.training import TrainingConfig, VocabularyName
from seq2seq.data.batches.batch import make_batch
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import Model, TrainingText, load_model, save_model
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.training.fine_tuning import check_compatible, copy_weights, load_pretrained, warn_if_seen

SIZES = {"emb_size": 6, "hidden_size": 8, "attention_size": 4}
PARENT_TEXT, CHILD_TEXT = ("abcde", "defgh"), ("bcdxyz", "efhixy")  # letters of source and target
EMBEDDINGS = ("tgt_embedding.weight", "output.weight", "src_embedding.weight")
SHARED = {
    TieName.none: [{name} for name in EMBEDDINGS],
    TieName.two_way: [set(EMBEDDINGS[:2]), set(EMBEDDINGS[2:])],
    TieName.three_way: [set(EMBEDDINGS)],
}
VOCABULARIES = [(tie, joint) for tie in TieName for joint in (True, False) if joint or tie is not TieName.three_way]


def letter_tokenizer(cache: Path, src: str, tgt: str, joint: bool) -> Tokenizer:
    """One token per letter, after the four special tokens and ▁."""

    def config(texts: str) -> TokenizerConfig:
        size = len(set(texts)) + 5
        return TokenizerConfig(
            type=PieceType.char, vocab_size=size, byte_fallback=False, character_coverage=1.0, joint=True
        )

    if joint:
        return Tokenizer.train(ParallelText([src], [tgt]), config(src + tgt), cache)
    models = [Tokenizer.train(ParallelText([text], [text]), config(text), cache).to_bytes() for text in (src, tgt)]
    return Tokenizer(models[0]["src"], models[1]["src"])


def make(tokenizer: Tokenizer, seed: int = 1, init_from: str | None = None, **settings: object) -> Model:
    """A random model in which no two weights are equal."""
    network_config = ModelConfig(**{**SIZES, **settings})  # type: ignore[arg-type]
    config = Config(
        data=DataConfig(src="en", tgt="de"),
        model=network_config,
        training=TrainingConfig(max_steps=1, init_from=init_from),
    )
    torch.manual_seed(seed)
    network = Seq2Seq(network_config, tokenizer.src_size, tokenizer.tgt_size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    return Model(network.eval(), tokenizer, config)


def weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def vocabulary(model: Model, name: str) -> dict[str, int]:
    """Row of a tensor by piece."""
    tokenizer = model.tokenizer
    if name.startswith("src"):
        pieces = tokenizer.src_pieces(range(tokenizer.src_size))
    else:
        pieces = tokenizer.tgt_pieces(range(tokenizer.tgt_size))
    return {piece: row for row, piece in enumerate(pieces)}


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "old_joint"), VOCABULARIES)
@pytest.mark.parametrize(("new", "new_joint"), VOCABULARIES)
def test_every_row_is_copied_from_the_row_of_its_piece(
    tmp_path: Path, old: TieName, old_joint: bool, new: TieName, new_joint: bool
) -> None:
    """From the same matrix of the file; if it is tied in the new network, target embedding before source embedding."""
    parent = make(letter_tokenizer(tmp_path, *PARENT_TEXT, old_joint), tie_embeddings=old)
    child = make(letter_tokenizer(tmp_path, *CHILD_TEXT, new_joint), seed=2, tie_embeddings=new)
    given, before = weights(parent), weights(child)
    copy_weights(parent, child)
    after = weights(child)
    for name in EMBEDDINGS:
        shared = next(names for names in SHARED[new] if name in names)
        for piece, row in vocabulary(child, name).items():
            candidates = [
                given[one][vocabulary(parent, one)[piece]]
                for one in EMBEDDINGS
                if one in shared and piece in vocabulary(parent, one)
            ]
            assert torch.equal(after[name][row], candidates[0] if candidates else before[name][row]), (name, piece)
    known = vocabulary(parent, "output.bias")
    for piece, row in vocabulary(child, "output.bias").items():
        expected = given["output.bias"][known[piece]] if piece in known else before["output.bias"][row]
        assert torch.equal(after["output.bias"][row], expected)
    for name in after.keys() - {*EMBEDDINGS, "output.bias"}:
        assert torch.equal(after[name], given[name])
    assert all(torch.equal(tensor, given[name]) for name, tensor in weights(parent).items())
    assert len(list(child.network.parameters())) == len(
        list(make(child.tokenizer, tie_embeddings=new).network.parameters())
    )


@pytest.mark.parametrize(("new", "old"), [*itertools.combinations_with_replacement(TieName, 2)])
def test_with_one_vocabulary_and_no_more_ties_the_network_computes_the_same(
    tmp_path: Path, old: TieName, new: TieName
) -> None:
    tokenizer = letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True)
    parent, child = make(tokenizer, tie_embeddings=old), make(tokenizer, seed=2, tie_embeddings=new)
    batch = make_batch([[5, 6, 7], [8, 4]], [[8, 9], [5, 6, 7]])
    with torch.no_grad():
        expected = parent.network(batch)[0]
        assert not torch.allclose(child.network(batch)[0], expected)
        copy_weights(parent, child)
        # Not bit for bit: the alignment of a tensor in memory may change the order of its sums.
        torch.testing.assert_close(child.network(batch)[0], expected)


def test_the_copied_weights_share_no_memory(tmp_path: Path) -> None:
    tokenizer = letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True)
    parent, child = make(tokenizer), make(tokenizer, seed=2)
    given = weights(parent)
    copy_weights(parent, child)
    with torch.no_grad():
        for parameter in child.network.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, given[name]) for name, tensor in weights(parent).items())


def test_special_tokens_are_matched_by_id(tmp_path: Path) -> None:
    """A piece that is spelled like a special token of the other vocabulary is not matched with it."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["abcde"]), model_prefix=str(tmp_path / "own"), model_type="char", vocab_size=10,
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="[PAD]", unk_piece="[UNK]", bos_piece="[B]", eos_piece="e",
        user_defined_symbols=["<s>"], minloglevel=2,
    )  # fmt: skip
    own = Tokenizer((tmp_path / "own.model").read_bytes())
    assert own.src_pieces(range(5)) == ["[PAD]", "[UNK]", "[B]", "e", "<s>"]
    parent, child = make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True)), make(own, seed=2)
    given, before = weights(parent)["output.weight"], weights(child)["output.weight"]
    copy_weights(parent, child)
    after = weights(child)["output.weight"]
    assert torch.equal(after[:4], given[:4])
    assert torch.equal(after[4], before[4])


def test_the_numbers_of_common_tokens_are_logged_by_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent = make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=False), tie_embeddings=TieName.two_way)
    child = make(letter_tokenizer(tmp_path, *CHILD_TEXT, joint=False), init_from="FILE", tie_embeddings=TieName.two_way)
    with caplog.at_level(logging.INFO, "seq2seq"):
        copy_weights(parent, child)
    # Four special ids and ▁; bcd of the source's bcdxyz, efh of the target's efhixy.
    assert caplog.messages == ["copied the weights of FILE; common tokens: source 8 of 11, target 8 of 11"]


# --- what must match -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "differences"),
    [
        ({}, {"hidden_size": 16}, "model.hidden_size is 16, in the file 8"),
        ({}, {"emb_size": 8}, "model.emb_size is 8, in the file 6"),
        ({}, {"encoder_hidden_size": 5}, "model.encoder_hidden_size is 5, in the file null"),
        ({"encoder_hidden_size": 4}, {"hidden_size": 4}, "model.hidden_size is 4, in the file 8; "
         "model.encoder_hidden_size is null, in the file 4"),
        ({}, {"hidden_size": 10, "encoder_hidden_size": 4}, "model.hidden_size is 10, in the file 8"),
        ({"encoder_layers": 2}, {"decoder_layers": 2},
         "model.encoder_layers is 1, in the file 2; model.decoder_layers is 2, in the file 1"),
        ({}, {"attention": AttentionName.none}, "model.attention is none, in the file additive"),
        ({}, {"cell": CellName.gru}, "model.cell is gru, in the file lstm"),
        ({"input_feeding": True}, {}, "model.input_feeding is false, in the file true"),
    ],
)  # fmt: skip
def test_different_shapes_are_refused_with_their_keys(
    tmp_path: Path, old: dict[str, object], new: dict[str, object], differences: str
) -> None:
    tokenizer = letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True)
    harmless = {"dropout": DropoutConfig(embedding=0.3), "tie_embeddings": TieName.none}
    parent, child = make(tokenizer, **old), make(tokenizer, seed=2, init_from="FILE", **harmless, **new)
    with pytest.raises(ConfigError) as caught:
        check_compatible(parent, child.config)
    assert str(caught.value) == f"training.init_from=FILE: {differences}; use the values of the file"


def test_keys_that_change_no_tensor_may_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True)
    parent = make(tokenizer)
    silent = {
        "dropout": DropoutConfig(embedding=0.4, context=0.0),
        "initialisation": InitialisationConfig(matrices=MatrixInit.uniform),
        "encoder_hidden_size": 4,  # the size that null means in the file
        "tie_embeddings": TieName.none,
    }
    check_compatible(parent, make(tokenizer, **silent).config)
    assert caplog.messages == []
    check_compatible(parent, make(tokenizer, residual=True, **silent).config)
    assert caplog.messages == [
        "training.init_from: model.residual is true, in the file false; the weights are copied anyway"
    ]


def test_a_warning_names_newly_tied_matrices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True)
    check_compatible(
        make(tokenizer, tie_embeddings=TieName.none), make(tokenizer, tie_embeddings=TieName.two_way).config
    )
    (message,) = caplog.messages
    assert "model.tie_embeddings is two_way, in the file none: a tied matrix gets the rows of" in message


# --- tokenizer -------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model with two vocabularies."""
    path = tmp_path / "parent" / BEST_NAME
    save_model(path, make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=False), tie_embeddings=TieName.two_way))
    return path


def config_with(
    path: Path | None,
    vocabulary: VocabularyName = VocabularyName.keep,
    tie: TieName = TieName.two_way,
    **settings: object,
) -> Config:
    training = TrainingConfig(max_steps=1, init_from=path and str(path), init_vocabulary=vocabulary)
    model = ModelConfig(**{**SIZES, "tie_embeddings": tie, **settings})  # type: ignore[arg-type]
    return Config(data=DataConfig(src="en", tgt="de"), model=model, training=training)


def fingerprint(tokenizer: Tokenizer | None) -> str | None:
    return tokenizer and tokenizer.fingerprint


def test_without_init_from_nothing_is_loaded(tmp_path: Path) -> None:
    for resumed in (None, tmp_path):
        pretrained = load_pretrained(config_with(None), resumed)
        assert (pretrained.tokenizer, pretrained.weights) == (None, None)


def test_keep_loads_the_tokenizer_and_replace_does_not(tmp_path: Path, file: Path) -> None:
    for path in (file, file.parent):
        kept = load_pretrained(config_with(path), None)
        assert fingerprint(kept.tokenizer) == letter_tokenizer(tmp_path, *PARENT_TEXT, joint=False).fingerprint
        assert kept.weights is not None
        replaced = load_pretrained(config_with(path, VocabularyName.replace), None)
        assert replaced.tokenizer is None
        assert replaced.weights is not None


@pytest.mark.parametrize("vocabulary", VocabularyName)
def test_different_shapes_are_refused_by_load_pretrained(file: Path, vocabulary: VocabularyName) -> None:
    with pytest.raises(
        ConfigError, match=r"training\.init_from=.*: model\.emb_size is 8, in the file 6; use the values of the file$"
    ):
        load_pretrained(config_with(file, vocabulary, emb_size=8), None)


def test_the_embeddings_of_two_vocabularies_cannot_be_tied(file: Path) -> None:
    with pytest.raises(ConfigError, match=rf"tie_embeddings=three_way needs a joint vocabulary, but {file} has two"):
        load_pretrained(config_with(file, tie=TieName.three_way), None)
    assert load_pretrained(config_with(file, VocabularyName.replace, TieName.three_way), None).weights is not None


def test_a_resumed_run_loads_only_the_tokenizer(file: Path, tmp_path: Path) -> None:
    kept = load_pretrained(config_with(file), tmp_path)
    assert kept.weights is None
    assert fingerprint(kept.tokenizer) == letter_tokenizer(tmp_path, *PARENT_TEXT, joint=False).fingerprint
    assert load_pretrained(config_with(tmp_path / "gone", VocabularyName.replace), tmp_path).tokenizer is None


def test_a_resumed_run_loads_its_tokenizer_from_its_own_model_if_the_other_is_gone(file: Path, tmp_path: Path) -> None:
    own = make(letter_tokenizer(tmp_path, *CHILD_TEXT, joint=True))
    save_model(tmp_path / BEST_NAME, own)
    file.unlink()
    assert fingerprint(load_pretrained(config_with(file), tmp_path).tokenizer) == own.tokenizer.fingerprint


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True))
    with torch.no_grad():
        broken.network.output.bias[5] = math.nan
    save_model(tmp_path / "broken.safetensors", broken)
    with pytest.raises(ModelFileError, match=r"^training.init_from: .*broken.safetensors has weights that are not"):
        load_pretrained(config_with(tmp_path / "broken.safetensors"), None)


def test_other_held_out_pairs_of_the_same_text_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True))
    data = dataclasses.replace(model.config.data, name=DataName.files, train=FilesConfig(tsv="one"))
    config = dataclasses.replace(model.config, data=data)
    parent = dataclasses.replace(model, config=config, text=TrainingText(9, {"test": "a", "valid": "b"}))
    warn_if_seen(parent, parent.config, {"test": "a", "valid": "b"})
    other_text = dataclasses.replace(parent.config.data, train=FilesConfig(tsv="other"))
    warn_if_seen(parent, dataclasses.replace(parent.config, data=other_text), {"test": "c"})
    assert not caplog.messages
    warn_if_seen(parent, parent.config, {"test": "c", "valid": "b"})
    assert "the test pairs held out of the training text are not those that the model held out" in caplog.text


def files(*paths: str) -> DataConfig:
    return DataConfig(name=DataName.files, src="en", tgt="de", train=FilesConfig(tsv=list(paths)))


def named(name: str, **settings: Any) -> DataConfig:
    return DataConfig(name=DataName[name], src="en", tgt="de", **settings)


@pytest.mark.parametrize(
    ("old", "new", "warns"),
    [
        (named("mtdata", datasets=["a", "b"]), named("mtdata", datasets=["b", "c"]), True),
        (named("mtdata", datasets=["a"]), named("mtdata", datasets=["b"]), False),
        (named("opus", corpus="A", version="1"), named("opus", corpus="A", version="1"), True),
        (named("opus", corpus="A"), named("opus", corpus="B"), False),
        (named("opus", corpus="A", version="1"), named("opus", corpus="A", version="2"), False),
        (named("huggingface", dataset="a", subset="x"), named("huggingface", dataset="a", subset="y"), False),
        (
            named("huggingface", dataset="a", splits=SplitsConfig(train="train[:9]")),
            named("huggingface", dataset="a", splits=SplitsConfig(train="train[:99]")),
            True,
        ),
        (named("huggingface", dataset="a"), named("huggingface", dataset="b"), False),
        (files("one"), files("one", "more"), True),
        (files("one"), files("two"), False),
        (files("one"), dataclasses.replace(files("one"), src="deu", tgt="eng"), True),
    ],
)
def test_text_is_the_same_by_what_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, old: DataConfig, new: DataConfig, warns: bool
) -> None:
    model = make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True))
    parent = dataclasses.replace(
        model, config=dataclasses.replace(model.config, data=old), text=TrainingText(9, {"test": "a"})
    )
    warn_if_seen(parent, dataclasses.replace(model.config, data=new), {"test": "b"})
    assert bool(caplog.messages) is warns


def test_every_corpus_of_a_mix_is_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make(letter_tokenizer(tmp_path, *PARENT_TEXT, joint=True))
    web = MixConfig(train=FilesConfig(tsv=["one"]))
    mixed = dataclasses.replace(model.config, data=dataclasses.replace(named("grammar"), mix={"web": web}))
    parent = dataclasses.replace(model, config=mixed, text=TrainingText(9, {"valid": "a", "web.valid": "b"}))
    warn_if_seen(parent, mixed, {"valid": "a", "web.valid": "b"})
    warn_if_seen(parent, dataclasses.replace(model.config, data=files("one")), {"valid": "b"})
    two = dataclasses.replace(mixed, data=dataclasses.replace(named("opus", corpus="A"), mix={"web": MixConfig(
        name=DataName.opus, corpus="A", tag="<web>"
    )}))  # fmt: skip
    both = dataclasses.replace(parent, config=two)
    warn_if_seen(both, two, {"valid": "a", "web.valid": "b"})
    assert not caplog.messages
    warn_if_seen(parent, mixed, {"valid": "a", "web.valid": "c"})
    assert "the web.valid pairs" in caplog.messages.pop()
    warn_if_seen(parent, dataclasses.replace(model.config, data=files("one")), {"valid": "a"})
    assert "the valid pairs" in caplog.text


def test_the_longest_sentence_of_the_parent_counts_if_its_vocabulary_is_kept(file: Path, tmp_path: Path) -> None:
    save_model(file, dataclasses.replace(load_model(file, torch.device("cpu")), text=TrainingText(9)))
    assert load_pretrained(config_with(file), None).longest_src == 9
    assert load_pretrained(config_with(file), tmp_path).longest_src == 9
    assert load_pretrained(config_with(file, VocabularyName.replace), None).longest_src == 0


def test_a_missing_or_damaged_model(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=f"^training.init_from: no model at {tmp_path / 'none'}"):
        load_pretrained(config_with(tmp_path / "none"), None)
    with pytest.raises(
        ModelFileError, match=r"^no model at .*none.*; its tokenizer is needed to resume: set training.init_from=PATH"
    ):
        load_pretrained(config_with(tmp_path / "none"), tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    for vocabulary in VocabularyName:
        with pytest.raises(ModelFileError, match=f"^training.init_from: {file} is not a readable model file"):
            load_pretrained(config_with(file, vocabulary), None)

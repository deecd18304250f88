"""Starting from another model: which rows are copied from where, what must fit, and which tokenizer a run has."""

from __future__ import annotations

import itertools
import logging
import math
from pathlib import Path

import pytest
import sentencepiece
import torch
from torch import Tensor

from seq2seq.config.data import DataConfig, PieceType, TokenizerConfig
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
from seq2seq.config.training import TrainingConfig, VocabularyName
from seq2seq.data.batch import make_batch
from seq2seq.data.corpus import ParallelText
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import Model, save_model
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.training.fine_tuning import check_compatible, copy_weights, load_pretrained

SIZES = {"emb_size": 6, "hidden_size": 8, "attention_size": 4}
PARENT_TEXT, CHILD_TEXT = ("abcde", "defgh"), ("bcdxyz", "efhixy")  # letters of source and target
EMBEDDINGS = ("tgt_embedding.weight", "output.weight", "src_embedding.weight")
SHARED = {
    TieName.none: [{name} for name in EMBEDDINGS],
    TieName.two_way: [set(EMBEDDINGS[:2]), set(EMBEDDINGS[2:])],
    TieName.three_way: [set(EMBEDDINGS)],
}
VOCABULARIES = [(tie, joint) for tie in TieName for joint in (True, False) if joint or tie is not TieName.three_way]


def letters(cache: Path, src: str, tgt: str, joint: bool) -> Tokenizer:
    """One piece for each letter, after the four special ones and ▁."""

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
    """A model in which no two weights are equal."""
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
    """Piece -> row of a tensor."""
    tokenizer = model.tokenizer
    if name.startswith("src"):
        pieces = tokenizer.src_pieces(range(tokenizer.src_size))
    else:
        pieces = tokenizer.tgt_pieces(range(tokenizer.tgt_size))
    return {piece: row for row, piece in enumerate(pieces)}


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "old_joint"), VOCABULARIES)
@pytest.mark.parametrize(("new", "new_joint"), VOCABULARIES)
def test_every_row_is_that_of_its_piece(
    tmp_path: Path, old: TieName, old_joint: bool, new: TieName, new_joint: bool
) -> None:
    """Row by row: the file's own for this matrix, the target's before the source's where several are one matrix."""
    parent = make(letters(tmp_path, *PARENT_TEXT, old_joint), tie_embeddings=old)
    child = make(letters(tmp_path, *CHILD_TEXT, new_joint), seed=2, tie_embeddings=new)
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
def test_one_vocabulary_and_no_tighter_tie_is_the_same_network(tmp_path: Path, old: TieName, new: TieName) -> None:
    tokenizer = letters(tmp_path, *PARENT_TEXT, joint=True)
    parent, child = make(tokenizer, tie_embeddings=old), make(tokenizer, seed=2, tie_embeddings=new)
    batch = make_batch([[5, 6, 7], [8, 4]], [[8, 9], [5, 6, 7]])
    with torch.no_grad():
        expected = parent.network(batch)[0]
        assert not torch.allclose(child.network(batch)[0], expected)
        copy_weights(parent, child)
        # Not to the bit: a tensor elsewhere in memory may be multiplied in another order.
        torch.testing.assert_close(child.network(batch)[0], expected)


def test_the_copy_is_the_childs_own(tmp_path: Path) -> None:
    tokenizer = letters(tmp_path, *PARENT_TEXT, joint=True)
    parent, child = make(tokenizer), make(tokenizer, seed=2)
    given = weights(parent)
    copy_weights(parent, child)
    with torch.no_grad():
        for parameter in child.network.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, given[name]) for name, tensor in weights(parent).items())


def test_special_ids_are_the_same_whatever_they_are_called(tmp_path: Path) -> None:
    """… and a piece that is written like another vocabulary's special one is not that."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["abcde"]), model_prefix=str(tmp_path / "own"), model_type="char", vocab_size=10,
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="[PAD]", unk_piece="[UNK]", bos_piece="[B]", eos_piece="e",
        user_defined_symbols=["<s>"], minloglevel=2,
    )  # fmt: skip
    own = Tokenizer((tmp_path / "own.model").read_bytes())
    assert own.src_pieces(range(5)) == ["[PAD]", "[UNK]", "[B]", "e", "<s>"]
    parent, child = make(letters(tmp_path, *PARENT_TEXT, joint=True)), make(own, seed=2)
    given, before = weights(parent)["output.weight"], weights(child)["output.weight"]
    copy_weights(parent, child)
    after = weights(child)["output.weight"]
    assert torch.equal(after[:4], given[:4])
    assert torch.equal(after[4], before[4])


def test_counts_are_told_by_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parent = make(letters(tmp_path, *PARENT_TEXT, joint=False), tie_embeddings=TieName.two_way)
    child = make(letters(tmp_path, *CHILD_TEXT, joint=False), init_from="FILE", tie_embeddings=TieName.two_way)
    with caplog.at_level(logging.INFO, "seq2seq"):
        copy_weights(parent, child)
    # Four special ids and ▁; bcd of the source's bcdxyz, efh of the target's efhixy.
    assert caplog.messages == ["weights of FILE; source: 8 of 11 pieces known, target: 8 of 11"]


# --- what must fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
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
def test_other_shapes_are_refused_by_their_keys(
    tmp_path: Path, old: dict[str, object], new: dict[str, object], told: str
) -> None:
    tokenizer = letters(tmp_path, *PARENT_TEXT, joint=True)
    harmless = {"dropout": DropoutConfig(embedding=0.3), "tie_embeddings": TieName.none}
    parent, child = make(tokenizer, **old), make(tokenizer, seed=2, init_from="FILE", **harmless, **new)
    with pytest.raises(ConfigError) as caught:
        check_compatible(parent, child.config)
    assert str(caught.value) == f"training.init_from=FILE: {told}"


def test_what_changes_no_tensor_may_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = letters(tmp_path, *PARENT_TEXT, joint=True)
    parent = make(tokenizer)
    silent = {
        "dropout": DropoutConfig(embedding=0.4, context=0.0),
        "initialisation": InitialisationConfig(matrices=MatrixInit.uniform),
        "encoder_hidden_size": 4,  # what null means in the file
        "tie_embeddings": TieName.none,
    }
    check_compatible(parent, make(tokenizer, **silent).config)
    assert caplog.messages == []
    check_compatible(parent, make(tokenizer, residual=True, **silent).config)
    assert caplog.messages == [
        "training.init_from: model.residual is true, in the file false; the weights are copied all the same"
    ]


def test_matrices_that_become_one_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = letters(tmp_path, *PARENT_TEXT, joint=True)
    check_compatible(
        make(tokenizer, tie_embeddings=TieName.none), make(tokenizer, tie_embeddings=TieName.two_way).config
    )
    (message,) = caplog.messages
    assert "model.tie_embeddings is two_way, in the file none: of matrices that become one" in message


# --- which tokenizer -------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model with two vocabularies."""
    path = tmp_path / "parent" / BEST_NAME
    save_model(path, make(letters(tmp_path, *PARENT_TEXT, joint=False), tie_embeddings=TieName.two_way))
    return path


def asking(
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


def test_a_run_that_names_no_model_has_everything_of_its_own(tmp_path: Path) -> None:
    for resumed in (None, tmp_path):
        start = load_pretrained(asking(None), resumed)
        assert (start.tokenizer, start.weights) == (None, None)


def test_keep_takes_the_tokenizer_and_replace_does_not(tmp_path: Path, file: Path) -> None:
    for path in (file, file.parent):
        kept = load_pretrained(asking(path), None)
        assert fingerprint(kept.tokenizer) == letters(tmp_path, *PARENT_TEXT, joint=False).fingerprint
        assert kept.weights is not None
        replaced = load_pretrained(asking(path, VocabularyName.replace), None)
        assert replaced.tokenizer is None
        assert replaced.weights is not None


@pytest.mark.parametrize("vocabulary", VocabularyName)
def test_a_misfit_is_told_before_anything_is_made(file: Path, vocabulary: VocabularyName) -> None:
    with pytest.raises(ConfigError, match=r"training\.init_from=.*: model\.emb_size is 8, in the file 6$"):
        load_pretrained(asking(file, vocabulary, emb_size=8), None)


def test_two_vocabularies_cannot_have_one_matrix(file: Path) -> None:
    with pytest.raises(ConfigError, match=rf"tie_embeddings=three_way needs one vocabulary, {file} has two"):
        load_pretrained(asking(file, tie=TieName.three_way), None)
    assert load_pretrained(asking(file, VocabularyName.replace, TieName.three_way), None).weights is not None


def test_a_resumed_run_has_its_weights_already(file: Path, tmp_path: Path) -> None:
    kept = load_pretrained(asking(file), tmp_path)
    assert kept.weights is None
    assert fingerprint(kept.tokenizer) == letters(tmp_path, *PARENT_TEXT, joint=False).fingerprint
    assert load_pretrained(asking(tmp_path / "gone", VocabularyName.replace), tmp_path).tokenizer is None


def test_the_runs_own_model_has_its_tokenizer_when_the_other_has_gone(file: Path, tmp_path: Path) -> None:
    own = make(letters(tmp_path, *CHILD_TEXT, joint=True))
    save_model(tmp_path / BEST_NAME, own)
    file.unlink()
    assert fingerprint(load_pretrained(asking(file), tmp_path).tokenizer) == own.tokenizer.fingerprint


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = make(letters(tmp_path, *PARENT_TEXT, joint=True))
    with torch.no_grad():
        broken.network.output.bias[5] = math.nan
    save_model(tmp_path / "broken.safetensors", broken)
    with pytest.raises(ModelFileError, match=r"^training.init_from: .*broken.safetensors holds weights that are not"):
        load_pretrained(asking(tmp_path / "broken.safetensors"), None)


def test_a_model_that_is_not_there_or_damaged(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=f"^training.init_from: no model at {tmp_path / 'none'}"):
        load_pretrained(asking(tmp_path / "none"), None)
    with pytest.raises(
        ModelFileError, match=r"^no model at .*none.*; its tokenizer is needed to resume: training.init_from=PATH"
    ):
        load_pretrained(asking(tmp_path / "none"), tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    for vocabulary in VocabularyName:
        with pytest.raises(ModelFileError, match=f"^training.init_from: {file} is not a readable model file"):
            load_pretrained(asking(file, vocabulary), None)

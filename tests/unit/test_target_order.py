"""A network that writes from right to left: everything outside it is in the order of the text."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from seq2seq.config.model import TargetOrderName
from seq2seq.data.batches.batch import make_batch
from seq2seq.errors import ConfigError
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.explanation import explain
from seq2seq.inference.target_order import mirrored
from seq2seq.inference.text import one_line
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from tiny_model import SENTENCES, make_model

# Characters of the vocabulary and others, scripts without spaces and from right to left, combining marks.
TEXTS = [
    "jugs box",
    "",
    "a",
    "猫は魚を食べる",
    "שלום עולם",
    "مرحبا بكم",
    "e\u0301 ⁇ </s> <unk>",
    "x" * 90,
    "  lazy   dog ",
]


def backwards(network: Seq2Seq) -> Seq2Seq:
    """Return a network of the same weights that writes from right to left."""
    config = dataclasses.replace(network.config, target_order=TargetOrderName.right_to_left)
    other = Seq2Seq(config, *(table.num_embeddings for table in (network.src_embedding, network.tgt_embedding)))
    other.load_state_dict(network.state_dict())
    return other.eval()


@pytest.fixture(params=[False, True], ids=["characters", "bytes"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Translator, Translator]:
    """Return translators of the same weights, from left to right and from right to left."""
    model = make_model(tmp_path, byte_fallback=request.param)
    networks = model.network, backwards(model.network)
    left, right = (Translator(network.double(), model.tokenizer, data=model.config.data) for network in networks)
    return left, right


def test_a_batch_is_reversed_between_bos_and_eos() -> None:
    targets = [[5, 6, 7, 8], [], [9], [10, 11]]
    batch, expected = make_batch([[4]] * 4, targets), make_batch([[4]] * 4, [ids[::-1] for ids in targets])
    reversed_batch = batch.reversed_targets()
    assert torch.equal(reversed_batch.tgt_in, expected.tgt_in)
    assert torch.equal(reversed_batch.tgt_out, expected.tgt_out)
    assert torch.equal(reversed_batch.reversed_targets().tgt_in, batch.tgt_in)


def test_the_last_value_stays_that_of_the_end() -> None:
    assert mirrored([1, 2, 3, 0]) == [3, 2, 1, 0]
    assert [mirrored(values) for values in ([], [0], [1, 0])] == [[], [0], [1, 0]]


def test_forced_decoding_is_that_of_the_reversed_tokens(pair: tuple[Translator, Translator]) -> None:
    left, right = pair
    sources = left.tokenizer.encode_src([SENTENCES[i % 3] for i in range(len(TEXTS))])
    targets = left.tokenizer.encode_tgt(TEXTS)
    expected = left.force_decode(sources, [ids[::-1] for ids in targets], distributions=True)
    for own, other, ids in zip(
        right.force_decode(sources, targets, distributions=True), expected, targets, strict=True
    ):
        assert own.token_log_probs == pytest.approx(mirrored(other.token_log_probs), abs=1e-9)
        assert own.margins == pytest.approx(mirrored(other.margins), abs=1e-9)
        assert own.entropies == pytest.approx(mirrored(other.entropies), abs=1e-9)
        assert torch.allclose(own.attn_weights[: len(ids)], other.attn_weights[: len(ids)].flip(0))
        assert torch.allclose(own.attn_weights[-1], other.attn_weights[-1])


def test_scores_and_pieces_are_those_of_the_text(pair: tuple[Translator, Translator]) -> None:
    left, right = pair
    sources = [SENTENCES[0]] * len(TEXTS)
    for own, other in zip(right.score(sources, TEXTS), left.score(sources, TEXTS), strict=True):
        assert own.pieces == other.pieces
        assert own.log_prob != pytest.approx(other.log_prob) or len(own.pieces) <= 2
    assert [round(score.log_prob, 9) for score in right.score(sources, TEXTS)] == [
        round(sum(decoded.token_log_probs), 9)
        for decoded in right.force_decode(left.tokenizer.encode_src(sources), left.tokenizer.encode_tgt(TEXTS))
    ]


def test_translations_are_turned_round(pair: tuple[Translator, Translator]) -> None:
    """The search is that of the same weights from left to right; its tokens come out in reverse order."""
    left, right = pair
    for own, other in zip(right.translate_n_best(SENTENCES, 3), left.translate_n_best(SENTENCES, 3), strict=True):
        assert [output.ids for output in own] == [output.ids[::-1] for output in other]
        texts = left.tokenizer.decode([output.ids[::-1] for output in other])
        assert [output.text for output in own] == [one_line(text) for text in texts]
        for one, two in zip(own, other, strict=True):
            assert one.token_log_probs == pytest.approx(mirrored(two.token_log_probs), abs=1e-9)


def test_a_translation_scores_as_it_was_found(pair: tuple[Translator, Translator]) -> None:
    _, right = pair
    for (output,) in right.translate_n_best(SENTENCES, alignments=True):
        assert len(output.token_log_probs) == len(output.ids) + 1
        assert output.alignment is not None
    outputs = [best for (best,) in right.translate_n_best(SENTENCES)]
    sources = right.tokenizer.encode_src(SENTENCES)
    for output, decoded in zip(outputs, right.force_decode(sources, [o.ids for o in outputs]), strict=True):
        assert output.token_log_probs == pytest.approx(decoded.token_log_probs, abs=1e-6)


def test_terms_hold_in_the_order_of_the_text(pair: tuple[Translator, Translator]) -> None:
    _, right = pair
    forced = right.translate(SENTENCES, terms=[["dozen"], ["vex"], ["jumps", "box"]], beam_size=8)
    assert all(
        term in text
        for text, terms in zip(forced, [["dozen"], ["vex"], ["jumps", "box"]], strict=True)
        for term in terms
    )


def test_banned_texts_hold_in_the_order_of_the_text(tmp_path: Path) -> None:
    """The text that is banned occurs in an output without the ban, and its reverse is still allowed."""
    model = make_model(tmp_path)
    right = Translator(backwards(model.network), model.tokenizer, data=model.config.data)
    size = right.tokenizer.tgt_size
    letters = {
        i for i, piece in enumerate(right.tokenizer.tgt_pieces(range(size))) if len(piece) == 1 and piece.isalpha()
    }

    def written(*banned: str) -> list[list[int]]:
        """Greedily: a ban that no output meets changes none."""
        return [best.ids for (best,) in right.translate_n_best(SENTENCES, beam_size=1, never_emit=[*banned])]

    free = written()
    pairs = [pair for ids in free for pair in itertools.pairwise(ids) if {*pair} <= letters]
    banned = next(pair for pair in pairs if pair[::-1] not in pairs)
    (text,) = right.tokenizer.decode([banned])
    assert all(banned not in itertools.pairwise(ids) for ids in written(text))
    assert written(text[::-1]) == free


def test_explanations_are_those_of_the_words_of_the_text(pair: tuple[Translator, Translator]) -> None:
    _, right = pair
    found = explain(right, SENTENCES[0], "jumps quick", integrated_steps=2)
    (score,) = right.score([SENTENCES[0]], ["jumps quick"])
    assert found.token_log_probs == pytest.approx(score.token_log_probs, abs=1e-6)
    assert found.target.tokens == score.pieces
    first_word = [at for at, word in enumerate(found.target.token_words) if word == 0]
    assert found.word_log_probs[0] == pytest.approx(sum(score.token_log_probs[at] for at in first_word), abs=1e-6)
    difference = found.integrated_gradients.difference if found.integrated_gradients else []
    assert len(difference) == 2
    decoder = next(layer for layer in found.layers if layer.side == "target")
    # The gradient of the word that is written last, "jumps", reaches the steps of all tokens before it, not EOS.
    assert decoder.gradient_norm[-1] == 0
    assert decoder.gradient_norm[-2] > 0


def test_a_prefix_is_refused(pair: tuple[Translator, Translator]) -> None:
    left, right = pair
    with pytest.raises(ConfigError, match="prefix"):
        right.translate(SENTENCES, prefixes=["the", "", ""])
    assert right.translate(SENTENCES, prefixes=["", "", ""]) == right.translate(SENTENCES)
    with pytest.raises(ConfigError, match="--rerank"):
        Ensemble([left.network, right.network])

"""Synthetic pairs: which pairs are made, scored and dropped, and by which reason."""

from __future__ import annotations

import math

import pytest

from seq2seq.inference.synthetic_pairs import PairFilter, PairMaker, Reason, best_by_reference, best_share, dual_score
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import Model
from tiny_model import SENTENCES, make_model, make_network

LINES = [*SENTENCES, "a fox", "", "x", "  jugs ", "five dozen"]
ANY = PairFilter(max_pieces=1000, max_ratio=1e3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def translator(model: Model) -> Translator:
    return Translator(model.network, model.tokenizer)


@pytest.fixture(scope="module")
def opposite(model: Model) -> Translator:
    return Translator(make_network(model.tokenizer.src_size, seed=2).eval(), model.tokenizer)


def test_pairs_are_in_order_with_their_translation_and_mean_log_p(translator: Translator) -> None:
    pairs = PairMaker(translator, {"beam_size": 2}, ANY).make(LINES)
    assert [pair.given for pair in pairs] == [line.strip() for line in LINES]
    assert [pair.dropped for pair in pairs] == [Reason.blank if not line else None for line in LINES]
    for pair in pairs:
        if pair.dropped is None:
            (output,) = translator.translate_n_best([pair.given], beam_size=2)
            assert pair.generated == output[0].text
            assert pair.score == pytest.approx(output[0].log_prob / (len(output[0].ids) + 1))


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"search": "sample", "seed": 3}])
def test_pairs_do_not_depend_on_the_lines_beside_them(translator: Translator, options: dict[str, object]) -> None:
    maker = PairMaker(translator, options, ANY)
    together = maker.make(LINES)
    for line, pair in zip(LINES, together, strict=True):
        alone = maker.make([line])[0]
        assert (alone.given, alone.generated, alone.dropped) == (pair.given, pair.generated, pair.dropped)


def test_filters_name_their_reason(translator: Translator) -> None:
    def reasons(rule: PairFilter) -> list[Reason | None]:
        return [pair.dropped for pair in PairMaker(translator, {"beam_size": 1}, rule).make(LINES)]

    lengths = [len(ids) for ids in translator.tokenizer.encode_src([line.strip() for line in LINES])]
    for reason, length in zip(reasons(PairFilter(8, 1e3)), lengths, strict=True):
        if length > 8:
            assert reason is Reason.too_long  # whatever the translation is
    outputs = translator.translate_n_best([line.strip() for line in LINES], beam_size=1)
    for reason, length, (best, *_) in zip(reasons(PairFilter(1000, 1.5)), lengths, outputs, strict=True):
        ratio = max(length, len(best.ids)) / min(length, len(best.ids)) if length else None
        assert reason is (Reason.blank if ratio is None else Reason.length_ratio if ratio > 1.5 else None)
    assert Reason.log_prob in reasons(PairFilter(1000, 1e3, min_score=-0.001))


def test_a_copy_is_dropped_on_request(model: Model) -> None:
    class Copying(Translator):
        def translate_n_best(self, lines, *args, **options):  # type: ignore[no-untyped-def]
            ids = self.tokenizer.encode_tgt(lines)
            return [[Translation(f"{line} ", -1.0, -1.0, i, [-1.0])] for line, i in zip(lines, ids, strict=True)]

    copying = Copying(model.network, model.tokenizer)
    for drop in (True, False):
        rule = PairFilter(1000, 1e3, drop_copies=drop)
        assert PairMaker(copying, {}, rule).make(["a fox"])[0].dropped is (Reason.copy if drop else None)


def test_the_opposite_model_makes_the_score_dual(translator: Translator, opposite: Translator) -> None:
    options = {"beam_size": 1}
    single = PairMaker(translator, options, ANY).make(SENTENCES)
    dual = PairMaker(translator, options, ANY, opposite.score).make(SENTENCES)
    scores = opposite.score([pair.generated for pair in single], [pair.given for pair in single])
    for one, two, score in zip(single, dual, scores, strict=True):
        assert one.score is not None
        assert two.score == pytest.approx(dual_score(one.score, score.log_prob / len(score.token_log_probs)))


def test_dual_score_by_hand() -> None:
    assert dual_score(-1.0, -1.0) == -1.0
    assert dual_score(-1.0, -3.0) == -4.0  # disagreement 2, mean cross-entropy 2
    assert dual_score(-3.0, -1.0) == -4.0


def test_best_share_keeps_the_highest_and_the_first_of_equals() -> None:
    assert best_share([-3.0, -1.0, -2.0, -1.0], 0.5).tolist() == [False, True, False, True]
    assert best_share([-1.0, -1.0, -1.0], 0.3).tolist() == [True, False, False]  # rounded up
    assert best_share([math.nan, -9.0], 0.5).tolist() == [False, True]
    assert best_share([-1.0, -2.0], 1.0).tolist() == [True, True]
    assert best_share([-1.0], 0.0).tolist() == [False]
    assert best_share([], 0.5).tolist() == []


def test_best_by_reference_is_the_most_similar_output() -> None:
    outputs = [Translation("ein roter Hund", -1.0, -1.0), Translation("ein Hund bellt", -2.0, -2.0)]
    choose = best_by_reference("13a")
    assert choose(outputs, "der Hund bellt") is outputs[1]
    assert choose(outputs, "Katze") is outputs[0]

"""Confidence: the regressions, the features, the calibration in the model file, and the translator that uses it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from seq2seq.config.decode import SearchName
from seq2seq.config.model import AttentionName
from seq2seq.data.text.writing import words_of
from seq2seq.errors import ConfigError, DataError, ModelFileError
from seq2seq.evaluation.calibration import FEW_PAIRS, Observation, Rated, assess, fit, fit_regression, observe, rate
from seq2seq.inference.annotation import Annotations, annotate
from seq2seq.inference.confidence import Confidence, join_confidences
from seq2seq.inference.ensemble import ForcedDecoding
from seq2seq.inference.forced_scoring import MAX_BATCH_TOKENS
from seq2seq.inference.line_parts import LinePart
from seq2seq.inference.output_features import SentenceFeatures, WordFeatures, output_features
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.search.batched_search import SearchInput
from seq2seq.storage.calibration import Calibration, LogisticRegression, Weight
from seq2seq.storage.model_file import Model, load_model, save_model, write_calibration
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.storage.weight_averaging import average_models
from tiny_model import make_model, make_network

CPU = torch.device("cpu")
MODEL_FILES = Path(__file__).parents[1] / "model_files"
LINES = ["a fox", "", "the quick brown fox", "x", " \t", "jumps over a lazy dog", "how", "the quick brown fox jumps"]
CALIBRATION = Calibration(
    LogisticRegression(0.5, {"mean_log_prob": Weight(0.7, -9.0, 0.0), "uncovered": Weight(-0.4, 0.0, 1.0)}),
    LogisticRegression(-0.5, {"first_margin": Weight(0.3, -9.0, 9.0), "coverage": Weight(0.2, 0.0, 9.0)}),
    good_chrf=40.0,
    pairs=7,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    made = make_model(tmp_path_factory.mktemp("cache"))
    return dataclasses.replace(made, calibration=CALIBRATION)


def translator_of(model: Model, **options: Any) -> Translator:
    return Translator(model.network, model.tokenizer, model.config.decode, calibration=model.calibration, **options)


@pytest.fixture
def translator(model: Model) -> Translator:
    return translator_of(model)


def confidences(translator: Translator, lines: list[str], **options: Any) -> list[list[Confidence]]:
    rows = translator.translate_n_best(lines, confidence=True, **options)
    found = [[one.confidence for one in row if one.confidence is not None] for row in rows]
    assert [len(row) for row in found] == [len(row) for row in rows]
    return found


# --- the regression --------------------------------------------------------------------------------------------------


def test_regression_recovers_known_coefficients() -> None:
    numbers = random.Random(1)
    rows, outcomes = [], []
    for _ in range(20_000):
        row = {"a": numbers.gauss(3, 2), "constant": 5.0, "b": numbers.random()}
        rows.append(row)
        outcomes.append(numbers.random() < 1 / (1 + math.exp(-(0.8 * row["a"] - 3 * row["b"] - 1))))
    found = fit_regression(rows, outcomes)
    assert [*found.weights] == ["a", "b"]
    assert found.weights["a"].weight == pytest.approx(0.8, abs=0.05)
    assert found.weights["b"].weight == pytest.approx(-3, abs=0.2)
    assert found.bias == pytest.approx(-1, abs=0.2)
    highest = max(row["a"] for row in rows)
    beyond, at = ({"a": value, "b": 0.5} for value in (highest + 100, highest))
    assert found.probability(beyond) == found.probability(at)  # no extrapolation
    mean = math.fsum(map(found.probability, rows)) / len(rows)
    assert mean == pytest.approx(sum(outcomes) / len(outcomes), abs=1e-3)


@pytest.mark.parametrize("outcome", [True, False])
def test_outcomes_that_are_all_the_same_do_not_give_certainty(outcome: bool) -> None:
    rows = [{"a": float(number)} for number in range(8)]
    found = fit_regression(rows, [outcome] * 8)
    for row in rows:
        assert found.probability(row) == pytest.approx(0.9 if outcome else 0.1)  # (8 + 1) / (8 + 2)
    assert fit_regression([], []).probability({}) == 0.5


def test_separable_outcomes_have_finite_weights() -> None:
    found = fit_regression([{"a": float(number)} for number in range(40)], [number >= 20 for number in range(40)])
    assert 0.5 < found.probability({"a": 30.0}) < found.probability({"a": 39.0}) < 1


# --- features --------------------------------------------------------------------------------------------------------


def test_features_of_a_forced_decoding_by_hand(model: Model) -> None:
    """The output "a fox" of "a lazy" (with a tag of one token): pieces are ▁ and single characters."""
    tokenizer = model.tokenizer
    (source,), (ids,) = tokenizer.encode_src(["a lazy"]), tokenizer.encode_tgt(["a fox"])
    text = "a fox"
    assert len(ids) == 6
    assert tokenizer.decode([ids]) == [text]
    log_probs = [-0.1, -0.2, -0.3, -1.0, -0.5, -0.4, -0.7]
    weights = torch.zeros(7, 1 + len(source) + 1)
    weights[:, 2] = 0.5  # of the second source token, after the tag
    weights[:, 1] = 0.25
    weights[:, -1] = 0.25
    decoded = ForcedDecoding(log_probs, weights, [1.0, 2.0, 3.0, -4.0, 5.0, 6.0, 7.0], [0.1] * 6 + [0.9])
    part = LinePart("a lazy", 0, SearchInput([9, *source], [], []), "a lazy", tag_tokens=1)
    found = output_features(part, text, ids, decoded, tokenizer)
    a, fox = found.words
    assert a.log_prob == pytest.approx(-0.3)  # ▁ and a
    assert fox.log_prob == pytest.approx(-2.2)  # ▁ f o x
    assert fox.lowest_probability == pytest.approx(math.exp(-1))
    assert (fox.lowest_margin, fox.first_margin) == (-4, 3)
    assert (a.copied, fox.copied, a.first, fox.first) == (1, 0, 1, 0)
    assert fox.previous_probability == pytest.approx(math.exp(-0.3))
    assert fox.next_probability == pytest.approx(math.exp(-0.7))
    assert fox.coverage == pytest.approx(7 * 0.5)
    assert fox.attention_to_end == pytest.approx(0.25)
    assert fox.attention_entropy == pytest.approx(-(0.5 * math.log(0.5) + 0.25 * math.log(0.25)), abs=1e-6)
    whole = found.sentence
    assert whole.mean_log_prob == pytest.approx(-3.2 / 7)
    assert whole.end_log_prob == -0.7
    assert whole.mean_entropy == pytest.approx(1.5 / 7)
    assert whole.copied == 0.5
    assert whole.uncovered == pytest.approx(1 - 2 / len(source))
    assert whole.highest_coverage == pytest.approx(3.5)
    assert whole.log_source_tokens == pytest.approx(math.log1p(len(source)))


def test_margins_and_entropies_are_those_of_the_distributions(translator: Translator) -> None:
    sources, targets = [[5, 6, 7], [8]], [[9, 10], [4, 5, 6]]
    decoded = translator.force_decode(sources, targets, distributions=True)
    plain = translator.force_decode(sources, targets)
    for source, target, one, other in zip(sources, targets, decoded, plain, strict=True):
        state = translator.ensemble.start([source], CPU)
        last = 2
        with translator.inference_mode():
            for token, log_prob, margin, entropy in zip(
                [*target, 3], one.token_log_probs, one.margins, one.entropies, strict=True
            ):
                prediction, state = translator.ensemble.step(torch.tensor([[last]]), state)
                log_probs = prediction.log_probs[0, 0].double()
                others = [float(value) for i, value in enumerate(log_probs) if i != token]
                assert log_prob == pytest.approx(float(log_probs[token]), abs=1e-4)
                assert margin == pytest.approx(log_prob - max(others), abs=1e-4)
                assert entropy == pytest.approx(float(-(log_probs * log_probs.exp()).sum()), abs=1e-4)
                last = token
        assert (other.margins, other.entropies) == ([], [])
        assert other.token_log_probs == one.token_log_probs


# --- the translator --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_best": 3},
        {"search": SearchName.sample, "n_best": 2},
        {"search": SearchName.mbr, "samples": 4},
        {"prefixes": ["the f"] * len(LINES)},
        {"alignments": True},
    ],
    ids=str,
)
def test_every_word_has_a_probability_and_the_outputs_stay(translator: Translator, options: dict[str, Any]) -> None:
    plain = translator.translate_n_best(LINES, **options)
    with_confidence = translator.translate_n_best(LINES, confidence=True, **options)
    assert with_confidence == plain
    for before, after in zip(plain, with_confidence, strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.confidence is None
            assert other.confidence is not None
            assert (one.alignment, one.attention) == (other.alignment, other.attention)
            assert len(other.confidence.words) == len(words_of(other.text))
            assert all(0 < value < 1 for value in other.confidence.words)
            assert 0 < other.confidence.sentence < 1 or not other.text
    assert with_confidence[1][0].confidence == Confidence(1.0, [])  # a blank line


def test_confidence_does_not_depend_on_the_batch(translator: Translator) -> None:
    together = confidences(translator, LINES, n_best=2)
    for options in ({}, {"batch_tokens": 30}):
        alone = [confidences(translator, [line], n_best=2, **options)[0] for line in LINES]
        for row, other in zip(together, alone, strict=True):
            for one, same in zip(row, other, strict=True):
                assert one.sentence == pytest.approx(same.sentence, abs=1e-6)
                assert one.words == pytest.approx(same.words, abs=1e-6)


def test_the_memory_of_confidence_does_not_grow_with_the_batches_of_the_search(translator: Translator) -> None:
    line = "the quick brown fox jumps over a lazy dog"
    (output,) = translator.annotate([line], [translator.translate_n_best([line])[0][0]], confidence=True)
    sizes = []

    def force_decode(sources: Sequence[Sequence[int]], *rest: Any, **options: Any) -> list[ForcedDecoding]:
        sizes.append(len(sources) * max(map(len, sources)))
        return translator.force_decode(sources[:1], [rest[0][0]], **options) * len(sources)

    parts = [(part, [output]) for part in translator._existing._whole_lines([line], []).values()] * 500
    with translator.inference_mode():
        rows = annotate(force_decode, translator.tokenizer, parts, Annotations(calibration=CALIBRATION), 1_000_000)
    assert rows[0] == rows[-1]
    assert len(rows) == 500
    assert max(sizes) <= MAX_BATCH_TOKENS


def test_a_split_line_has_the_words_of_its_parts_and_their_mean(model: Model) -> None:
    lines = ["the quick brown fox.", "jumps over a lazy dog."]
    translator = translator_of(model, max_part_tokens=30)
    (one,), (other,) = confidences(translator, lines)
    ((joined,),) = confidences(translator, [" ".join(lines)])
    assert joined == join_confidences([one, other])
    assert joined.words == one.words + other.words
    assert min(one.sentence, other.sentence) <= joined.sentence <= max(one.sentence, other.sentence)
    assert join_confidences([Confidence(0.2, [0.5] * 3), Confidence(0.8, [0.5])]).sentence == pytest.approx(0.35)


def test_a_network_without_attention_has_confidence(model: Model) -> None:
    blind = make_network(model.tokenizer.src_size, attention=AttentionName.none)
    translator = Translator(blind, model.tokenizer, calibration=CALIBRATION)
    assert len(confidences(translator, LINES)) == len(LINES)
    (observation,) = observe(translator, ["a fox"], ["the fox"])
    assert observation.features.sentence.attention_entropy == 0


@pytest.mark.parametrize(
    ("calibration", "fragment"),
    [
        (None, "not calibrated: run python -m seq2seq.calibrate MODEL"),
        (
            dataclasses.replace(CALIBRATION, word=LogisticRegression(0.0, {"luck": Weight(1.0, 0.0, 1.0)})),
            r"another version \(luck\): run python -m seq2seq.calibrate",
        ),
    ],
)
def test_a_model_without_a_usable_calibration_is_an_error(
    model: Model, calibration: Calibration | None, fragment: str
) -> None:
    translator = translator_of(dataclasses.replace(model, calibration=calibration))
    for call in (translator.check_options, lambda **options: translator.translate(["a fox"], **options)):
        with pytest.raises(ConfigError, match=fragment):
            call(confidence=True)


# --- fitting ---------------------------------------------------------------------------------------------------------


def observations(count: int) -> list[Observation]:
    """Sentences whose first feature decides how good they are, with one word each whose margin does."""
    numbers = random.Random(2)
    found = []
    for _ in range(count):
        sentence, word = numbers.gauss(0, 1), numbers.gauss(0, 1)
        features = output_features_of(sentence, word)
        good, right = (numbers.random() < 1 / (1 + math.exp(-2 * value)) for value in (sentence, word))
        found.append(Observation(features, 80.0 if good else 10.0, [right]))
    return found


def output_features_of(sentence: float, word: float) -> Any:
    from seq2seq.inference.output_features import Features

    zeros = dict.fromkeys(SentenceFeatures._fields, 0.0), dict.fromkeys(WordFeatures._fields, 0.0)
    return Features(
        SentenceFeatures(**{**zeros[0], "mean_log_prob": sentence}),
        [WordFeatures(**{**zeros[1], "lowest_margin": word})],
    )


def test_a_fitted_calibration_is_reliable_on_other_outputs() -> None:
    rows = observations(4000)
    calibration = fit(rows[:2000])
    assert calibration.pairs == 2000
    found = assess([Rated(r.features.confidence(calibration), r.chrf, r.right) for r in rows[2000:]], 40.0)
    for part, estimate in ((found.sentences, calibration.sentence_error), (found.words, calibration.word_error)):
        assert part.count == 2000
        assert part.expected_calibration_error < 0.05
        assert estimate is not None
        assert estimate < 0.05
    assert found.worst_tenth_chrf < 20 < found.mean_chrf
    assert json.loads(json.dumps(found.to_dict()))["sentences"]["count"] == 2000
    few = fit(rows[: FEW_PAIRS - 1])
    assert (few.sentence_error, few.word_error) == (None, None)
    for function in (fit, lambda rows: assess(rows, 40.0)):
        with pytest.raises(DataError, match="there are no sentences"):
            function([])


def test_lines_in_capitals_are_observed_and_have_confidence(translator: Translator) -> None:
    lines = ["THE QUICK BROWN FOX JUMPS OVER A LAZY DOG", "HOW VEXINGLY QUICK"]
    assert len(observe(translator, lines, lines)) == 2
    for row in translator.translate_n_best(lines, confidence=True):
        assert row[0].confidence is not None
        assert len(row[0].confidence.words) == len(words_of(row[0].text))


def test_observed_outputs_get_the_confidence_of_the_translator(translator: Translator) -> None:
    seen, rated = observe(translator, LINES, LINES), rate(translator, LINES, LINES)
    assert len(seen) == 6  # without the blank lines
    assert len(rated) == len(LINES)
    for one, other in zip(seen, [row for row, line in zip(rated, LINES, strict=True) if line.strip()], strict=True):
        assert (one.chrf, one.right) == (other.chrf, other.right)
        assert one.features.confidence(CALIBRATION).sentence == pytest.approx(other.confidence.sentence, abs=1e-6)


# --- the model file --------------------------------------------------------------------------------------------------


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as content:
        return dict(content.metadata())


def test_the_calibration_is_a_part_of_the_model_file(model: Model, tmp_path: Path) -> None:
    file = tmp_path / BEST_NAME
    save_model(file, model)
    assert load_model(file, CPU).calibration == CALIBRATION
    assert Translator.load(file, device="cpu").calibration == CALIBRATION
    assert average_models([file, file]).calibration is None


def test_writing_a_calibration_changes_nothing_else(model: Model, tmp_path: Path) -> None:
    old = MODEL_FILES / "version_1.safetensors"
    assert load_model(old, CPU).calibration is None
    file = tmp_path / "new.safetensors"
    write_calibration(old, CALIBRATION, file)
    assert load_model(file, CPU).calibration == CALIBRATION
    metadata = metadata_of(file)
    assert metadata.pop("calibration")
    assert metadata == metadata_of(old)
    before, after = load_file(old), load_file(file)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    other = dataclasses.replace(CALIBRATION, pairs=8)
    write_calibration(file, other, file)
    assert load_model(file, CPU).calibration == other


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: None,
        lambda plain: [],
        lambda plain: {**plain, "pairs": "many"},
        lambda plain: {**plain, "luck": 1},
        lambda plain: {**plain, "word": {"bias": 0}},
        lambda plain: {**plain, "word": {"bias": None, "weights": {}}},
        lambda plain: {**plain, "word": {"bias": 0, "weights": {"coverage": [1, 0]}}},
        lambda plain: {**plain, "word": {"bias": 0, "weights": {"coverage": [1, 0, "x"]}}},
        lambda plain: {**plain, "word": {"bias": math.nan, "weights": {}}},
        lambda plain: {**plain, "pairs": 10**400},
        lambda plain: {**plain, "word": {"bias": -(10**400), "weights": {}}},
        lambda plain: {**plain, "word": {"bias": 0, "weights": {"coverage": [1e308, 0, 1e308]}}},
    ],
)
def test_a_damaged_calibration_is_an_error(model: Model, tmp_path: Path, damage: Callable[[Any], Any]) -> None:
    file = tmp_path / BEST_NAME
    save_model(file, model)
    metadata = {**metadata_of(file), "calibration": json.dumps(damage(CALIBRATION.to_dict()))}
    save_file(load_file(file), file, metadata)
    with pytest.raises(ModelFileError, match="is damaged: not a calibration"):
        load_model(file, CPU)


def test_equality_of_translations_ignores_confidence() -> None:
    assert Translation("a", 0.0, 0.0, confidence=Confidence(0.5, [0.5])) == Translation("a", 0.0, 0.0)

"""Minimum-risk training: the objective from the papers' equations, its candidates, and runs that use it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu import BLEU, CHRF
from torch import Tensor

from seq2seq.config.decode import DecodeConfig, UtilityName
from seq2seq.config.model import CellName, DropoutConfig, ModelConfig, TargetOrderName
from seq2seq.config.training import CandidatesName, MinimumRiskConfig, TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import NotFiniteError
from seq2seq.evaluation.candidates import CandidateFinder
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import evaluating
from seq2seq.training import minimum_risk
from seq2seq.training.gradient_accumulation import BatchLoss
from seq2seq.training.minimum_risk import (
    Candidate,
    find_candidates,
    max_candidate_tokens,
    minimum_risk_loss,
    references,
    token_log_probs,
)
from seq2seq.training.trainer import Trainer
from tiny_model import SENTENCES, make_model
from tiny_trainer import VOCAB, events, random_data, same_weights, tiny_trainer, trained, weights_of

BATCH = make_batch([[4, 5, 6], [7], [8, 9]], [[4, 5], [6, 7, 8], [5]])
FOUND = [
    [Candidate([6], 0.9), Candidate([4, 5], 0.0), Candidate([4, 4, 5], 0.3)],  # the second one is the reference
    [Candidate([], 1.0), Candidate([6, 7], 0.25)],
    [Candidate([5], 0.0)],  # nothing but the reference
]


def make_network(dropout: float = 0.0, **parts: Any) -> Seq2Seq:
    torch.manual_seed(1)
    sizes = {"emb_size": 6, "hidden_size": 8, "attention_size": 4, "decoder_layers": 2}
    places = DropoutConfig(*(dropout,) * 4)
    network = Seq2Seq(ModelConfig(**{**sizes, **parts}, dropout=places), VOCAB, VOCAB).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5)
    return network.train()


def config_of(weight: float = 1.0, **settings: Any) -> TrainingConfig:
    return TrainingConfig(minimum_risk=MinimumRiskConfig(weight=weight, **settings))


def log_prob(network: Seq2Seq, row: int, tokens: Sequence[int]) -> Tensor:
    """log p(tokens, EOS | source) of one sentence alone, token by token."""
    source = BATCH.src_ids[row, : BATCH.src_lengths[row] - 1].tolist()
    logits, targets, _ = network(make_batch([source], [tokens]))
    return logits.log_softmax(1)[range(len(targets)), targets].sum()


def by_the_equations(network: Seq2Seq, sharpness: float, with_reference: bool) -> tuple[Tensor, Tensor]:
    """The risk and the closed form of its loss: both summed over sentences, each times its target tokens.

    The gradient of the second is sum_u Q(u) (cost(u) - R) grad log p(u) alpha / |u|.
    """
    risk = surrogate = torch.zeros((), dtype=torch.float64)
    for row, (found, reference) in enumerate(zip(FOUND, references(BATCH), strict=True)):
        candidates = {tuple(one.tokens): one.cost for one in found}
        if with_reference:
            candidates[tuple(reference)] = 0.0
        scores = [sharpness * log_prob(network, row, list(u)) / (len(u) + 1) for u in candidates]
        weights = [math.exp(score.item()) for score in scores]
        q = [weight / math.fsum(weights) for weight in weights]
        own = math.fsum(share * cost for share, cost in zip(q, candidates.values(), strict=True))
        length = len(reference) + 1
        risk = risk + length * own
        for share, cost, score in zip(q, candidates.values(), scores, strict=True):
            surrogate = surrogate + length * share * (cost - own) * score
    return risk, surrogate


# --- objective -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [CellName.lstm, CellName.gru])
@pytest.mark.parametrize("with_reference", [True, False])
@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_risk_and_gradient_are_those_of_the_equations(cell: CellName, with_reference: bool, sharpness: float) -> None:
    network = make_network(cell=cell)
    config = config_of(sharpness=sharpness, reference=with_reference)
    loss, nll, risk, score = minimum_risk_loss(network, BATCH, FOUND, config)
    expected, surrogate = by_the_equations(network, sharpness, with_reference)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert risk.item() == pytest.approx(expected.item(), rel=1e-6)  # logged in single precision or better
    assert score.item() == pytest.approx(3 * (0.1 + 1 + 0.7) / 3 + 4 * (0 + 0.75) / 2 + 2 * 1, rel=1e-6)
    likelihood = sum(log_prob(network, row, tokens).item() for row, tokens in enumerate(references(BATCH)))
    assert nll.item() == pytest.approx(-likelihood, rel=1e-12)
    weights = list(network.parameters())
    gradients = [torch.autograd.grad(value, weights, allow_unused=True) for value in (loss, surrogate)]
    for actual, closed_form in zip(*gradients, strict=True):
        assert actual is not None
        torch.testing.assert_close(actual, torch.zeros_like(actual) if closed_form is None else closed_form)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_gradient_equals_finite_differences(weight: float) -> None:
    """In a random direction of all weights at once."""
    network, config, step = make_network(), config_of(weight, sharpness=2.0), 1e-5
    weights = list(network.parameters())
    gradients = torch.autograd.grad(minimum_risk_loss(network, BATCH, FOUND, config)[0], weights)
    direction = [torch.randn_like(value) for value in weights]
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for value, change in zip(weights, direction, strict=True):
                value += sign * step * change
            values.append(minimum_risk_loss(network, BATCH, FOUND, config)[0].item())
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_with_all_outputs_as_candidates_the_risk_is_the_expected_cost_under_the_model() -> None:
    """Of all outputs of two tokens out of four; with alpha = |u| their weights are their probabilities."""
    network, words = make_network(), range(4, 8)
    outputs = [list(pair) for pair in itertools.product(words, words)]
    cost = {tuple(output): ((output[0] * 7 + output[1] * 3) % 10) / 10 for output in outputs}
    found = [[Candidate(output, cost[tuple(output)]) for output in outputs]] * 3
    _, _, risk, _ = minimum_risk_loss(network, BATCH, found, config_of(sharpness=3.0, reference=False))
    expected = 0.0
    for row, length in enumerate([3, 4, 2]):
        p = {output: math.exp(log_prob(network, row, output).item()) for output in cost}
        expected += length * sum(p[output] * cost[output] for output in cost) / sum(p.values())
    assert risk.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_log_probs_in_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(minimum_risk, "CHUNK_TOKENS", chunk)
    torch.manual_seed(0)
    output, readouts = torch.nn.Linear(4, 6).double(), torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    targets, shares = torch.tensor([0, 5, 2, 2, 1, 3, 4]), torch.randn(7, dtype=torch.float64)
    inputs = (readouts, output.weight, output.bias)
    actual = token_log_probs(output, readouts, targets)
    expected = output(readouts).log_softmax(1)[range(7), targets]
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad((shares * values).sum(), inputs) for values in (actual, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("with_reference", [True, False])
def test_without_weight_on_the_risk_the_loss_is_the_cross_entropy(with_reference: bool) -> None:
    network = make_network()
    expected = BatchLoss(network, TrainingConfig(), torch.float32)(BATCH)
    loss, nll, *_ = minimum_risk_loss(network, BATCH, FOUND, config_of(0.0, reference=with_reference))
    torch.testing.assert_close((loss, nll), expected, rtol=1e-12, atol=0)
    half, *_ = minimum_risk_loss(network, BATCH, FOUND, config_of(0.5, reference=with_reference))
    risk, *_ = minimum_risk_loss(network, BATCH, FOUND, config_of(1.0, reference=with_reference))
    assert half.item() == pytest.approx((loss + risk).item() / 2, rel=1e-12)


def test_under_autocast_the_gradient_equals_fp32_up_to_the_rounding_of_products() -> None:
    """The search leaves no weight without gradient in autocast's cache."""
    network = make_network().float()
    config, gradients = config_of(0.5), []
    for dtype in (torch.float32, torch.bfloat16):

        def find(batch: Batch) -> list[list[Candidate]]:
            network.encode(batch.src_ids, batch.src_lengths)
            return FOUND

        network.zero_grad(set_to_none=True)
        BatchLoss(network, config, dtype, find)(BATCH)[0].backward()
        gradients.append([weight.grad for weight in network.parameters() if weight.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == len(list(network.parameters()))
    for exact, actual in zip(*gradients, strict=True):
        assert (actual - exact).norm() < 0.1 * exact.norm() + 1e-3


# --- candidates ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Of single characters."""
    return make_model(tmp_path_factory.mktemp("cache")).tokenizer


def finder(
    network: Seq2Seq, tokenizer: Tokenizer, decode: DecodeConfig | None = None, **settings: Any
) -> CandidateFinder:
    return CandidateFinder(network, tokenizer, MinimumRiskConfig(**settings), decode or DecodeConfig(), "char")


@pytest.mark.parametrize("metric", UtilityName)
@pytest.mark.parametrize("candidates", CandidatesName)
@pytest.mark.parametrize("order", TargetOrderName)
def test_candidates_are_distinct_short_and_scored_as_text(
    tokenizer: Tokenizer, candidates: CandidatesName, metric: UtilityName, order: TargetOrderName
) -> None:
    network = make_network(target_order=order).float()
    find = finder(network, tokenizer, candidates=candidates, metric=metric, samples=6)
    found = find_candidates(network, find, BATCH)
    assert network.training
    sacrebleu = BLEU(effective_order=True, tokenize="char") if metric is UtilityName.bleu else CHRF()
    for some, reference in zip(found, references(BATCH), strict=True):
        assert 1 < len(some) <= 6
        assert len({tuple(one.tokens) for one in some}) == len(some)
        assert max(len(one.tokens) + 1 for one in some) <= max_candidate_tokens(len(reference) + 1)
        for one in some:
            written = slice(None, None, -1 if order is TargetOrderName.right_to_left else 1)
            text, correct = tokenizer.decode([one.tokens[written], reference[written]])
            score = 100.0 if text == correct else sacrebleu.sentence_score(text, [correct]).score
            assert one.cost == pytest.approx(1 - score / 100)


def test_a_candidate_equal_to_the_reference_costs_nothing(tokenizer: Tokenizer) -> None:
    """A blank one, too, although it has no n-grams."""
    network = make_network().float()
    with torch.no_grad():
        network.output.bias[3] = 100.0
    (found,) = find_candidates(network, finder(network, tokenizer), make_batch([[4, 5]], [[]]))
    assert found == [Candidate([], 0.0)]


def test_samples_are_drawn_from_torchs_generator(tokenizer: Tokenizer) -> None:
    network = make_network(dropout=0.5).float()
    find, drawn = finder(network, tokenizer), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(find_candidates(network, find, BATCH))
    assert drawn[0] == drawn[1] != drawn[2]


def test_beam_candidates_use_the_length_penalty_of_decode(tokenizer: Tokenizer) -> None:
    network, lengths = make_network().float(), []
    for penalty in (0.0, 3.0):
        decode = dataclasses.replace(DecodeConfig(), length_penalty=penalty)
        found = find_candidates(network, finder(network, tokenizer, decode, candidates=CandidatesName.beam), BATCH)
        lengths.append(sum(len(one.tokens) for some in found for one in some))
    assert lengths[0] < lengths[1]


def test_an_update_whose_search_is_not_finite_has_no_finite_loss_and_is_skipped(tokenizer: Tokenizer) -> None:
    network, config = make_network().float(), config_of(0.5)
    with torch.no_grad():
        network.output.weight.fill_(math.nan)
    find = finder(network, tokenizer)
    with pytest.raises(NotFiniteError, match="NaN"), evaluating(network), torch.no_grad():
        find(BATCH)
    loss, *_ = minimum_risk_loss(network, BATCH, find_candidates(network, find, BATCH), config)
    assert math.isnan(loss.item())


# --- training --------------------------------------------------------------------------------------------------------


def best_score(network: Seq2Seq, tokenizer: Tokenizer, batch: Batch) -> float:
    """The mean chrF of the best outputs of a beam of two."""
    find = finder(network, tokenizer, candidates=CandidatesName.beam, metric=UtilityName.chrf, samples=2)
    with evaluating(network), torch.no_grad():
        found = find(batch)
    return sum(1 - some[0].cost for some in found) / len(found)


@pytest.mark.slow
@pytest.mark.parametrize("candidates", CandidatesName)
def test_it_raises_the_score_of_the_model_without_cross_entropy(
    tokenizer: Tokenizer, candidates: CandidatesName
) -> None:
    """The references are not among the candidates: the model has nothing but the scores."""
    ids = tokenizer.encode_tgt(["pack", "box", "five"])
    batch = make_batch(tokenizer.encode_src(SENTENCES), ids)
    torch.manual_seed(1)
    sizes = {"emb_size": 16, "hidden_size": 16, "attention_size": 8}
    network = Seq2Seq(ModelConfig(**sizes), tokenizer.src_size, tokenizer.tgt_size).train()
    settings = {"candidates": candidates, "metric": UtilityName.chrf, "samples": 16, "reference": False}
    loss = BatchLoss(network, config_of(**settings), torch.float32, finder(network, tokenizer, **settings))
    before = best_score(network, tokenizer, batch)
    optimizer, risks = torch.optim.Adam(network.parameters(), lr=0.02), []
    for _ in range(60):
        optimizer.zero_grad()
        total, _, risk, _ = loss(batch)
        (total / batch.tgt_tokens).backward()
        optimizer.step()
        risks.append(risk.item() / batch.tgt_tokens)
    assert sum(risks[-5:]) / 5 < sum(risks[:5]) / 5 - 0.1
    assert best_score(network, tokenizer, batch) > before + 0.1


def run(folder: Path, make_search: Callable[[Seq2Seq], CandidateFinder], stop_at: int | None = None) -> Trainer:
    """Run to the end; with `stop_at`, stop after that step and resume with a new trainer."""
    settings = {"max_epochs": 1, "micro_batches": 2, "log_every_steps": 3}
    settings |= {"minimum_risk": MinimumRiskConfig(weight=0.5, samples=4), "make_search": make_search}
    return trained(folder, stop_at, **settings)


def test_a_resumed_run_draws_the_same_candidates_as_the_uninterrupted_one(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The figures of a line whose updates lie before and after the interruption are the same as well."""

    def make_search(network: Seq2Seq) -> CandidateFinder:
        return finder(network, tokenizer, samples=4)

    whole, parts = run(tmp_path / "whole", make_search), run(tmp_path / "parts", make_search, stop_at=2)
    assert same_weights(weights_of(whole), weights_of(parts))
    names = ("loss", "expected_risk", "candidate_score")
    figures = [
        [[event[name] for name in names] for event in events(tmp_path / part, "step")] for part in ("whole", "parts")
    ]
    assert figures[0] == figures[1]
    for _, risk, score in figures[0]:
        assert 0 < risk < 1
        assert 0 < score < 100


def test_the_figures_of_micro_batches_are_means_over_all_tokens(tmp_path: Path) -> None:
    """Without dropout, and with candidates that do not depend on the part, they and the weights are the same."""
    costs = {(4,): 0.2, (5, 6): 0.7}

    def find(batch: Batch) -> list[list[Candidate]]:
        return [[Candidate(list(tokens), cost) for tokens, cost in costs.items()] for _ in references(batch)]

    trainers, figures = [], []
    for parts in (1, 3):
        folder, risk = tmp_path / str(parts), MinimumRiskConfig(weight=0.5, reference=False)
        settings = {"max_steps": 2, "micro_batches": parts, "minimum_risk": risk, "dropout": 0.0}
        with tiny_trainer(folder, random_data(2), make_search=lambda network: find, **settings) as trainer:
            trainer.fit()
        trainers.append(trainer)
        names = ("expected_risk", "candidate_score", "loss", "grad_norm")
        figures += [[event[name] for name in names] for event in events(folder, "step")]
    assert figures[:2] == [pytest.approx(line, abs=2e-4) for line in figures[2:]]
    assert {line[1] for line in figures} == {55.0}
    torch.testing.assert_close(*map(weights_of, trainers), rtol=1e-3, atol=1e-5)


def test_a_run_without_it_logs_no_risk(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(2), max_steps=1) as trainer:
        trainer.fit()
    (event,) = events(tmp_path, "step")
    assert not event.keys() & {"expected_risk", "candidate_score"}

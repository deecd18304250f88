"""Each processor against its definition on lists, for one hypothesis at a time; and all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scaling import scaled
from seq2seq.data.special_ids import EOS_ID
from seq2seq.search.logits_processors import (
    BannedSequences,
    ForcedPrefix,
    MinLength,
    NoRepeatNgrams,
    RepetitionPenalty,
    apply_processors,
)
from seq2seq.search.protocols import LogitsProcessor

EXAMPLES = settings(max_examples=scaled(50, 500), deadline=None, derandomize=True)
VOCAB = 7  # three words: few enough that they are often repeated
A, B, C = range(EOS_ID + 1, VOCAB)

# (log p of every next token, tokens so far, sentence) -> log p after the processor
Definition = Callable[[list[float], list[int], int], list[float]]


def forbidding(is_forbidden: Callable[[int, list[int], int], bool]) -> Definition:
    def definition(log_probs: list[float], generated: list[int], sentence: int) -> list[float]:
        return [-math.inf if is_forbidden(token, generated, sentence) else p for token, p in enumerate(log_probs)]

    return definition


def min_length(lengths: list[int]) -> tuple[LogitsProcessor, Definition]:
    def too_short(token: int, generated: list[int], sentence: int) -> bool:
        return token == EOS_ID and len([*generated, token]) < lengths[sentence]

    return MinLength(torch.tensor(lengths)), forbidding(too_short)


def no_repeat(n: int) -> tuple[LogitsProcessor, Definition]:
    def repeats(token: int, generated: list[int], sentence: int) -> bool:
        text = [*generated, token]
        ngrams = [text[i : i + n] for i in range(len(text) - n + 1)]
        return token != EOS_ID and text[-n:] in ngrams[:-1]

    return NoRepeatNgrams(n), forbidding(repeats)


def repetition(factor: float) -> tuple[LogitsProcessor, Definition]:
    def definition(log_probs: list[float], generated: list[int], sentence: int) -> list[float]:
        return [p * factor if token in generated else p for token, p in enumerate(log_probs)]

    return RepetitionPenalty(factor), definition


def banned_sequences(sequences: list[list[int]]) -> tuple[LogitsProcessor, Definition]:
    def completes(token: int, generated: list[int], sentence: int) -> bool:
        text = [*generated, token]
        return any(text[max(0, len(text) - len(sequence)) :] == sequence for sequence in sequences)

    return BannedSequences(sequences), forbidding(completes)


def forced_prefix(prefixes: list[list[int]]) -> tuple[LogitsProcessor, Definition]:
    def differs(token: int, generated: list[int], sentence: int) -> bool:
        return prefixes[sentence][len(generated) : len(generated) + 1] not in ([], [token])

    return ForcedPrefix(prefixes), forbidding(differs)


SENTENCES = 4
ids = st.integers(0, VOCAB - 1)
PROCESSORS: dict[str, tuple[Callable[..., tuple[LogitsProcessor, Definition]], st.SearchStrategy[object]]] = {
    "min_length": (min_length, st.lists(st.integers(0, 8), min_size=SENTENCES, max_size=SENTENCES)),
    "no_repeat": (no_repeat, st.integers(1, 4)),
    "repetition": (repetition, st.floats(1, 5)),
    "banned_sequences": (banned_sequences, st.lists(st.lists(ids, min_size=1, max_size=3), max_size=5)),
    "forced_prefix": (forced_prefix, st.lists(st.lists(ids, max_size=8), min_size=SENTENCES, max_size=SENTENCES)),
}
seeds = st.integers(0, 2**31)
beams = st.integers(1, 3)
lengths = st.integers(0, 9)


def draw_processor(data: st.DataObject, name: str) -> tuple[LogitsProcessor, Definition]:
    make, arguments = PROCESSORS[name]
    return make(data.draw(arguments))  # not inside the strategy: beartype rolls dice, which Hypothesis forbids there


def situation(seed: int, beam: int, generated: int, impossible: float = 0.2) -> tuple[Tensor, Tensor]:
    """Random log-probabilities, some of them -inf, and random tokens so far, EOS among them."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(SENTENCES, beam, VOCAB, generator=generator, dtype=torch.float64).log_softmax(2)
    log_probs[torch.rand(log_probs.shape, generator=generator) < impossible] = -torch.inf
    return log_probs, torch.randint(0, VOCAB, (SENTENCES, beam, generated), generator=generator)


def for_each(change: Definition, log_probs: Tensor, tokens: Tensor) -> list[list[list[float]]]:
    return [
        [change(*hypothesis, sentence) for hypothesis in zip(*beams, strict=True)]
        for sentence, beams in enumerate(zip(log_probs.tolist(), tokens.tolist(), strict=True))
    ]


@pytest.mark.parametrize("name", PROCESSORS)
@EXAMPLES
@given(data=st.data(), seed=seeds, beam=beams, generated=lengths)
def test_a_processor_equals_its_definition(
    name: str, data: st.DataObject, seed: int, beam: int, generated: int
) -> None:
    processor, definition = draw_processor(data, name)
    log_probs, tokens = situation(seed, beam, generated)
    expected = for_each(definition, log_probs, tokens)
    before = tokens.clone()
    processor.apply(log_probs, tokens)
    assert log_probs.tolist() == expected
    assert torch.equal(tokens, before)


@pytest.mark.parametrize("name", PROCESSORS)
@EXAMPLES
@given(
    data=st.data(),
    seed=seeds,
    generated=lengths,
    kept=st.lists(st.lists(st.integers(0, SENTENCES - 1), unique=True, max_size=SENTENCES), min_size=1, max_size=2),
)
def test_keep_leaves_the_kept_sentences_unchanged(
    name: str, data: st.DataObject, seed: int, generated: int, kept: list[list[int]]
) -> None:
    processor, _ = draw_processor(data, name)
    log_probs, tokens = situation(seed, 2, generated)
    processor.apply(expected := log_probs.clone(), tokens)
    for sentences in kept:
        index = torch.tensor([i for i in sentences if i < len(tokens)], dtype=torch.long)
        processor, log_probs, tokens, expected = processor.keep(index), log_probs[index], tokens[index], expected[index]
    processor.apply(log_probs, tokens)
    assert torch.equal(log_probs, expected)


@EXAMPLES
@given(
    data=st.data(),
    names=st.lists(st.sampled_from(list(PROCESSORS)), max_size=5),
    seed=seeds,
    beam=beams,
    generated=lengths,
    impossible=st.sampled_from([0.2, 0.8]),
)
def test_all_processors_together(
    data: st.DataObject, names: Sequence[str], seed: int, beam: int, generated: int, impossible: float
) -> None:
    processors = [draw_processor(data, name) for name in names]

    def all_of_them(log_probs: list[float], generated: list[int], sentence: int) -> list[float]:
        changed = log_probs
        for name, (_, definition) in zip(names, processors, strict=True):
            if name != "forced_prefix":
                changed = definition(changed, generated, sentence)
        for name, (processor, definition) in zip(names, processors, strict=True):
            if name == "forced_prefix" and len(generated) < len(processor.prefixes[sentence]):
                changed = definition(log_probs, generated, sentence)
        if max(changed) == -math.inf:
            changed = [log_probs[EOS_ID] if token == EOS_ID else p for token, p in enumerate(changed)]
        return changed

    log_probs, tokens = situation(seed, beam, generated, impossible)
    before = log_probs.clone()
    expected = for_each(all_of_them, log_probs, tokens)
    changed = apply_processors([processor for processor, _ in processors], log_probs, tokens)
    assert changed.tolist() == expected
    assert torch.equal(log_probs, before)


def allowed_after(
    processors: Sequence[LogitsProcessor], generated: list[int], log_probs: dict[int, float]
) -> dict[int, float]:
    """The next tokens of one hypothesis and their log p, after the processors."""
    row = torch.full((1, 1, VOCAB), -torch.inf)
    for token, p in log_probs.items():
        row[0, 0, token] = p
    changed = apply_processors(processors, row, torch.tensor(generated, dtype=torch.long).view(1, 1, -1))[0, 0].tolist()
    return {token: p for token, p in enumerate(changed) if p > -math.inf}


ALL = {A: -1.0, B: -2.0, C: -3.0, EOS_ID: -4.0}


def test_the_last_token_of_a_repeated_trigram_is_masked() -> None:
    assert allowed_after([NoRepeatNgrams(3)], [A, B, C, A, B], ALL) == {A: -1.0, B: -2.0, EOS_ID: -4.0}
    assert allowed_after([NoRepeatNgrams(3)], [A, A], ALL) == ALL  # two tokens are no trigram
    assert allowed_after([NoRepeatNgrams(2)], [A, A], ALL) == {B: -2.0, C: -3.0, EOS_ID: -4.0}
    assert allowed_after([NoRepeatNgrams(1)], [A, C], ALL) == {B: -2.0, EOS_ID: -4.0}


def test_the_last_token_of_a_banned_sequence_is_masked() -> None:
    processor = BannedSequences([[A], [B, C], [C, B, B]])
    assert allowed_after([processor], [], ALL) == {B: -2.0, C: -3.0, EOS_ID: -4.0}
    assert allowed_after([processor], [B], ALL) == {B: -2.0, EOS_ID: -4.0}
    assert allowed_after([processor], [C, B], ALL) == {EOS_ID: -4.0}
    assert allowed_after([BannedSequences([[A, EOS_ID]])], [A], ALL) == {A: -1.0, B: -2.0, C: -3.0}


def test_a_token_that_occurs_twice_is_penalised_once() -> None:
    expected = {A: -1.5, B: -2.0, C: -3.0, EOS_ID: -4.0}
    assert allowed_after([RepetitionPenalty(1.5)], [A, A], ALL) == expected


def test_a_forced_token_keeps_its_log_p_whatever_the_rest_of_the_processors_do() -> None:
    processors = [ForcedPrefix([[A, A]]), NoRepeatNgrams(1), RepetitionPenalty(3.0), BannedSequences([[A]])]
    assert allowed_after(processors, [A], ALL) == {A: -1.0}
    assert allowed_after(processors, [A, A], ALL) == {B: -2.0, C: -3.0, EOS_ID: -4.0}


def test_a_hypothesis_to_which_the_rules_leave_nothing_may_end() -> None:
    processors = [MinLength(torch.tensor([9])), NoRepeatNgrams(1)]
    assert allowed_after(processors, [A, B], ALL) == {C: -3.0}
    assert allowed_after(processors, [A, B, C], ALL) == {EOS_ID: -4.0}
    assert allowed_after(processors, [A, B, C], {}) == {}
    assert allowed_after(processors, [A, B, C], {A: -1.0}) == {}  # the model gives EOS no probability


def test_without_rules_nothing_is_copied() -> None:
    log_probs, tokens = situation(1, 2, 3)
    assert apply_processors([], log_probs, tokens) is log_probs


@pytest.mark.parametrize(
    "make", [lambda: NoRepeatNgrams(0), lambda: RepetitionPenalty(0.9), lambda: BannedSequences([[A], []])]
)
def test_rules_that_make_no_sense_are_refused(make: Callable[[], LogitsProcessor]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|empty"):
        make()

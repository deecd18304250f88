"""Which sentences of a test set a report shows, and what it shows of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.config.model import AttentionName
from seq2seq.data.text.robustness import clean_name, ignores_case
from seq2seq.evaluation.comparison import Comparison
from seq2seq.evaluation.correctness import sentence_chrf
from seq2seq.evaluation.significance import SEED, compare
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator

LINKS = 6
"""Source words shown of each target word: those with the highest attention weights."""


@dataclass(frozen=True)
class TestText:
    """A test set.

    Attributes:
        name: of the set.
        sources: a line per sentence.
        references: of the sources.
        tgt_lang: language of the references.
        tokenize: sacreBLEU's tokenizer of BLEU.
    """

    __test__ = False  # not a test of pytest

    name: str
    sources: Sequence[str]
    references: Sequence[str]
    tgt_lang: str
    tokenize: str

    @property
    def is_variant(self) -> bool:
        """True for a set that was made from another one (`data.robustness`)."""
        return clean_name(self.name) is not None


@dataclass(frozen=True)
class Tested:
    """What the systems made of a test set.

    Attributes:
        text: the set.
        outputs: translations of each system by its name; the system that the report is about comes first.
        comparison: the scores of each system, and which of them differ.
    """

    text: TestText
    outputs: Mapping[str, Sequence[Translation]]
    comparison: Comparison

    def lines(self) -> dict[str, list[str]]:
        """Return the translations of each system as lines."""
        return {name: [output.text for output in outputs] for name, outputs in self.outputs.items()}

    def part(self, lines: Sequence[int]) -> Tested:
        """Return some lines of the set; `comparison` stays that of all lines."""
        sources, references = ([side[line] for line in lines] for side in (self.text.sources, self.text.references))
        text = dataclasses.replace(self.text, sources=sources, references=references)
        outputs = {name: [own[line] for line in lines] for name, own in self.outputs.items()}
        return dataclasses.replace(self, text=text, outputs=outputs)

    @functools.cached_property
    def chrf(self) -> dict[str, list[float]]:
        """Return the chrF of each sentence by system."""
        return {name: sentence_chrf(lines, self.text.references) for name, lines in self.lines().items()}


def with_confidence(test: Tested, translator: Translator) -> Tested:
    """Return the test set with the confidence of the first system's translations, if its model is calibrated."""
    if translator.calibration is None:
        return test
    (first, outputs), *others = test.outputs.items()
    annotated = translator.annotate(test.text.sources, outputs, confidence=True, tgt_lang=test.text.tgt_lang)
    return dataclasses.replace(test, outputs={first: annotated, **dict(others)})


def compared(text: TestText, outputs: Mapping[str, Sequence[Translation]]) -> Tested:
    """Compare the systems with the first one.

    Raises:
        DataError: there are no sentences.
    """
    lines = {system: [output.text for output in own] for system, own in outputs.items()}
    ignore_case = ignores_case(text.name)
    # SACREBLEU_SEED is not read: the same run gives the same page.
    comparison = compare(text.references, lines, tokenize=text.tokenize, ignore_case=ignore_case, seed=SEED)
    return Tested(text, outputs, comparison)


def shown(
    test: Tested, chrf: Mapping[str, Sequence[float]], translator: Translator, sentences: int
) -> dict[str, list[dict[str, Any]]]:
    """Return sentences from the whole set, and those whose translations have the lowest chrF.

    Args:
        test: the set.
        chrf: of each sentence, by system.
        translator: of the first system, for the attention.
        sentences: number of both together.
    """
    text = test.text
    others, worst = choose(next(iter(chrf.values())), sentences)
    first, outputs = next(iter(test.outputs.items()))
    lines = others + worst
    chosen = [outputs[line] for line in lines]
    if all(network.config.attention is not AttentionName.none for network in translator.ensemble.networks):
        chosen = translator.annotate(
            [text.sources[line] for line in lines], chosen, alignments=True, tgt_lang=text.tgt_lang
        )
    rows = []
    for line, output in zip(lines, chosen, strict=True):
        texts = {system: own[line].text for system, own in test.outputs.items()} | {first: output.text}
        rows.append(
            {
                "line": line + 1,
                "src": text.sources[line],
                "ref": text.references[line],
                "outputs": texts,
                "scores": {system: round(scores[line], 1) for system, scores in chrf.items()},
                "attention": None if output.attention is None else links(output.attention),
                "confidence": None if output.confidence is None else rounded(output.confidence.words),
                "sentence_confidence": None if output.confidence is None else round(output.confidence.sentence, 3),
            }
        )
    return {"spread": rows[: len(others)], "worst": rows[len(others) :]}


def choose(scores: Sequence[float], sentences: int) -> tuple[list[int], list[int]]:
    """Return places of sentences evenly from the whole set, and of those with the lowest scores, the lowest first.

    Both lists have about half of `sentences`, and no place in common.
    """
    sentences = min(sentences, len(scores))
    worst = sorted(range(len(scores)), key=lambda place: (scores[place], place))[: sentences // 2]
    others = sorted(set(range(len(scores))) - set(worst))
    return [others[place] for place in spread(len(others), sentences - len(worst))], worst


def spread(size: int, wanted: int) -> list[int]:
    """Return at most `wanted` places from 0 to `size` - 1 at equal distances."""
    wanted = min(wanted, size)
    return [number * size // wanted for number in range(wanted)]


def links(attention: Sequence[Sequence[float]]) -> list[list[list[int]]]:
    """Return the source words of each target word with their weights in percent, the highest first."""
    rows = []
    for weights in attention:
        percent = [[place, round(100 * weight)] for place, weight in enumerate(weights)]
        rows.append(sorted((link for link in percent if link[1]), key=lambda link: (-link[1], link[0]))[:LINKS])
    return rows


def rounded(probabilities: Sequence[float]) -> list[float]:
    """Return probabilities with two decimals."""
    return [round(probability, 2) for probability in probabilities]

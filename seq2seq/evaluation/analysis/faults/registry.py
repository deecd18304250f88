"""Every fault by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from seq2seq.evaluation.analysis.faults import copying, extent, invented, markup, repetition
from seq2seq.evaluation.analysis.faults.unrelated import hallucinated
from seq2seq.evaluation.analysis.texts import Lines, Texts


class Fault(NamedTuple):
    """A fault: what it means, and the function that returns what it found by line."""

    meaning: str
    find: Callable[[Texts, Lines], dict[int, str]]


FAULTS = {
    "empty": Fault("no output", extent.empty),
    "copied": Fault("the source, not translated", copying.copied),
    "untranslated": Fault("words of the source are left", copying.untranslated),
    "invented": Fault("words that no training text or reference has", invented.invented),
    "repeated": Fault("words are repeated", repetition.repeated),
    "truncated": Fault("much too short, or cut off", extent.truncated),
    "too long": Fault("much too long", extent.too_long),
    "wrong script": Fault("letters that the references do not use", markup.wrong_script),
    "numbers": Fault("a number is lost or changed", markup.numbers),
    "addresses": Fault("a web or e-mail address is lost or changed", markup.urls),
    "placeholders": Fault("a tag or placeholder is lost or changed", markup.placeholders),
}
HALLUCINATED = "hallucinated"
MEANINGS = {name: fault.meaning for name, fault in FAULTS.items()} | {HALLUCINATED: "unrelated to the source"}


def find_faults(
    texts: Texts, dependence: Mapping[str, Sequence[float]] | None = None
) -> dict[str, dict[str, dict[int, str]]]:
    """Return by fault and system the lines, from 0, with what was found there.

    Args:
        texts: to look at.
        dependence: of each output on its source, by system; see `unrelated`.
    """
    found = {
        name: {system: fault.find(texts, text) for system, text in texts.systems.items()}
        for name, fault in FAULTS.items()
    }
    found[HALLUCINATED] = {
        system: hallucinated(texts, text, texts.scores[system], (dependence or {}).get(system))
        for system, text in texts.systems.items()
    }
    return found

"""Between the order of a text and that in which a decoder writes it from right to left (`model.target_order`).

Liu et al. 2016 train such a decoder on target sentences whose tokens are reversed. Outside the decoder, ids and their
figures are always in the order of the text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from seq2seq.search.batched_search import SearchInput
from seq2seq.search.protocols import Hypothesis

_T = TypeVar("_T")


def mirrored(values: Sequence[_T]) -> list[_T]:
    """Return the values of tokens in reverse order, followed by that of EOS, which is the last of `values`."""
    return [*values[-2::-1], *values[-1:]] if len(values) > 1 else [*values]


def mirrored_input(given: SearchInput) -> SearchInput:
    """Return the input of a search whose decoder writes from right to left; it has no prefix."""
    return dataclasses.replace(given, phrases=[phrase[::-1] for phrase in given.phrases])


def mirrored_hypothesis(found: Hypothesis) -> Hypothesis:
    """Return the hypothesis in the order of the text."""
    return dataclasses.replace(found, tokens=found.tokens[::-1], token_log_probs=mirrored(found.token_log_probs))

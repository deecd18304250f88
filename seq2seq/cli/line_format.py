"""What a line of input asks for and how its answer is written: text in columns between tabs, or JSON Lines.

One line out for each line in (text with n-best lists: one group of lines), whatever the line holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from seq2seq.inference.alignment import pharaoh

if TYPE_CHECKING:
    from seq2seq.data.tokenizer import Tokenizer
    from seq2seq.inference.translation import Translation

DIGITS = 6  # of scores in JSON; float32 has no more to say


@dataclass(frozen=True)
class Request:
    """One line of input.

    Attributes:
        number: of the line, from 1.
        src: what is translated.
        prefix: how the output must begin.
        terms: what the output must contain.
        id: what the sender knows the line by, as JSON; None: nothing.
        error: why there is no answer; None: there is one.
    """

    number: int
    src: str = ""
    prefix: str = ""
    terms: list[str] = field(default_factory=list)
    id: str | None = None
    error: str | None = None


def parse_json(number: int, line: str) -> Request:
    """Read `{"src": …, "prefix": …, "terms": […], "id": …}`; other keys are ignored, mistakes become `error`."""
    try:
        found = json.loads(line, parse_constant=_no_number, parse_float=_finite)
        id = json.dumps(found["id"]) if isinstance(found, dict) and "id" in found else None
    except (ValueError, RecursionError) as error:  # nested too deep, or a number of thousands of digits
        return Request(number, error=f"not JSON: {error}")
    if not isinstance(found, dict):
        return Request(number, error="not a JSON object")
    src, prefix, terms = found.get("src"), found.get("prefix", ""), found.get("terms", [])
    if not isinstance(src, str):
        return Request(number, id=id, error='"src" must be a string' if "src" in found else '"src" is missing')
    if not isinstance(prefix, str):
        return Request(number, id=id, error='"prefix" must be a string')
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        return Request(number, id=id, error='"terms" must be a list of strings')
    return Request(number, src, prefix, terms, id)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    return value


def text_answer(
    request: Request, outputs: Sequence[Translation], n_best: bool, scores: bool = False, alignments: bool = False
) -> str:
    """Return a line for each output: number of the input line, score, alignment, text, each but the last on request."""
    lines = []
    for one in outputs:
        columns = [str(request.number)] if n_best else []
        columns += [f"{one.score:.4f}"] if n_best or scores else []
        columns += [pharaoh(one.alignment or ())] if alignments else []
        lines.append("\t".join([*columns, one.text]) + "\n")
    return "".join(lines)


def json_answer(
    request: Request, outputs: Sequence[Translation], tokenizer: Tokenizer, n_best: bool, alignments: bool = False
) -> str:
    """Return one line with a JSON object: of the best output, with all of them as `n_best` on request, or `error`."""
    if request.error is not None:
        answer: dict[str, Any] = {"error": request.error}
    else:
        objects = [_object(one, tokenizer, alignments) for one in outputs]
        answer = objects[0] | ({"n_best": objects} if n_best else {})
    # ASCII only: a lone surrogate stays JSON, and no reader finds a line break (U+2028, U+0085) inside.
    text = json.dumps(answer, allow_nan=False)
    return (text if request.id is None else f'{{"id": {request.id}, {text[1:]}') + "\n"


def _object(one: Translation, tokenizer: Tokenizer, alignments: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "text": one.text,
        "score": _rounded(one.score),
        "log_prob": _rounded(one.log_prob),
        "pieces": tokenizer.tgt_pieces(one.ids),
        "token_log_probs": [_rounded(value) for value in one.token_log_probs],
    }
    if alignments:
        made["alignment"] = pharaoh(one.alignment or ())
        made["attention"] = one.attention and [[_rounded(value, 4) for value in row] for row in one.attention]
    return made


def _rounded(value: float, digits: int = DIGITS) -> float | None:
    """Return what JSON can hold: no NaN, no infinity, no -0."""
    return round(value, digits) + 0.0 if math.isfinite(value) else None

"""Formats of input and output lines: tab-separated text, or JSON Lines.

Each input line gives exactly one output line, or one group of lines in n-best text, whatever it contains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from seq2seq.data.text.writing import words_of
from seq2seq.inference.alignment import pharaoh

if TYPE_CHECKING:
    from seq2seq.data.subwords.tokenizer import Tokenizer
    from seq2seq.inference.translation import Translation

DIGITS = 6  # of scores in JSON; the precision of float32


@dataclass(frozen=True)
class Request:
    """One input line.

    Attributes:
        number: of the line, from 1.
        src: source text.
        prefix: text that the output starts with.
        terms: texts that the output contains.
        tgt_lang: target language; None: that of the command line.
        id: the sender's identifier, as JSON; None if there is none.
        error: why the line cannot be translated; None if it can.
    """

    number: int
    src: str = ""
    prefix: str = ""
    terms: list[str] = field(default_factory=list)
    id: str | None = None
    error: str | None = None
    tgt_lang: str | None = None


def parse_json(number: int, line: str) -> Request:
    """Parse `{"src": …, "prefix": …, "terms": […], "tgt_lang": …, "id": …}`; invalid input sets `error`.

    Other keys are ignored.
    """
    try:
        fields = json.loads(line, parse_constant=_no_number, parse_float=_finite)
        id = json.dumps(fields["id"]) if isinstance(fields, dict) and "id" in fields else None
    except (ValueError, RecursionError) as error:  # nested too deep, or a number of thousands of digits
        return Request(number, error=f"not JSON: {error}")
    if not isinstance(fields, dict):
        return Request(number, error="not a JSON object")
    src, prefix, terms = fields.get("src"), fields.get("prefix", ""), fields.get("terms", [])
    if not isinstance(src, str):
        return Request(number, id=id, error='"src" must be a string' if "src" in fields else '"src" is missing')
    if not isinstance(prefix, str):
        return Request(number, id=id, error='"prefix" must be a string')
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        return Request(number, id=id, error='"terms" must be a list of strings')
    tgt_lang = fields.get("tgt_lang")
    if not isinstance(tgt_lang, str | None):
        return Request(number, id=id, error='"tgt_lang" must be a string')
    return Request(number, src, prefix, terms, id, tgt_lang=tgt_lang)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    return value


def text_answer(
    request: Request,
    outputs: Sequence[Translation],
    n_best: bool,
    scores: bool = False,
    *,
    alignments: bool = False,
    confidence: bool = False,
) -> str:
    """Return one line per output: optionally the input line's number, score, confidence and alignment, then the text.

    A tab in the text is kept if the text is the only column.
    """
    lines = []
    for translation in outputs:
        columns = [str(request.number)] if n_best else []
        columns += [f"{translation.score:.4f}"] if n_best or scores else []
        columns += [f"{translation.confidence.sentence:.4f}"] if confidence and translation.confidence else []
        columns += [pharaoh(translation.alignment or ())] if alignments else []
        text = translation.text.replace("\t", " ") if columns else translation.text
        lines.append("\t".join([*columns, text]) + "\n")
    return "".join(lines)


def json_answer(
    request: Request, outputs: Sequence[Translation], tokenizer: Tokenizer, n_best: bool, alignments: bool = False
) -> str:
    """Return one JSON object on a line: the best output, with all outputs under `n_best` if asked for, or `error`."""
    if request.error is not None:
        answer: dict[str, Any] = {"error": request.error}
    else:
        objects = [_as_object(translation, tokenizer, alignments) for translation in outputs]
        answer = objects[0] | ({"n_best": objects} if n_best else {})
    # ASCII only: a lone surrogate stays valid JSON, and U+2028 or U+0085 cannot be taken for a line break.
    text = json.dumps(answer, allow_nan=False)
    return (text if request.id is None else f'{{"id": {request.id}, {text[1:]}') + "\n"


def _as_object(translation: Translation, tokenizer: Tokenizer, alignments: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "text": translation.text,
        "score": _rounded(translation.score),
        "log_prob": _rounded(translation.log_prob),
        "pieces": tokenizer.tgt_pieces(translation.ids),
        "token_log_probs": [_rounded(value) for value in translation.token_log_probs],
    }
    if alignments:
        attention = translation.attention
        fields["alignment"] = pharaoh(translation.alignment or ())
        fields["attention"] = attention and [[_rounded(value, 4) for value in row] for row in attention]
    if translation.confidence is not None:
        fields["confidence"] = _rounded(translation.confidence.sentence, 4)
        fields["words"] = words_of(translation.text)
        fields["word_confidence"] = [_rounded(value, 4) for value in translation.confidence.words]
    return fields


def _rounded(value: float, digits: int = DIGITS) -> float | None:
    """Round to what JSON can represent: NaN and infinity become None, -0 becomes 0."""
    return round(value, digits) + 0.0 if math.isfinite(value) else None

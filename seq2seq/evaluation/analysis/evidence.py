"""What a model itself shows of its outputs: how widely its attention was spread, and whether it heeded the source."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seq2seq.config.model import AttentionName

if TYPE_CHECKING:
    from seq2seq.inference.forced_scoring import PairScore
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator


WINDOW = 500
"""Lines translated between two moves of a progress bar."""


@dataclass
class Examined:
    """Translations and what the model shows of them.

    Attributes:
        outputs: one per source.
        entropy: `attention_entropy` of each; None if the model has no attention.
        dependence: `source_dependence` of each.
    """

    outputs: list[str]
    entropy: list[float] | None
    dependence: list[float]


def examine(
    translator: Translator,
    sources: Sequence[str],
    tgt_lang: str | None = None,
    advance: Callable[[int], object] = lambda lines: None,
    **overrides: Any,
) -> Examined:
    """Translate the sources, and look at attention and at the part that the source has in each output.

    Args:
        translator: the model.
        sources: one sentence per line.
        tgt_lang: target language; None: the only one of the model.
        advance: called with a number of lines whenever they are translated.
        **overrides: search settings, as of `Translator.translate`.

    Raises:
        ConfigError: a setting out of range.
    """
    attends = all(network.config.attention is not AttentionName.none for network in translator.ensemble.networks)
    outputs: list[str] = []
    read: list[str] = []
    written: list[str] = []
    entropy: list[float] | None = [] if attends else None
    for start in range(0, len(sources), WINDOW):
        window = sources[start : start + WINDOW]
        rows = translator.translate_n_best(window, tgt_lang=tgt_lang, alignments=attends, **overrides)
        best = [first for first, *_ in rows]
        # The weights of all lines would take more memory than the model.
        outputs += [translation.text for translation in best]
        if entropy is not None:
            entropy += map(attention_entropy, best)
        natural, translations = translator.before_recasing(window, best)
        read += natural
        written += [translation.text for translation in translations]
        advance(len(window))
    return Examined(outputs, entropy, source_dependence(translator, read, written, tgt_lang))


def attention_entropy(translation: Translation) -> float:
    """Return the mean entropy of the attention of each output word to the source words, divided by its maximum.

    0: each output word looks at one source word, 1: at all equally. NaN without attention: the line was split, the
    output is empty, or the source has one word.
    """
    shares = [_entropy(row) for row in translation.attention or ()]
    known = [share for share in shares if not math.isnan(share)]
    return math.fsum(known) / len(known) if known else math.nan


def _entropy(weights: Sequence[float]) -> float:
    total = math.fsum(weights)
    if len(weights) < 2 or not total > 0:
        return math.nan
    shares = (weight / total for weight in weights if weight > 0)
    return max(0.0, -math.fsum(share * math.log(share) for share in shares) / math.log(len(weights)))


def source_dependence(
    translator: Translator, sources: Sequence[str], outputs: Sequence[str], tgt_lang: str | None = None
) -> list[float]:
    """Return by how much log p per token of each output falls if the source is exchanged for one of another line.

    Near 0, the output does not come from its source: a hallucination. NaN: not known.
    """
    others = _exchanged(sources)
    own = translator.score(sources, outputs, tgt_lang=tgt_lang)
    other = translator.score(others, outputs, tgt_lang=tgt_lang)
    return [
        math.nan if source == exchanged else _mean(a) - _mean(b)
        for source, exchanged, a, b in zip(sources, others, own, other, strict=True)
    ]


def _exchanged(sources: Sequence[str]) -> list[str]:
    """Return for each source that of another line of similar length."""
    by_length = sorted(range(len(sources)), key=lambda line: (len(sources[line]), line))
    found = list(sources)
    for line, other in zip(by_length, [*by_length[1:], *by_length[:1]], strict=True):
        found[line] = sources[other]
    return found


def _mean(pair: PairScore) -> float:
    return pair.log_prob / len(pair.token_log_probs) if pair.token_log_probs else math.nan

"""Search settings: their schema, which search reads which field, and the overrides of one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seq2seq.config.field import Choice, check_ranges, field
from seq2seq.errors import ConfigError, check_lists

MAX_HYPOTHESES = 1000
"""Of one sentence."""


class SearchName(Choice):
    """Search algorithm."""

    beam = "beam"
    sample = "sample"
    mbr = "mbr"


class NormalizationName(Choice):
    """Divisor of log p that makes hypotheses of different lengths comparable."""

    gnmt = "gnmt"
    average = "average"
    none = "none"


class RecaseName(Choice):
    """What happens to source lines whose case natural text does not have."""

    auto = "auto"
    off = "off"


class UtilityName(Choice):
    """Similarity of two sentences: what minimum-Bayes-risk decoding and minimum-risk training maximise."""

    chrf = "chrf"
    bleu = "bleu"


class InferencePrecisionName(Choice):
    """Type of the matrix products in translation: the precisions of training, and int8 (the decoder's only)."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"


_BEAM, _SAMPLE, _MBR = SearchName.beam, SearchName.sample, SearchName.mbr


@dataclass
class DecodeConfig:
    """Search settings; stored in the model file as the defaults of `translate` and `evaluate`.

    `used_by` of a field names the searches that read it (None: all of them); its help begins with these names.
    """

    search: SearchName = field(
        SearchName.beam,
        "beam search, sample (draw from the model), or mbr (minimum Bayes risk: of the samples drawn, the one most "
        "similar to all; Eikema and Aziz 2020)",
    )
    beam_size: int = field(
        5, "hypotheses kept per sentence; 1 is greedy search", at_least=1, at_most=MAX_HYPOTHESES, used_by=(_BEAM,)
    )
    length_normalization: NormalizationName = field(
        NormalizationName.gnmt,
        "score = log p / lp: gnmt, lp = ((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14); average, lp = length^alpha; "
        "none, lp = 1",
        used_by=(_BEAM, _SAMPLE),
    )
    length_penalty: float = field(
        1.0,
        "alpha of length_normalization; higher prefers longer outputs, 0: off",
        at_least=0,
        at_most=10,
        used_by=(_BEAM, _SAMPLE),
    )
    coverage_penalty: float = field(
        0.0,
        "beta of the score term beta * sum_i log(min(sum_j a_ij, 1)), which penalises source tokens without attention "
        "(Wu et al. 2016, eq. 14); 0: off",
        at_least=0,
        at_most=10,
        used_by=(_BEAM,),
    )
    min_length_ratio: float = field(
        0.0, "minimum output length, EOS included: ratio × source tokens + min_length_extra", at_least=0, at_most=1000
    )
    min_length_extra: int = field(0, "see min_length_ratio", unit="tokens", at_least=0, at_most=10_000)
    max_length_ratio: float = field(
        2.0, "maximum output length, EOS included: ratio × source tokens + max_length_extra", at_least=0, at_most=1000
    )
    max_length_extra: int = field(10, "see max_length_ratio", unit="tokens", at_least=1, at_most=10_000)
    no_repeat_ngram: int = field(
        0,
        "forbid repeating an n-gram of this many tokens (Paulus et al. 2018); 0: off",
        unit="tokens",
        at_least=0,
        at_most=1000,
    )
    repetition_penalty: float = field(
        1.0,
        "multiply log p of every token that the output already contains (after Keskar et al. 2019); 1: off",
        at_least=1,
        at_most=10,
    )
    never_emit: list[str] = field(list, "texts that no output contains, each as the tokenizer segments it")
    samples: int = field(
        32, "candidates drawn, which also serve as references", at_least=1, at_most=MAX_HYPOTHESES, used_by=(_MBR,)
    )
    temperature: float = field(
        1.0, "draw from p^(1/T); below 1 favours likely tokens", at_least=0.01, at_most=100, used_by=(_SAMPLE, _MBR)
    )
    top_k: int = field(
        0,
        "draw from the k likeliest tokens (Fan et al. 2018); 0: all",
        at_least=0,
        at_most=1_000_000,
        used_by=(_SAMPLE, _MBR),
    )
    top_p: float = field(
        1.0,
        "draw from the likeliest tokens that hold this probability (nucleus sampling, Holtzman et al. 2020); 1: all",
        at_least=0.000001,
        at_most=1,
        used_by=(_SAMPLE, _MBR),
    )
    seed: int = field(
        1,
        "random seed; a sentence's samples depend on it, on the sentence and on their number, not on other sentences",
        at_least=0,
        at_most=2**31 - 1,
        used_by=(_SAMPLE, _MBR),
    )
    recase: RecaseName = field(
        RecaseName.auto,
        "auto: translate a line in CAPITALS or Title Case in natural case, that of words in the vocabulary, and write "
        "the output in the case of the line; off: translate it as it is",
    )
    mbr_utility: UtilityName = field(UtilityName.chrf, "sentence-level similarity, chrf or bleu", used_by=(_MBR,))
    batch_tokens: int = field(
        4096, "maximum of sentences × longest source in a batch", unit="tokens", at_least=1, at_most=1_000_000
    )


_DEFAULTS = DecodeConfig()
# Off by default, so another value asks for an effect. A config may set the remaining fields for a search that ignores
# them: models store such configs.
_OFF_BY_DEFAULT = ("coverage_penalty", "temperature", "top_k", "top_p")


def users_of(name: str) -> tuple[SearchName, ...]:
    """Return the searches that read the field called `name`."""
    used_by = {field.name: field.metadata["used_by"] for field in dataclasses.fields(DecodeConfig)}[name]
    return tuple(SearchName) if used_by is None else used_by


def config_key(name: str, value: str = "") -> str:
    """Write a field, or a field and its value, as the key of a config."""
    return f"decode.{name}={value}" if value else f"decode.{name}"


def check_decode(decode: DecodeConfig) -> None:
    """Check ranges, and that no setting contradicts another or is ignored by the search.

    Raises:
        ConfigError: names the keys.
    """
    check_ranges(decode, "decode.")
    for kind in ("ratio", "extra"):
        low, high = (getattr(decode, f"{side}_length_{kind}") for side in ("min", "max"))
        if low > high:
            raise ConfigError(f"decode.min_length_{kind}={low:g} is above decode.max_length_{kind}={high:g}")
    for name in _OFF_BY_DEFAULT:
        value = getattr(decode, name)
        if value != getattr(_DEFAULTS, name):
            _check_used(name, f"decode.{name}={value:g}", decode.search, config_key)


def check_overrides(
    changes: Mapping[str, Any], stored: DecodeConfig | None = None, key: Callable[..., str] = config_key
) -> None:
    """Check the fields that one call sets: their ranges, and that the search reads each of them.

    Args:
        changes: the values by field.
        stored: the settings that `changes` overrides; None: unknown, so only `changes` itself is checked.
        key: writes a field, or a field and its value, as the user does (`--beam-size 5`).

    Raises:
        ConfigError: names the fields.
        TypeError: unknown field.
    """
    check_ranges(dataclasses.replace(_DEFAULTS, **changes), "decode.")
    search = changes.get("search", stored and stored.search)
    for name in changes if search else ():
        _check_used(name, key(name), search, key)
    normalization = changes.get("length_normalization", stored and stored.length_normalization)
    if normalization is NormalizationName.none and "length_penalty" in changes:
        raise ConfigError(f"{key('length_penalty')} has no effect with {key('length_normalization', 'none')}")


def _check_used(name: str, text: str, search: SearchName, key: Callable[..., str]) -> None:
    users = users_of(name)
    if search not in users:
        raise ConfigError(f"{text} needs {key('search', ' or '.join(map(str, users)))}, not {search}")


def override(decode: DecodeConfig, changes: Mapping[str, Any]) -> DecodeConfig:
    """Return `decode` with the fields in `changes` replaced; a choice may be given by its name.

    If `changes` selects the search, stored fields that this search ignores return to their defaults.

    Raises:
        ConfigError: a value out of range, or a field that the search ignores; names the keys.
        TypeError: unknown field.
    """
    check_lists(**{name: value for name, value in changes.items() if isinstance(getattr(_DEFAULTS, name, None), list)})
    changes = {name: _member(name, value) for name, value in changes.items()}
    check_overrides(changes, decode)
    if "search" in changes:
        fields = (field.name for field in dataclasses.fields(DecodeConfig))
        unused = [name for name in fields if changes["search"] not in users_of(name)]
        decode = dataclasses.replace(decode, **{name: getattr(_DEFAULTS, name) for name in unused})
    changed = dataclasses.replace(decode, **changes)
    check_decode(changed)
    return changed


def _member(name: str, value: Any) -> Any:
    """Return the member that a string names if the field is a choice, else `value`."""
    default = getattr(_DEFAULTS, name, None)
    if not isinstance(default, Choice) or not isinstance(value, str):
        return value
    members = type(default).__members__
    if value not in members:
        raise ConfigError(f"decode.{name}={value!r} is unknown: use {', '.join(members)}")
    return members[value]

"""The settings of the search: how outputs are found, ranked and limited."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import Choice, check_ranges, config_field
from seq2seq.errors import ConfigError


class SearchName(Choice):
    """How outputs are found."""

    beam = "beam"
    sample = "sample"
    mbr = "mbr"


class NormalizationName(Choice):
    """What log p is divided by before hypotheses of different length are compared."""

    gnmt = "gnmt"
    average = "average"
    none = "none"


class UtilityName(Choice):
    """Similarity of two sentences, whose expectation minimum Bayes risk maximises."""

    chrf = "chrf"
    bleu = "bleu"


@dataclass
class DecodeConfig:
    """Search and its limits; stored in the model as the defaults of `translate` and `evaluate`."""

    search: SearchName = config_field(
        SearchName.beam,
        "beam, sample (draw from the model) or mbr (draw, keep what agrees most; Eikema and Aziz 2020)",
    )
    beam_size: int = config_field(5, "hypotheses kept per sentence; 1 is greedy search", at_least=1, at_most=1000)
    length_normalization: NormalizationName = config_field(
        NormalizationName.gnmt,
        "score = log p / lp: gnmt, lp = ((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14); average, lp = length^alpha; "
        "none, lp = 1",
    )
    length_penalty: float = config_field(
        1.0, "alpha of length_normalization; higher prefers longer outputs, 0: none", at_least=0, at_most=10
    )
    coverage_penalty: float = config_field(
        0.0,
        "beta of the score's term beta * sum_i log(min(sum_j a_ij, 1)), which asks for attention to every source piece "
        "(Wu et al. 2016, eq. 14); 0: off",
        at_least=0,
        at_most=10,
    )
    min_length_ratio: float = config_field(
        0.0, "shortest output = ratio × source pieces + min_length_extra, EOS counted", at_least=0, at_most=1000
    )
    min_length_extra: int = config_field(0, "see min_length_ratio", unit="pieces", at_least=0)
    max_length_ratio: float = config_field(
        2.0, "longest output = ratio × source pieces + max_length_extra, EOS counted", at_least=0, at_most=1000
    )
    max_length_extra: int = config_field(10, "see max_length_ratio", unit="pieces", at_least=1)
    no_repeat_ngram: int = config_field(
        0, "never say the same n pieces in a row twice (Paulus et al. 2018); 0: off", unit="pieces", at_least=0
    )
    repetition_penalty: float = config_field(
        1.0, "multiply log p of pieces said before by this (after Keskar et al. 2019); 1: off", at_least=1, at_most=10
    )
    never_emit: list[str] = config_field(list, "texts that are never said, each as the tokenizer cuts it")
    samples: int = config_field(
        32, "mbr: candidates drawn, which are also what they are compared with", at_least=1, at_most=1000
    )
    temperature: float = config_field(
        1.0, "sample, mbr: draw from p^(1/T); below 1 is more careful", at_least=0.01, at_most=100
    )
    top_k: int = config_field(
        0, "sample, mbr: draw from the k likeliest pieces only (Fan et al. 2018); 0: all", at_least=0
    )
    top_p: float = config_field(
        1.0,
        "sample, mbr: draw from the likeliest pieces that hold this much probability (Holtzman et al. 2020); 1: all",
        at_least=0.000001,
        at_most=1,
    )
    seed: int = config_field(
        1, "sample, mbr: what is drawn is a function of it and of the sentence alone", at_least=0, at_most=2**31 - 1
    )
    mbr_utility: UtilityName = config_field(UtilityName.chrf, "mbr: sentence-level similarity, chrf or bleu")
    batch_tokens: int = config_field(
        4096, "ceiling of sentences × longest source in one batch", unit="tokens", at_least=1
    )


def check_decode(decode: DecodeConfig, prefix: str = "decode.") -> None:
    """Refuse values out of range and settings that contradict each other or would be ignored.

    Raises:
        ConfigError: names the keys, each after `prefix`.
    """
    check_ranges(decode, prefix)
    for kind in ("ratio", "extra"):
        low, high = (getattr(decode, f"{side}_length_{kind}") for side in ("min", "max"))
        if low > high:
            raise ConfigError(f"{prefix}min_length_{kind}={low:g} is above {prefix}max_length_{kind}={high:g}")
    is_beam = decode.search is SearchName.beam
    foreign = ("temperature", "top_k", "top_p") if is_beam else ("coverage_penalty",)
    for name in foreign:
        value = getattr(decode, name)
        if value != getattr(_DECODE_DEFAULTS, name):
            instead = "sample or mbr" if is_beam else "beam"
            raise ConfigError(f"{prefix}{name}={value:g} needs {prefix}search={instead}, not {decode.search}")


_DECODE_DEFAULTS = DecodeConfig()

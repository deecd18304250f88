"""Regular inflection of English and German words; irregular forms are in lexicon.yaml."""

from __future__ import annotations

import re

UNSTRESSED_PREFIXES = ("be", "ver", "er", "ent", "zer", "ge")


def add_s(word: str) -> str:
    """Add the English -s of plurals and of the third person."""
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def add_ed(word: str) -> str:
    """Add the English -ed of the past."""
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def genitive(noun: str, gender: str) -> str:
    """Add -es to a masculine or neuter German noun of one syllable, -s to a longer one."""
    if gender == "f":
        return noun
    syllables = re.findall("[aeiouäöü]+", noun.lower())
    return noun + ("es" if len(syllables) == 1 else "s")


def dative_plural(plural: str) -> str:
    """Add the -n of the dative, unless the plural ends in -n or -s."""
    return plural if plural[-1] in "ns" else plural + "n"


def present(infinitive: str, changed_stem: str) -> tuple[str, ...]:
    """Return the forms for ich, du, er, wir, sie; `changed_stem` is the stem for du and er, or empty."""
    stem = _stem(infinitive)
    first = stem[:-2] + "le" if infinitive.endswith("eln") else stem + "e"
    joint = "e" if not changed_stem and _needs_e(stem) else ""
    stem = changed_stem or stem
    second = stem + joint + ("t" if stem[-1] in "sßzx" else "st")
    third = stem if changed_stem.endswith("t") else stem + joint + "t"
    return (first, second, third, infinitive, infinitive)


def preterite(first: str) -> tuple[str, ...] | None:
    """Return the forms for ich, du, er, wir, sie from the form for ich; None if it is empty."""
    if not first:
        return None
    plural = first + ("n" if first.endswith("e") else "en")
    return (first, first + "st", first, plural, plural)


def participle(prefix: str, infinitive: str) -> str:
    """Return the weak participle: ge- unless the first syllable is unstressed, stem and -t."""
    stem = _stem(infinitive)
    joint = "e" if _needs_e(stem) else ""
    unstressed = infinitive.startswith(UNSTRESSED_PREFIXES) or infinitive.endswith("ieren")
    return prefix + ("" if unstressed else "ge") + stem + joint + "t"


def _stem(infinitive: str) -> str:
    return infinitive.removesuffix("en") if infinitive.endswith("en") else infinitive.removesuffix("n")


def _needs_e(stem: str) -> bool:
    """Return True if -t and -st follow an -e-: du arbeitest, es öffnet, but er lernt, sie filmt."""
    return stem[-1] in "dt" or (stem[-1] in "mn" and stem[-2] not in "aeiouäöülrhmn")

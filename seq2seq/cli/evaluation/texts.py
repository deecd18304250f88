"""What systems are scored on: sources, references, groups, and the tokenizer of BLEU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.aligned_files import read_aligned
from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig

TOKENIZE = "--tokenize"
MOSES = "moses"


@dataclass(frozen=True)
class ScoredText:
    """References, one list or more, and the sources, None if only translations are scored."""

    references: Sequence[Sequence[str]]
    sources: Sequence[str] | None = None


@dataclass(frozen=True)
class Run:
    """The output of one run, and further fields of its `Scores`."""

    lines: Sequence[str]
    known: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """A test set, how it is scored, and the runs of each system on it.

    Attributes:
        text: of the test set.
        tokenize: of BLEU.
        ignore_case: score lower-cased text.
        language: of the translations; None: not known.
        systems: the runs by the system's name.
    """

    text: ScoredText
    tokenize: str
    ignore_case: bool = False
    language: str | None = None
    systems: dict[str, list[Run]] = field(default_factory=dict)


def check_references(
    names: Sequence[str], references: Sequence[Sequence[str]], others: Mapping[str, Sequence[str]]
) -> None:
    """Check that no sentence lacks a reference.

    Args:
        names: files of the references.
        references: their lines.
        others: line-aligned translations or sources, by file; where they are empty, a reference may be.

    Raises:
        DataError: names the file and the line.
    """
    for name, lines in zip(names, references, strict=True):
        empty = (i for i, line in enumerate(lines) if not line.strip())
        for i in empty:
            other = next((other for other, partner in others.items() if partner[i].strip()), None)
            if other is not None:
                raise DataError(
                    f"{name}, line {i + 1} is empty, but that line of {other} is not: give every sentence a reference, "
                    "or remove its line from all files"
                )


def read_groups(name: str) -> list[str]:
    """Return the group of each sentence.

    Raises:
        DataError: the file cannot be read, or has a blank line.
    """
    (lines,) = read_aligned([name])
    groups = [line.strip() for line in lines]
    if "" in groups:
        raise DataError(f"--groups {name}, line {groups.index('') + 1} is blank: write the group of every sentence")
    return groups


def check_groups(name: str, groups: Sequence[str], tests: Mapping[str, Evaluated]) -> None:
    """Check that every sentence of every test set has a group.

    Raises:
        DataError: the numbers differ.
    """
    for test, evaluated in tests.items():
        sentences = len(evaluated.text.references[0])
        if len(groups) != sentences:
            raise DataError(
                f"--groups {name} has {len(groups):,} lines but {test} has {sentences:,} sentences: give one for each"
            )


def check_comet(checkpoint: str) -> None:
    """Check before any work that COMET can be computed.

    Raises:
        ConfigError: the package is not installed.
        DataError: there is no checkpoint at the path.
    """
    from seq2seq.evaluation import comet

    if not Path(checkpoint).is_file():
        raise DataError(f"--comet {checkpoint}: no such file: give the checkpoint (.ckpt) of a COMET model on disk")
    if not comet.is_installed():
        raise ConfigError(
            "--comet needs the package unbabel-comet, which requires numpy < 2 and protobuf < 5: install it with "
            "pip install unbabel-comet in an environment of its own, beside this package"
        )


def add_comet(checkpoint: str, tests: Mapping[str, Evaluated]) -> None:
    """Add COMET to what is known about each run; of several references the first counts."""
    from seq2seq.evaluation.comet import Comet

    comet = Comet(checkpoint)
    for text, run in ((test.text, run) for test in tests.values() for runs in test.systems.values() for run in runs):
        run.known["comet"] = comet(text.sources or [], run.lines, text.references[0])


def named_test_sets(names: str, pair: str | None, own_files: str) -> dict[str, ScoredText]:
    """Return the test sets of `--test-set`, by name.

    Args:
        names: separated by commas.
        pair: of languages: en-de.
        own_files: options that the user can give in place of a test set.

    Raises:
        ConfigError: sacreBLEU does not have one of them, or not for the language pair.
        DataError, DownloadError: as `sacrebleu_sets.read`.
    """
    from seq2seq.data.corpora import sacrebleu_sets

    option = "--test-set"
    if pair is None:
        raise ConfigError(f"{option} {names} needs --langpair, for example --langpair en-de")
    chosen = [name.strip() for name in names.split(",")]
    if not all(chosen) or len(set(chosen)) < len(chosen):
        raise ConfigError(f"{option} {names}: write different names, separated by commas: wmt14,wmt15")
    for name in chosen:
        sacrebleu_sets.check_known(name, pair, option)
    sets = {}
    for name in chosen:
        sources, *references = sacrebleu_sets.read(name, pair, option, own_files)
        sets[name] = ScoredText(references, sources)
    return sets


def joined(sets: Mapping[str, ScoredText]) -> ScoredText:
    """Return the test sets one after the other, as sacreBLEU joins them.

    Raises:
        ConfigError: they differ in their number of references.
    """
    texts = [*sets.values()]
    counts = {name: len(text.references) for name, text in sets.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(f"--test-set: the sets differ in their number of references ({shown}): score them one by one")
    columns = zip(*(text.references for text in texts), strict=True)
    return ScoredText(
        [[line for lines in column for line in lines] for column in columns],
        [line for text in texts for line in text.sources or ()],
    )


def check_pair(pair: str | None) -> None:
    """Check the form of `--langpair`.

    Raises:
        ConfigError: it is not SRC-TGT.
    """
    if pair is not None and not all(pair.partition("-")):
        raise ConfigError(f"--langpair {pair}: write two language codes: en-de")


def file_tokenizer(chosen: str | None, pair: str | None) -> str:
    """Return the tokenizer of BLEU for files: `chosen`, else that of the target language, else 13a.

    Raises:
        ConfigError: the chosen one cannot be used.
    """
    from seq2seq.data.text.bleu_tokenizer import DEFAULT, check_tokenizer, language_tokenizer

    language = None if pair is None else pair.partition("-")[2]
    if chosen == MOSES:
        return moses_tokenizer(language)
    if chosen:
        check_tokenizer(chosen, TOKENIZE)
        return chosen
    return DEFAULT if language is None else language_tokenizer(language, f"--langpair {pair}")


def model_tokenizer(data: DataConfig, chosen: str | None) -> str:
    """Return the tokenizer of BLEU for a model: `chosen`, else that of its config; raises as `file_tokenizer`."""
    from seq2seq.data.text.bleu_tokenizer import bleu_tokenizer

    if chosen == MOSES:
        return moses_tokenizer(data.tgt)
    return bleu_tokenizer(data, chosen, TOKENIZE if chosen else "data.bleu_tokenizer")


def moses_tokenizer(language: str | None) -> str:
    """Return the name of the Moses tokenizer of a language.

    Raises:
        ConfigError: no language is known, or sacremoses is not installed.
    """
    from seq2seq.data.index.language_codes import base_code
    from seq2seq.evaluation import moses

    if language is None:
        raise ConfigError(f"{TOKENIZE} {MOSES} needs the target language: give --langpair, such as --langpair en-de")
    code = base_code(language)
    moses.MosesTokenizer(code)
    return moses.MOSES + code

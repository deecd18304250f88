"""Schema of data augmentation: edits of the training pairs that make a model robust to unusual input."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from seq2seq.config.field import Choice, field
from seq2seq.errors import ConfigError


class AugmentPreset(Choice):
    """A set of probabilities; single keys replace its values.

    `student` has those that Firefox's student models are trained with: pipeline/train/configs/opustrainer/student.yml
    in github.com/mozilla/firefox-translations-training, after OpusTrainer (github.com/hplt-project/OpusTrainer;
    Bogoychev et al. 2023, arXiv 2311.14838): UpperCase 0.07, TitleCase 0.05, Typos 0.05, Tags 0.005 (inline noise that
    is copied), Noise 0.0005.
    """

    off = "off"
    student = "student"


PRESETS: dict[AugmentPreset, dict[str, float]] = {
    AugmentPreset.off: {},
    AugmentPreset.student: {"upper": 0.07, "title": 0.05, "typos": 0.05, "copies": 0.005, "noise": 0.0005},
}


def _probability(doc: str) -> Any:
    return field(None, f"probability that {doc}; null: that of the preset", at_least=0, at_most=1)


@dataclass
class AugmentConfig:
    """Edits of training pairs, drawn anew in every epoch; validation and test sets are not edited."""

    preset: AugmentPreset = field(
        AugmentPreset.off,
        "values of the probabilities below that are null: off (0), or student (those of Firefox's student models)",
    )
    upper: float | None = _probability("a pair is put in upper case, if its source is in a script with case")
    title: float | None = _probability("every word of a pair starts with a capital, if its source has case")
    punctuation: float | None = _probability("both sides lose their final punctuation, or get a full stop")
    typos: float | None = _probability("the source gets typos, one per eight words")
    spacing: float | None = _probability("a space of the source is lost, or one is added")
    copies: float | None = _probability(
        "both sides get the same emoji, number, address or tags, which are to be copied"
    )
    noise: float | None = _probability("a pair is replaced by random words of many scripts, the same on both sides")

    def probabilities(self) -> dict[str, float]:
        """Return the probability of every edit, in the order of the fields."""
        preset = PRESETS[self.preset]
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "preset"}
        return {name: preset.get(name, 0.0) if value is None else value for name, value in given.items()}

    @property
    def active(self) -> bool:
        """True if any probability is above 0."""
        return any(self.probabilities().values())


def check_augment(augment: AugmentConfig) -> None:
    """Check that a pair cannot be in upper and title case at once.

    Raises:
        ConfigError: the sum of both probabilities is above 1.
    """
    values = augment.probabilities()
    if values["upper"] + values["title"] > 1:
        raise ConfigError(
            f"data.augment.upper={values['upper']:g} and data.augment.title={values['title']:g} exclude each other "
            "in a pair: their sum is above 1"
        )

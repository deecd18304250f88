"""What the drivers of all toolkits share. Runs in the environment of a toolkit: imports torch, but nothing of seq2seq.

A driver is a module with three functions, given to `main`: `prepare` writes what the toolkit reads, `train` runs the
toolkit's own training loop until the clock raises TimeUp, and `load` returns a function that translates a batch.
"""

from __future__ import annotations

import functools
import json
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmark_timing import BEAMS, in_batches, peak_rss_mb, translation_figures


@dataclass(frozen=True)
class Work:
    """What a driver does.

    Attributes:
        action: prepare, train, translate (the validation text, timed), or the name of a part to translate.
        text: folder with the tokens of each part, separated by spaces (train.en), and vocab.txt.
        folder: folder of this toolkit, for its form of the text and its models.
        model: name of the model to write or read in `folder`: random or trained.
        threads: number of CPU threads; None: chosen by torch.
        hidden: size of the decoder state; embeddings, encoder directions and attention have half of it.
        dropout: probability, everywhere.
        batch_tokens: ceiling of rows × longest row.
        learning_rate: of Adam; 0 keeps the initial weights.
        seconds: training time measured after the warm-up.
        warmup: number of updates before the measurement.
        save: write the model at the end.
        sentences: number of validation sentences translated together.
        singles: number of validation sentences translated one by one.
        outputs: file to write the translations of a part to.
        length_ratio: outputs have at most `length_ratio` times the tokens of the longest source of their batch.
    """

    action: str
    text: str
    folder: str
    model: str
    threads: int | None
    hidden: int
    dropout: float
    batch_tokens: int
    learning_rate: float
    seconds: float
    warmup: int
    save: bool
    sentences: int
    singles: int
    outputs: str
    length_ratio: float

    def text_file(self, part: str, side: str) -> str:
        """Return the path of one side (en, de) of a part."""
        return str(Path(self.text, f"{part}.{side}"))

    @property
    def vocabulary(self) -> Path:
        """File of the joint vocabulary in the toolkit's form."""
        return Path(self.folder, "vocab.txt")

    def write_vocabulary(self, ending: str, specials: Sequence[str] = ()) -> None:
        """Write `vocabulary`: `specials`, then the tokens, each on a line with `ending`."""
        tokens = Path(self.text, "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
        self.vocabulary.write_text("".join(f"{token}{ending}\n" for token in [*specials, *tokens]), encoding="utf-8")

    def lines(self, part: str) -> list[str]:
        """Return the tokenized source lines of a part."""
        return Path(self.text_file(part, "en")).read_text(encoding="utf-8").split("\n")[:-1]

    @property
    def model_folder(self) -> Path:
        """Folder of the model."""
        return Path(self.folder, self.model)


class TimeUp(Exception):
    """The measurement is complete."""


class Clock:
    """Counts the target tokens of each update; raises TimeUp in the first update after the time."""

    def __init__(self, seconds: float, warmup: int) -> None:
        self.seconds, self.warmup = seconds, warmup
        self.tokens: list[int] = []
        self.ends: list[float] = []

    def tick(self, tgt_tokens: int) -> None:
        """Record the end of an update on `tgt_tokens` tokens: with EOS, without padding."""
        self.tokens.append(int(tgt_tokens))
        self.ends.append(time.perf_counter())
        if len(self.ends) > self.warmup and self.measured_sec >= self.seconds:
            raise TimeUp

    @property
    def measured_sec(self) -> float:
        """Seconds since the end of the warm-up; 0 without one."""
        return self.ends[-1] - self.ends[self.warmup - 1] if self.warmup else 0.0

    def figures(self) -> dict[str, float]:
        """Return the figures of the updates after the warm-up."""
        tokens = self.tokens[self.warmup :]
        figures = {"updates": len(tokens), "tokens_per_update": sum(tokens) / len(tokens)}
        return {**figures, "tokens_per_sec": sum(tokens) / self.measured_sec} if self.warmup else figures


Prepare = Callable[[Work], None]
Train = Callable[[Work, Clock], None]
Translate = Callable[[Sequence[str], int], list[str]]
"""Lines of tokens and the largest output length, EOS included -> lines of tokens."""
Load = Callable[[Work, int], Translate]
"""The work and the beam size -> translation with the model."""


def main(prepare: Prepare, train: Train, load: Load) -> None:
    """Do the work of the command line; the last line of stdout is the result."""
    work = Work(**json.loads(sys.argv[1]))
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    torch.manual_seed(1)
    if work.action == "prepare":
        prepare(work)
        figures: dict[str, Any] = {}
    elif work.action == "train":
        clock = Clock(work.seconds, work.warmup)
        train(work, clock)
        figures = clock.figures()
    elif work.action == "translate":
        lines = work.lines("val")[: work.sentences]
        figures = {
            name: translation_figures(lines, work.singles, functools.partial(batches, work, load(work, beam_size)))
            for name, beam_size in BEAMS.items()
        }
    else:
        outputs = batches(work, load(work, BEAMS["beam"]), work.lines(work.action))
        Path(work.outputs).write_text("".join(f"{' '.join(tokens)}\n" for tokens in outputs), encoding="utf-8")
        figures = {}
    environment = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    print(json.dumps({**figures, "peak_rss_mb": peak_rss_mb(), **environment}))


def batches(work: Work, translate: Translate, lines: Sequence[str]) -> list[list[str]]:
    """Translate `lines` in sorted batches; return the tokens of each output."""

    def batch(some: Sequence[str]) -> list[list[str]]:
        longest = max(len(line.split(" ")) for line in some)
        return [output.split() for output in translate(some, int(work.length_ratio * longest) + 1)]

    return in_batches(lines, [len(line.split(" ")) for line in lines], batch)


class AnyType:
    """Takes the place of every name in a module that is imported but not used."""


class UnusedModule(types.ModuleType):
    """A module of which every name can be imported."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type[AnyType]:
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyType


def without(*names: str) -> None:
    """Let modules be imported that are not installed, because the work does not use them."""
    sys.modules.update({name: UnusedModule(name) for name in names})

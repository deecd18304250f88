"""Command: search settings by many short runs. `python -m seq2seq.tune --help` says how."""

from __future__ import annotations

import argparse
import functools
import itertools
import operator
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.command import OK, run
from seq2seq.config import Config, MonitorName, absolute_paths, config_dir, to_config, to_dict
from seq2seq.config_help import help_text
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.launch import NO_MATTER, Launch, one_line
from seq2seq.settings import is_group, walk
from seq2seq.train import train
from seq2seq.training.checkpoint import LAST_NAME
from seq2seq.training.trainer import Stopped
from seq2seq.tuning.space import Point, but_for, overrides, own_point, search_space, split_sweeps
from seq2seq.tuning.study import (
    ATTEMPTS,
    MOST_ATTEMPTS,
    ask,
    check_same,
    ended_trials,
    fail,
    minutes_spent,
    opened,
    trial_folder,
)
from seq2seq.tuning.summary import ranked, report, shown_point, shown_score
from seq2seq.tuning.watcher import Pruned, Watcher

if TYPE_CHECKING:
    from optuna import Study, Trial

MOST_FAILURES = 5  # in a row
INTRO = """\
usage: python -m seq2seq.tune [GROUP=CHOICE | KEY=VALUE | KEY=SWEEP]...

Searches settings by many short runs, the trials. Keys with a sweep are searched, beside those of tune.space, in which
experiment=tune has some; the others are the same in all trials. What a sweep is:
  KEY=choice(A,B) or KEY=A,B           one of these; KEY may be a group
  KEY=interval(0,0.5)                  any number between them, a whole one where the key takes whole ones
  KEY=tag(log,interval(1e-4,1e-2))     the same, drawn evenly by its logarithm
  KEY=range(1,4), KEY=range(64,257,64) 1, 2, 3; 64, 128, 192, 256
  KEY='${OTHER}'                       no sweep: KEY has the value that is drawn for OTHER
Study and runs lie in tune.folder; the same command again goes on with them, after a stop or with more tune.trials.
  --config-dir DIR add a folder with groups of your own
"""


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run(lambda: tune(sys.argv[1:])))


def tune(arguments: Sequence[str]) -> int:
    """Search as the command line says, print what was found, and return the exit status.

    Raises:
        Seq2SeqError: bad input or settings; one line says what to change.
    """
    ConfigStore.instance().store(name="train_schema", node=Config)
    args = _parser().parse_intermixed_args(arguments)
    if args.help:
        sys.stdout.write(help_text(INTRO))
        return OK
    try:
        with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
            search = Search(args.overrides, args.config_dir)
            with opened(search.folder, maximise=search.config.training.monitor is not MonitorName.loss) as study:
                search.go_on(study)
                search.conclude(study)
    except Stopped as stop:
        sys.stderr.write(f"{stop}; the same command goes on with the search\n")
        return 128 + stop.signal_number
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise Seq2SeqError("the search needs Optuna: pip install 'seq2seq-lstm[tune]'") from error
    except OSError as error:  # the folder cannot be made, its disk is full
        if isinstance(error, BrokenPipeError):
            raise
        place = f"{error.filename}: " if error.filename else ""
        raise Seq2SeqError(f"{place}{error.strerror or error}") from error
    return OK


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="seq2seq-tune", usage="%(prog)s [--help] [--config-dir DIR] [KEY=VALUE]...", add_help=False
    )
    made.add_argument("overrides", nargs="*")
    made.add_argument("--help", "-h", action="store_true")
    made.add_argument("--config-dir", metavar="DIR")
    return made


class Search:
    """What is searched, what is the same in all trials, and how one is run."""

    def __init__(self, arguments: Sequence[str], config_dir: str | None) -> None:
        """Compose the settings that all trials have, with the value of this command for what is searched.

        Raises:
            ConfigError: nothing is searched, or a key that cannot be.
        """
        self._fixed, sweeps = split_sweeps(arguments)
        self._config_dir = config_dir
        base, groups = self._compose([])
        self.config = to_config(base)
        if self.config.training.resume is not None or but_for(self._fixed, ["hydra.run"]) != self._fixed:
            raise ConfigError(
                "the runs are in tune.folder and go on there: leave training.resume and hydra.run.dir out"
            )
        self._space = search_space(self.config.tune.space, self._fixed, sweeps, groups)
        if not self._space:
            raise ConfigError("nothing to search: add experiment=tune, or a sweep such as model.hidden_size=128,256")
        self._own = own_point(self._space, base, groups)
        self._settings, self._ties = self._same_in_all(base)
        self._compose_all(groups)
        folder, here = Path(self.config.tune.folder or f"runs/{self.config.data.name}/tune"), Path.cwd()
        self.folder = folder.relative_to(here) if folder.is_relative_to(here) else folder

    def go_on(self, study: Study) -> None:
        """Run trials until there are as many as asked for; first, one that a stop has left unfinished.

        Raises:
            ConfigError: the study is that of another search.
            Seq2SeqError: one trial after another fails.
        """
        check_same(study, self.folder, self._settings, self._ties, self._space)
        tune, failures = self.config.tune, 0
        if self._own is None and not ended_trials(study):
            sys.stderr.write("the settings as given are not within the space: no trial has them\n")
        while (count := len(ended_trials(study))) < tune.trials:
            if tune.max_minutes is not None and minutes_spent(study, self.folder) >= tune.max_minutes:
                sys.stderr.write(f"tune.max_minutes={tune.max_minutes:g} are over: {count} of {tune.trials} trials\n")
                return
            trial = ask(study, self.folder, tune, self._space, self._own)
            if trial is None:
                sys.stderr.write(f"every point of the space is tried: {count} of {tune.trials} trials\n")
                return
            name = trial_folder(trial)
            sys.stderr.write(f"\n{name} ({count + 1} of {tune.trials}): {shown_point(trial.params)}\n")
            try:
                sys.stderr.write(f"{name}: {self._run(study, trial)}\n")
                failures = 0
            except Seq2SeqError as error:
                sys.stderr.write(f"error: {name}: {error}\n")
                fail(study, trial, str(error))
                failures += 1
                if failures == MOST_FAILURES:
                    raise Seq2SeqError(f"{failures} trials in a row have failed, the last one with: {error}") from error

    def conclude(self, study: Study) -> None:
        """Print the table and how to train with the best settings, on standard output."""
        report(study, self.folder, self.config.training.monitor, self._space, self._own)
        if best := ranked(study)[:1]:
            run = shlex.quote(str(self.folder / trial_folder(best[0])))
            folder = ["--config-dir", self._config_dir] if self._config_dir else []
            given = but_for(self._fixed, ["tune", *self._space])
            command = shlex.join([*folder, *given, *overrides(best[0].params)])
            sys.stdout.write(f"\nBest model so far: {run}\n  python -m seq2seq.evaluate {run}\n")
            sys.stdout.write(f"To train with these settings:\n  python -m seq2seq.train {command}\n")

    def _compose(self, values: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
        """Return the settings with `values` on top, and the choice of each group."""
        given = [*self._fixed, *values]
        if self._config_dir is not None:
            path = os.path.abspath(self._config_dir).replace("'", "\\'")
            given.append(f"hydra.searchpath=['file://{path}']")
        raw = compose("train", overrides=given, return_hydra_config=True)
        groups = {key: str(name) for key, name in raw.hydra.runtime.choices.items() if not key.startswith("hydra/")}
        raw = OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"])
        absolute_paths(raw)
        return raw, groups

    def _compose_all(self, groups: Collection[str]) -> None:
        """Compose every choice of groups that is searched: a file of conf/ may change while the search goes on.

        Raises:
            OmegaConfBaseException, HydraException: a choice, of a group or of a key, is none.
        """
        self._searched = [key for key in self._space if key in groups]
        self._composed = {
            choices: self._compose([f"{key}={choice}" for key, choice in zip(self._searched, choices, strict=True)])[0]
            for choices in itertools.product(*(self._space[key].choices for key in self._searched))
        }
        any_of_them = dict(zip(self._searched, next(iter(self._composed)), strict=True))
        for key in self._space.keys() - any_of_them:
            for choice in getattr(self._space[key], "choices", ()):
                self._settings_of({**any_of_them, key: choice})

    def _settings_of(self, point: Point) -> DictConfig:
        """Return the settings of a trial."""
        raw = self._composed[tuple(point[key] for key in self._searched)].copy()
        for text in overrides({key: value for key, value in point.items() if key not in self._searched}):
            override = OverridesParser.create().parse_override(text)
            OmegaConf.update(raw, override.key_or_group, override.value())
        absolute_paths(raw)
        return raw

    def _same_in_all(self, base: DictConfig) -> tuple[dict[str, str], dict[str, str]]:
        """Return the values that are not searched and matter, and which of them are copied from another key."""
        unmoved = tuple(f"{name}." for name in (*self._space, *NO_MATTER))
        keys = [key for key, field in walk(Config) if not is_group(field) and not f"{key}.".startswith(unmoved)]
        plain = OmegaConf.create(to_dict(self.config))
        written: Any = OmegaConf.to_container(base, resolve=False)
        texts = {key: str(functools.reduce(operator.getitem, key.split("."), written)) for key in keys}
        ties = {key: text for key, text in texts.items() if text.startswith("${")}
        return {key: str(OmegaConf.select(plain, key)) for key in keys}, ties

    def _run(self, study: Study, trial: Trial) -> str:
        """Run a trial, or go on with it, tell the study how it ended, and return that for the terminal.

        Raises:
            Seq2SeqError: it has failed; that is not told yet.
            Stopped: Ctrl-C or SIGTERM; the run is saved.
        """
        from optuna.trial import TrialState

        folder = self.folder / trial_folder(trial)
        if trial.user_attrs.get(ATTEMPTS, 0) >= MOST_ATTEMPTS:
            raise Seq2SeqError(f"killed {MOST_ATTEMPTS} times before anything was saved, for want of memory perhaps")
        config = to_config(self._settings_of(trial.params))
        resumes = (folder / LAST_NAME).is_file()
        if folder.is_dir() and not resumes:
            shutil.rmtree(folder)  # an attempt that has saved nothing
        folder.mkdir(exist_ok=True)
        watcher = Watcher(trial, config, folder)
        try:
            train(config, Launch(folder, resumes, []), watcher, tested=False)
        except Pruned:
            study.tell(trial, state=TrialState.PRUNED)
            return f"pruned after {watcher.count} validations"
        best = watcher.best()
        study.tell(trial, best)
        first = ranked(study)[0].number == trial.number
        return f"validation {shown_score(best, config.training.monitor)}" + (", the best so far" if first else "")


if __name__ == "__main__":
    main()

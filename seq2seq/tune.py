"""Command: search settings by many short runs. `python -m seq2seq.tune --help` says how."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore

from seq2seq.cli.exit_status import OK, run
from seq2seq.cli.hydra_errors import run_with_one_line_errors
from seq2seq.cli.resume import RunContext, process_keys
from seq2seq.config.help import help_text
from seq2seq.config.loading import config_dir
from seq2seq.config.schema import Config
from seq2seq.config.training import MonitorName
from seq2seq.errors import DownloadError, Seq2SeqError, StorageError
from seq2seq.experiments.pruning import Pruned, Watcher
from seq2seq.experiments.study import (
    ATTEMPTS,
    ERROR,
    MOST_ATTEMPTS,
    ask,
    check_folder,
    check_same,
    ended_trials,
    fail,
    minutes_spent,
    opened,
    trial_folder,
)
from seq2seq.experiments.study_table import ranked, report, shown_point, shown_score
from seq2seq.experiments.tune_settings import Settings
from seq2seq.storage.run_folder import LAST_NAME
from seq2seq.train import train

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

    def search() -> int:
        with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
            made = Search(Settings(args.overrides, args.config_dir))
            with opened(made.folder, maximise=made.config.training.monitor is not MonitorName.loss) as study:
                made.go_on(study)
                made.conclude(study)
        return OK

    try:
        return run_with_one_line_errors(search, "; the same command goes on with the search")
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise Seq2SeqError("the search needs Optuna: pip install 'optuna>=4'") from error


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="seq2seq-tune", usage="%(prog)s [--help] [--config-dir DIR] [KEY=VALUE]...", add_help=False
    )
    made.add_argument("overrides", nargs="*")
    made.add_argument("--help", "-h", action="store_true")
    made.add_argument("--config-dir", metavar="DIR")
    return made


class Search:
    """Trials, one after another."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.config = settings, settings.config
        folder, here = Path(self.config.tune.folder or f"runs/{self.config.data.name}/tune"), Path.cwd()
        self.folder = folder.relative_to(here) if folder.is_relative_to(here) else folder

    def go_on(self, study: Study) -> None:
        """Run trials until there are as many as asked for; first, one that a stop has left unfinished.

        Raises:
            ConfigError: the study is that of another search.
            Seq2SeqError: one trial after another fails.
        """
        settings = self.settings
        check_same(study, self.folder, *settings.same_in_all(but=process_keys()), settings.space)
        check_folder(study, self.folder)
        tune, failures = self.config.tune, 0
        if settings.own is None and not ended_trials(study):
            sys.stderr.write("the settings as given are not within the space: no trial has them\n")
        while (count := len(ended_trials(study))) < tune.trials:
            if tune.max_minutes is not None and minutes_spent(study, self.folder) >= tune.max_minutes:
                sys.stderr.write(f"tune.max_minutes={tune.max_minutes:g} are over: {count} of {tune.trials} trials\n")
                return
            trial = ask(study, self.folder, tune, settings.space, settings.own)
            if trial is None:
                sys.stderr.write(f"every point of the space is tried: {count} of {tune.trials} trials\n")
                return
            name = trial_folder(trial)
            sys.stderr.write(f"\n{name} ({count + 1} of {tune.trials}): {shown_point(trial.params)}\n")
            try:
                sys.stderr.write(f"{name}: {self._run(study, trial)}\n")
                failures = 0
            except (StorageError, DownloadError):  # of the machine: the trial goes on another time
                raise
            except Seq2SeqError as error:
                sys.stderr.write(f"error: {name}: {error}\n")
                fail(study, trial, str(error))
                failures += 1
                if failures == MOST_FAILURES:
                    raise Seq2SeqError(f"{failures} trials in a row have failed, the last one with: {error}") from error

    def conclude(self, study: Study) -> None:
        """Print the table and how to train with the best settings, on standard output.

        Raises:
            Seq2SeqError: all trials have failed.
        """
        report(study, self.folder, self.config.training.monitor, self.settings.space, self.settings.own)
        failed = [trial.user_attrs.get(ERROR) for trial in ended_trials(study)]
        if failed and all(failed):
            raise Seq2SeqError(f"no trial has come to its end: {failed[0]}")
        if best := ranked(study)[:1]:
            run = shlex.quote(str(self.folder / trial_folder(best[0])))
            command = shlex.join(self.settings.command(best[0].params))
            sys.stdout.write(f"\nBest model so far: {run}\n  python -m seq2seq.evaluate {run}\n")
            sys.stdout.write(f"To train with these settings:\n  python -m seq2seq.train {command}\n")

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
        config = self.settings.of(trial.params)
        resumes = (folder / LAST_NAME).is_file()
        if folder.is_dir() and not resumes:
            shutil.rmtree(folder)  # an attempt that has saved nothing
        folder.mkdir(exist_ok=True)
        watcher = Watcher(trial, config, folder)
        try:
            train(config, RunContext(folder, resumes, []), watcher, tested=False)
        except Pruned:
            study.tell(trial, state=TrialState.PRUNED)
            return f"pruned after {watcher.count} validations: the best of most others was better by then"
        best = watcher.best()
        study.tell(trial, best)
        first = ranked(study)[0].number == trial.number
        return f"validation {shown_score(best, config.training.monitor)}" + (", the best so far" if first else "")


if __name__ == "__main__":
    main()

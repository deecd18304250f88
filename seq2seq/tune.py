"""Search hyper-parameters by many short training runs: `python -m seq2seq.tune --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir

from seq2seq.cli.exit_status import OK, run
from seq2seq.cli.hydra_errors import composing, run_with_one_line_errors
from seq2seq.cli.override_paths import full_paths
from seq2seq.cli.process_options import CommandParser, path_type
from seq2seq.cli.resume import RunContext, process_keys
from seq2seq.cli.yaml_errors import Composition
from seq2seq.config.help import help_text
from seq2seq.config.loading import config_dir, register_schema
from seq2seq.config.schema import Config
from seq2seq.config.training import MonitorName
from seq2seq.errors import Seq2SeqError
from seq2seq.experiments.pruning import PruningCallback
from seq2seq.experiments.search import Search
from seq2seq.experiments.study import open_study
from seq2seq.experiments.study_settings import StudySettings
from seq2seq.storage.run_lock import folder_held
from seq2seq.train import run_training

INTRO = """\
usage: python -m seq2seq.tune [GROUP=OPTION | KEY=VALUE | KEY=SWEEP]...

Runs a hyper-parameter search: many short training runs, the trials. Keys with a sweep are searched, and so are those of
tune.space, a list that experiment=tune fills; all other keys are the same in every trial. Sweeps:
  KEY=choice(A,B) or KEY=A,B           A or B; KEY may be a group
  KEY=interval(0,0.5)                  a number in this interval, an integer if the key takes integers
  KEY=tag(log,interval(1e-4,1e-2))     the same, uniform in its logarithm
  KEY=range(1,4), KEY=range(64,257,64) 1, 2, 3; 64, 128, 192, 256
  KEY='${OTHER}'                       not a sweep: KEY copies the value drawn for OTHER
The study and the runs are stored in tune.folder. The same command continues a search that was stopped, or whose
tune.trials was raised.
  --config-dir DIR add a folder with your own config groups
"""


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run(lambda: tune(sys.argv[1:]), completes=True))


def tune(arguments: Sequence[str]) -> int:
    """Search as the command line describes, print the result and return the exit status.

    Raises:
        Seq2SeqError: invalid input or settings.
    """
    register_schema()
    args = _parser().parse_intermixed_args(full_paths(arguments))
    if args.help:
        sys.stdout.write(help_text(INTRO))
        return OK
    try:
        return run_with_one_line_errors(
            lambda: _search(args.overrides, args.config_dir), "; the same command continues the search"
        )
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise Seq2SeqError("the search needs Optuna: pip install 'optuna>=4'") from error


def _search(overrides: Sequence[str], extra_config_dir: str | None) -> int:
    folders = [] if extra_config_dir is None else [Path(extra_config_dir)]
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        with composing(Composition(overrides, folders)):
            settings = StudySettings(overrides, extra_config_dir)
        config = settings.config
        search = Search(settings, _study_folder(config), _train_trial)
        with open_study(search.folder, maximise=config.training.monitor is not MonitorName.loss) as study:
            search.run_trials(study, ignored=process_keys())
            search.print_result(study)
    return OK


def _study_folder(config: Config) -> Path:
    """Return tune.folder, relative to the working directory if it is below."""
    folder, here = Path(config.tune.folder or f"runs/{config.data.name}/tune"), Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _train_trial(config: Config, folder: Path, resumes: bool, callback: PruningCallback) -> None:
    with folder_held(folder, "tune.folder"):
        run_training(config, RunContext(folder, resumes), callback, test=False)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="seq2seq-tune", usage="%(prog)s [--help] [--config-dir DIR] [KEY=VALUE]...", add_help=False
    )
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--config-dir", metavar="DIR", type=path_type)
    return parser


if __name__ == "__main__":
    main()

"""The corpus that a model was trained on, as its file describes it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.data.corpus import ParallelText


def corpus_config(name: str, otherwise: str) -> DataConfig:
    """Return the data config of a model.

    Of the paths in a model file, those outside its folder are used only if the config.yaml of its run folder has them:
    the file may be another user's.

    Args:
        name: model file or run folder.
        otherwise: what the user can give in place of the corpus, for the error.

    Raises:
        ConfigError: the corpus is text files whose paths may not be used.
        ModelFileError: as `storage.model_file.read_config`.
    """
    from seq2seq.config.data import DataName
    from seq2seq.config.loading import with_known_paths
    from seq2seq.data.reading import is_given
    from seq2seq.storage.model_file import find_model, read_config
    from seq2seq.storage.run_folder import CONFIG_NAME, run_of

    model = find_model(Path(name))
    run = run_of(model)
    data = with_known_paths(read_config(model), model.parent, run and run / CONFIG_NAME).data
    if data.name is DataName.files and not (is_given(data.train) or is_given(data.test) or data.test_datasets):
        raise ConfigError(
            f"{model} is not in its run folder, and paths outside the folder of a model file are not read: give "
            f"{otherwise}"
        )
    return data


def corpus_tests(args: argparse.Namespace, models: Sequence[str]) -> dict[str, list[list[str]]]:
    """Return the test sets, sources and references, of the corpus that the first model was trained on.

    Raises:
        ConfigError: `--data-root` for a corpus that is not read from a folder, or text files outside the folder.
        DataError: a test set is drawn from training text that changed.
    """
    from seq2seq.config.data import DataName
    from seq2seq.data.corpora.load import load_tests

    data = corpus_config(models[0], "--src FILE --ref FILE")
    if args.data_root is not None and data.name in (DataName.files, DataName.grammar):
        raise ConfigError(f"--data-root has no effect for a model trained on data={data.name.name}")
    given = {"root": args.data_root, "cache_dir": args.cache_dir}
    data = dataclasses.replace(data, **{name: value for name, value in given.items() if value is not None})
    tests = load_tests(data)
    for name in models:
        check_held_out(name, tests)
    tests = {name: text for name, text in tests.items() if args.tgt_lang in (None, data.of_test(name).tgt)}
    if not tests:
        raise ConfigError(f"--tgt-lang {args.tgt_lang}: the corpora of the model have no test set of this language")
    return {name: [list(text.src), list(text.tgt)] for name, text in tests.items()}


def check_held_out(model: str, tests: Mapping[str, ParallelText]) -> None:
    """Check that the test sets drawn from the training text are those that the model did not see in training.

    Raises:
        DataError: another set is drawn, which may contain training pairs of the model.
    """
    from seq2seq.storage.model_file import read_training_text
    from seq2seq.storage.provenance import text_fingerprint

    held_out = read_training_text(Path(model)).held_out
    for name, text in tests.items():
        if held_out.get(name, "") not in ("", text_fingerprint(text)):
            raise DataError(
                f"{model}: the {name} set drawn from the training text now is not the one that the model held out, so "
                "it may contain training pairs: restore the text as it was, or give --src FILE --ref FILE"
            )

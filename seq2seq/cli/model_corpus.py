"""The corpus that a model was trained on, as its file describes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import ConfigError, Seq2SeqError

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig


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
    from seq2seq.data.files.reading import is_given
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


def corpus_files(name: str) -> list[str]:
    """Return the files of the corpus of a model, which no output may replace; none if they are not known."""
    from seq2seq.cli.output_file import data_files

    try:
        return data_files(corpus_config(name, ""))
    except Seq2SeqError:  # whoever reads the corpus says why
        return []

"""The manifest of an output folder: all that its files depend on, so that a restart never mixes two translations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2seq.cli.made_with import changed_settings, write_settings
from seq2seq.errors import ConfigError

MANIFEST_NAME = "manifest.json"


def open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Create the folder with its manifest, or check that a folder that exists was made with the same settings.

    Raises:
        ConfigError: it was made with others, or has files but no manifest.
        StorageError: it cannot be written.
    """
    path = folder / MANIFEST_NAME
    if path.exists():
        try:
            different = changed_settings(path, settings)
        except ValueError as error:
            raise ConfigError(f"{path} is damaged: name another --output, or remove the folder") from error
        if different:
            raise ConfigError(
                f"{folder} was made with other {', '.join(different)}: name another --output, or remove the folder"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} has files, but not of this command: name another --output")
    write_settings(path, settings)

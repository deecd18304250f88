"""The manifest of an output folder: all that its files depend on, so that a restart never mixes two translations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seq2seq.atomic_files import write_atomically
from seq2seq.errors import ConfigError

MANIFEST_NAME = "manifest.json"


def open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Create the folder with its manifest, or check that a folder that exists was made with the same settings.

    Raises:
        ConfigError: it was made with others, or has files but no manifest.
        StorageError: it cannot be written.
    """
    path = folder / MANIFEST_NAME
    settings = json.loads(json.dumps(settings, default=str))
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            different = sorted(key for key in {**before, **settings} if before.get(key) != settings.get(key))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} is damaged: name another --output, or remove the folder") from error
        if different:
            raise ConfigError(
                f"{folder} was made with other {', '.join(different)}: name another --output, or remove the folder"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} has files, but not of this command: name another --output")
    text = json.dumps(settings, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

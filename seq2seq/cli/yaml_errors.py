"""Mistakes in a user's own YAML files, as one line: file, line, reason."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config.error_messages import explain
from seq2seq.config.field import is_group, walk
from seq2seq.config.loading import config_dir
from seq2seq.config.schema import Config

BOM = "\ufeff"
GROUPS = tuple(key for key, field in walk(Config) if is_group(field))
HEADER = "# @package _global_"


@dataclass(frozen=True)
class Composition:
    """What Hydra composes: the overrides of a command, and the folders of further config files."""

    overrides: Sequence[str] = ()
    folders: Sequence[Path] = field(default_factory=list)

    def explain(self, error: BaseException) -> str | None:
        """Return file, line and reason if the error is a mistake in a YAML file that can be located, else None."""
        for cause in _chain(error):
            if isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark:
                return _syntax(cause)
            if isinstance(cause, yaml.reader.ReaderError | UnicodeDecodeError | RecursionError):
                return next(filter(None, map(_unreadable, self._all_files())), None)
        name = re.search(r"\b[Ii]n '([^']+)'", str(error))
        if name is None:
            return self._without_name(str(error))
        file = self._file(name[1])
        if file is None or file.is_relative_to(config_dir()):
            return self._of_defaults(str(error))
        return self._wrong_content(file, error)

    def locate(self, message: str) -> str:
        """Return the message of a key with a wrong value, after the file and line that set it, if a file did."""
        key = re.match(r"([a-z0-9_]+(?:\.[a-z0-9_]+)+)(?:=|: )", message)
        if key is None or any(re.match(rf"\+*{re.escape(key[1])}=", override) for override in self.overrides):
            return message
        for file in self._named_files():
            if line := _line_of_key(file, key[1]):
                return f"{_short(file)}, line {line}: {message}"
        return message

    def _without_name(self, message: str) -> str | None:
        """Return the place and reason of the errors in which Hydra names neither a file nor a key."""
        if "Config group override must be" in message:
            null = next((o for o in self.overrides if re.fullmatch(r"[\w/]+=(null)?", o)), "an override of a group")
            return f"{null}: name a file of the group, or leave it out"
        file = next(self._named_files(), None)
        if file is not None and ("in defaults" in message or "key type" in message):
            return f"{_short(file)}: {message.splitlines()[0]}"
        return None

    def _wrong_content(self, file: Path, error: BaseException) -> str:
        text = file.read_text(encoding="utf-8")
        content, place = yaml.safe_load(text), _short(file)
        if content is None:
            return f"{place}: the file is empty; write KEY: VALUE lines"
        if not isinstance(content, dict):
            kind = "a list" if isinstance(content, list) else "one value"
            return f"{place}, line 1: the file is {kind}; write KEY: VALUE lines"
        if text.startswith(BOM):
            return f"{place}, line 1: a byte-order mark hides the first line; save the file as UTF-8 without it"
        if file.parent.name == "experiment" and HEADER not in text[:512].splitlines():
            return f"{place}, line 1: write `{HEADER}` there: without it an experiment sets no key of the config"
        if in_defaults := self._of_defaults(str(error)):
            return in_defaults
        for cause in _chain(error):
            if isinstance(cause, OmegaConfBaseException):
                key = cause.full_key or cause.key or next((key for key in GROUPS if _is_wrong(content.get(key))), "")
                line = _line_of_key(file, str(key))
                return f"{place}{f', line {line}' if line else ''}: {explain(cause)}"
        return f"{place}: {str(error).splitlines()[0]}"

    def _of_defaults(self, message: str) -> str | None:
        """Return the place and reason of an entry of a defaults list that names nothing."""
        missing = re.search(r"Could not (?:find|load|override) '([^']+)'", message)
        listed = "defaults must be a list" in message
        for file in self._named_files() if missing or listed else ():
            for key, value, line in _defaults(file):
                group = key.split(" ")[-1].strip("/")
                if listed or (
                    missing and missing[1] in (value, f"{group}/{value}", f"{file.parent.name}/{value}", group)
                ):
                    reason = " ".join(message.partition("Config search path")[0].split())
                    return f"{_short(file)}, line {line}: " + re.sub("^In '[^']+': ", "", reason)
        return None

    def _file(self, name: str) -> Path | None:
        files = (folder / f"{name}.yaml" for folder in [*self.folders, Path(config_dir())])
        return next(filter(Path.is_file, files), None)

    def _named_files(self) -> Iterator[Path]:
        """Yield the files in the further folders that an override GROUP=NAME names."""
        for override in self.overrides:
            group, _, names = override.partition("=")
            for name in names.strip("[]").split(","):
                file = self._file(f"{group.lstrip('+')}/{name}")
                if file is not None and not file.is_relative_to(config_dir()):
                    yield file

    def _all_files(self) -> Iterator[Path]:
        yield from self._named_files()
        for folder in self.folders:
            yield from sorted(folder.rglob("*.yaml"))


def _is_wrong(group: object) -> bool:
    return group is not None and not isinstance(group, dict)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and the errors it came from: Hydra raises some without `from`."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _short(file: Path) -> str:
    """Return the path relative to the working directory if the file is below it."""
    file, here = Path(os.path.abspath(file)), Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    mark, opened = error.problem_mark, error.context_mark
    assert mark is not None
    reason = str(error.problem)
    if "'\\t'" in reason:
        reason = "a tab; indent with spaces"
    elif opened is not None and opened.line != mark.line:
        reason = f"{reason} ({error.context}, which began in line {opened.line + 1})"
    return f"{_short(Path(mark.name))}, line {mark.line + 1}: {reason}"


def _unreadable(file: Path) -> str | None:
    """Return why a file is not YAML text; None if it is."""
    data = file.read_bytes() if file.is_file() else b""
    try:
        text = data.decode("utf-8")
        yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"{_short(file)}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return f"{_short(file)}, line {line}: the character {chr(error.character)!r} is not allowed in YAML"
    except RecursionError:
        return f"{_short(file)}: too many brackets inside each other"
    except yaml.YAMLError:
        return None
    return None


def _defaults(file: Path) -> Iterator[tuple[str, str, int]]:
    """Yield key, value and line of each entry of the defaults list; an entry that is only a name has no key."""
    root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value != "defaults":
            continue
        entries = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for entry in entries:
            pairs = entry.value if isinstance(entry, yaml.MappingNode) else [(None, entry)]
            for group, option in pairs:
                yield (group.value if group else ""), str(option.value), entry.start_mark.line + 1


def _line_of_key(file: Path, key: str) -> int | None:
    """Return the line that sets a key, None if the file does not set it."""
    root, parts = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), key.split(".")
    for start in range(len(parts)):  # a file of a group has its keys without the name of the group
        node, line = root, None
        for part in parts[start:]:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            found = next(((name, value) for name, value in pairs if name.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        else:
            return line
    return None

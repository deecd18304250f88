"""Text that OmegaConf and Hydra take as it is: without interpolation, and quoted for Hydra's override grammar."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def literal(value: Any) -> Any:
    r"""Return `value` with `${` escaped in every string, through nested dictionaries and lists.

    OmegaConf resolves `${oc.env:NAME}` in any string of a config. A stored config is data, perhaps of another user, and
    a path may contain `${`: both must stay as they are.
    """
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return _double_backslashes(r"\$\{", value, then="\\") if isinstance(value, str) else value


def quoted(text: str) -> str:
    """Return `text` as a value of Hydra's override grammar that stands for exactly this text."""
    escaped = _double_backslashes(r"'", literal(text), then="\\")
    return "'" + _double_backslashes(r"\Z", escaped) + "'"


def quoted_tags(overrides: Iterable[str]) -> list[str]:
    """Return the overrides with `<BT>` and the like in quotes, which Hydra's grammar needs and shells remove."""
    return [_quoted_tags(override) for override in overrides]


def _quoted_tags(override: str) -> str:
    key, equals, value = override.partition("=")
    if "'" in value or '"' in value:
        return override
    return key + equals + re.sub(r"<[^<>,\[\]{}()]*>(?: +<[^<>,\[\]{}()]*>)*", lambda tags: quoted(tags[0]), value)


def _double_backslashes(before: str, text: str, then: str = "") -> str:
    """Double the backslashes in front of the pattern `before`, and write `then` after them."""
    return re.sub(rf"(\\*)({before})", lambda match: match[1] * 2 + then + match[2], text)

"""Scale the work of a test: short in `make test`, full in `make test-long`."""

import os

LONG = os.environ.get("SEQ2SEQ_LONG", "") not in ("", "0")


def scaled(short: int, full: int) -> int:
    """Return `full` under `make test-long` (SEQ2SEQ_LONG=1), otherwise `short`."""
    return full if LONG else short

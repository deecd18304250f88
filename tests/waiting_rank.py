"""One rank of a group whose rank 0 prepares data for longer than the limit of a collective.

tests/e2e/test_distributed.py starts it. Each rank prints WAITED at its end.
"""

from __future__ import annotations

import time
from datetime import timedelta

from seq2seq.training import distributed

LIMIT_SEC, PREPARATION_SEC = 3.0, 5.0


def main() -> None:
    """Prepare, then compare a value."""
    distributed.TIMEOUT = timedelta(seconds=LIMIT_SEC)
    with distributed.joined_group() as group:
        with group.local_main_first():
            if group.is_main:
                time.sleep(PREPARATION_SEC)
        group.check_same("a", "value")
    print("WAITED")

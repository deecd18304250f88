"""The number of files that this process may have open: each shard of encoded pairs that is mapped takes two."""

from __future__ import annotations

import contextlib
import errno
import functools
from pathlib import Path

from seq2seq.errors import StorageError

ENOUGH = 8192  # macOS allows no more than 10,240


@functools.cache
def allow_many() -> None:
    """Raise the limit of this process as far as the system lets it; Windows has none."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_limit(error: Exception, path: Path) -> None:
    """Raise StorageError if `path` cannot be opened because too many files are: that is no damage."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise StorageError(f"{path}: too many open files: raise their limit (ulimit -n {ENOUGH})") from error

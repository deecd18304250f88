"""Download one file over HTTP: lost connections are retried, and a partial file is continued.

The part that has arrived stays on the disk, with the ETag or date of the file that it belongs to. The rest is asked for
with If-Range, so that two versions of a file are never joined; a server that ignores this sends the whole file again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

log = logging.getLogger(__name__)

CHUNK = 2**16
MAX_REDIRECTS = 10
MAX_WAIT_SEC = 60.0
PROGRESS_BYTES = 2**20
"""A connection that brought as much before it was lost is not counted as a failure."""
TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
PERMANENT_ERRORS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.SSLError,
    requests.exceptions.TooManyRedirects,
)
LENGTH = re.compile("[0-9]{1,18}")


class InsecureRedirectError(requests.exceptions.TooManyRedirects):
    """A server redirects from https to a connection that anybody may read and change."""


class Session(requests.Session):
    """A session that follows few redirects, none of them from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = MAX_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the URL of a redirect; raises InsecureRedirectError."""
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https" and urlsplit(urljoin(resp.url, target)).scheme != "https":
            raise InsecureRedirectError(f"it redirects to {urljoin(resp.url, target)}, which is not https")
        return target


class ResumingDownloader:
    """A downloader for pooch, which continues the partial file `part`.

    Args:
        part: where the file grows; it is moved to the output file when it is complete.
        retries: attempts after the first without progress.
        timeout_sec: longest wait for a connection, and for the next bytes.
        backoff_sec: wait before the first retry; it doubles with every further one.
    """

    def __init__(self, part: Path, *, retries: int, timeout_sec: float, backoff_sec: float = 0.5) -> None:
        self._part = part
        self._state = part.with_name(f"{part.name}.json")
        self._retries = retries
        self._timeout_sec = timeout_sec
        self._backoff_sec = backoff_sec

    def __call__(self, url: str, output_file: str | Path, pooch: object, check_only: bool = False) -> None:
        """Download `url` to `output_file`.

        Raises:
            RequestException: the server refuses the file, or the connection is lost repeatedly.
            OSError: the file cannot be written, for example because the disk is full.
        """
        failures = 0
        with Session() as session:
            while True:
                size = self._size()
                try:
                    self._attempt(session, url)
                    break
                except requests.exceptions.RequestException as error:
                    failures = 1 if self._size() - size >= PROGRESS_BYTES else failures + 1
                    if failures > self._retries or not _is_temporary(error):
                        raise
                    wait = _wait_sec(error, self._backoff_sec * 2 ** (failures - 1))
                    log.info("%s: next try in %g s", redacted(str(error)), wait)
                    time.sleep(wait)
        os.replace(self._part, output_file)
        self._state.unlink(missing_ok=True)

    def _attempt(self, session: requests.Session, url: str) -> None:
        known = self._known(url)
        offset = self._size() if known else 0
        headers = {"Accept-Encoding": "identity"}  # .gz files as they are, and offsets that count their bytes
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": known["validator"]}
        with session.get(url, headers=headers, stream=True, timeout=self._timeout_sec) as response:
            if offset and (response.status_code == 416 or not _continues(response, offset, known)):
                self._forget()
                response.close()
                self._attempt(session, url)
                return
            response.raise_for_status()
            if response.status_code == 200:
                offset = 0
            elif not (offset and response.status_code == 206):
                answer = f"{response.status_code} {response.reason or ''}".strip()
                raise requests.exceptions.HTTPError(f"the answer is {answer}, without the file", response=response)
            size = _whole_size(response, known) if offset else self._remember(response, url)
            self._write(response, offset, size)

    def _write(self, response: requests.Response, offset: int, size: int | None) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped]

        free = shutil.disk_usage(self._part.parent).free
        if size is not None and size - offset > free:
            raise OSError(f"it has {size:,} bytes, and {free:,} bytes are free in {self._part.parent}")
        progress = tqdm(
            total=size, initial=offset, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
        )
        problem = ""
        with open(self._part, "ab" if offset else "wb") as file, progress:
            try:
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    progress.update(len(chunk))
            except urllib3.exceptions.ReadTimeoutError:
                problem = f"no more data for {self._timeout_sec:g} s"
            except urllib3.exceptions.HTTPError:
                problem = "the connection was lost"
        if problem or self._size() != (self._size() if size is None else size):
            arrived = f"{self._size():,}" + ("" if size is None else f" of {size:,}")
            raise requests.exceptions.ConnectionError(f"{problem or 'the file is incomplete'} after {arrived} bytes")

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _known(self, url: str) -> dict[str, Any]:
        """Return validator and size of the file whose part is on the disk; {} if that is not known."""
        with contextlib.suppress(OSError, ValueError):
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if (
                isinstance(state, dict)
                and state.get("url") == redacted(url)
                and isinstance(state.get("validator"), str)
            ):
                return state
        return {}

    def _remember(self, response: requests.Response, url: str) -> int | None:
        """Store what identifies the file, if the server says it; return its size."""
        length = response.headers.get("Content-Length", "")
        size = int(length) if LENGTH.fullmatch(length) else None
        self._forget()
        if validator := _validator(response):
            state = {"url": redacted(url), "validator": validator, "size": size}
            self._state.write_text(json.dumps(state), encoding="utf-8")
        return size

    def _forget(self) -> None:
        self._state.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)


def redacted(text: str) -> str:
    """Return `text` without the user names and passwords of the URLs in it."""
    return re.sub(r"//[^/\s]*@", "//", text)


def content_length(url: str, timeout_sec: float) -> int | None:
    """Return the size that a server states for a file, without downloading it; None if it states none."""
    with contextlib.suppress(requests.exceptions.RequestException), _head(url, timeout_sec) as response:
        length = response.headers.get("Content-Length", "")
        if response.status_code == 200 and LENGTH.fullmatch(length):
            return int(length)
    return None


@contextlib.contextmanager
def _head(url: str, timeout_sec: float) -> Iterator[requests.Response]:
    headers = {"Accept-Encoding": "identity"}
    with (
        Session() as session,
        session.head(url, headers=headers, timeout=timeout_sec, allow_redirects=True) as response,
    ):
        yield response


def _continues(response: requests.Response, offset: int, known: dict[str, Any]) -> bool:
    """Return False if the response is a part that does not follow the part on the disk."""
    if response.status_code != 206:
        return True  # the whole file, or an error
    span = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", response.headers.get("Content-Range", ""))
    sizes = {"*", str(known.get("size"))} if known.get("size") is not None else None
    return (
        span is not None
        and int(span[1]) == offset
        and (sizes is None or span[2] in sizes)
        and (_validator(response) in (None, known["validator"]))
    )


def _whole_size(response: requests.Response, known: dict[str, Any]) -> int | None:
    """Return the size of the file whose part is the response, which may end before the file does."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    size: int | None = int(total) if LENGTH.fullmatch(total) else known.get("size")
    return size


def _validator(response: requests.Response) -> str | None:
    """Return the header that changes with the file; a weak ETag may stay the same."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _is_temporary(error: Exception) -> bool:
    response = getattr(error, "response", None)
    return not isinstance(error, PERMANENT_ERRORS) and (response is None or response.status_code in TEMPORARY)


def _wait_sec(error: Exception, backoff_sec: float) -> float:
    """Return the wait before the next attempt; a busy server may ask for a longer one."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(MAX_WAIT_SEC, max(backoff_sec, float(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else 0.0))

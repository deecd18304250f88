"""Download corpora into the cache folder, once, and check them against a SHA-256: pinned, or of the first download.

Downloaded code is never executed; archives are only read.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.data.files.file_digest import sha256
from seq2seq.errors import DownloadError
from seq2seq.filesystem.atomic_files import part_folder, write_atomically
from seq2seq.filesystem.file_locks import locked

if TYPE_CHECKING:
    from seq2seq.data.files.http_download import ResumingDownloader

log = logging.getLogger(__name__)

TIMEOUT_SEC = 30.0
RETRIES = 3


def cache_dir(configured: str | None) -> Path:
    """Return the folder of downloads and prepared data: as configured, else data/ in a checkout, else a user cache."""
    if configured:
        return Path(configured).expanduser()
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    import platformdirs

    return Path(platformdirs.user_cache_dir("seq2seq"))


def fetch_sdist(
    project: str, version: str, digest: str, folder: Path, *, alternatives: str, index: str | None = None
) -> Path:
    """Return the source distribution of a Python package; download it if `folder` has no intact copy.

    Args:
        project: name of the package.
        version: of the package.
        digest: SHA-256 of the file, in hexadecimal.
        folder: where the file is kept.
        alternatives: what the user can do without the download; the end of the error message.
        index: URL of the simple index; default: PIP_INDEX_URL if set (users behind a mirror), else PyPI.

    Raises:
        DownloadError: the file cannot be downloaded or has a different digest.
    """
    target = folder / f"{project}-{version}.tar.gz"
    if _intact(target, digest):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{target.name}.lock", wait=True):
            if not _intact(target, digest):  # else another process has downloaded it meanwhile
                log.info("downloading %s %s to %s", project, version, folder)
                _download_sdist(project, version, digest, target, index)
    except Exception as error:  # requests, urllib3, pypi_simple and the file system have no common base class
        raise _failure(f"{project} {version}", error, alternatives) from error
    return target


def _download_sdist(project: str, version: str, digest: str, target: Path, index: str | None) -> None:
    import requests
    from pypi_simple import PyPISimple
    from urllib3.util import Retry

    endpoint = index or os.environ.get("PIP_INDEX_URL")
    session = requests.Session()
    retry = Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
    with (
        PyPISimple(session=session, **({"endpoint": endpoint} if endpoint else {})) as client,
        part_folder(target.parent) as temporary,
    ):
        page = client.get_project_page(project, timeout=TIMEOUT_SEC)
        sdists = [p for p in page.packages if p.package_type == "sdist" and p.version == version]
        if not sdists:
            raise ValueError("the index lists no such source distribution")
        part = temporary / "part"
        _downloader(temporary)(sdists[0].url, part, None)
        if (actual := sha256(part)) != digest:
            raise ValueError(f"its SHA-256 is {actual}, expected {digest}")
        os.replace(part, target)


def fetch_files(base_url: str, digests: Mapping[str, str], folder: Path, *, alternatives: str) -> None:
    """Download the files of `base_url` that are missing or damaged in `folder`.

    Args:
        base_url: prefix of the file names.
        digests: file name -> SHA-256, in hexadecimal.
        folder: where the files are kept.
        alternatives: what the user can do without the download; the end of the error message.

    Raises:
        DownloadError: a file cannot be downloaded or has a different digest.
    """
    if all(_intact(folder / name, digest) for name, digest in digests.items()):
        return
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / "download.lock", wait=True))
            temporary = held.enter_context(part_folder(folder))
        except OSError as error:
            raise _failure(base_url, error, alternatives) from error
        # Another process may have downloaded some meanwhile.
        missing = [name for name, digest in digests.items() if not _intact(folder / name, digest)]
        if missing:
            log.info("downloading %d files to %s", len(missing), folder)
            _download_files(base_url, {name: digests[name] for name in missing}, temporary, folder, alternatives)


def _download_files(
    base_url: str, digests: Mapping[str, str], temporary: Path, folder: Path, alternatives: str
) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")
    store = pooch.create(temporary, base_url, registry=dict(digests))
    downloader = _downloader(temporary)
    for name in digests:
        try:
            os.replace(store.fetch(name, downloader=downloader), folder / name)
        except Exception as error:  # as above
            raise _failure(store.get_url(name), error, alternatives) from error


def fetch(url: str, target: Path, *, alternatives: str) -> Path:
    """Return `target`, a file downloaded from `url`; download it if there is no intact copy.

    The first download is recorded in TARGET.json (URL, SHA-256, size, date), and later ones must equal it. A download
    that was interrupted is continued, also by another process.

    Args:
        url: of the file.
        target: where it is kept.
        alternatives: what the user can do without the download; the end of the error message.

    Raises:
        DownloadError: the file cannot be downloaded, or is not the recorded one.
    """
    from seq2seq.data.files.http_download import redacted

    record = target.with_name(f"{target.name}.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{target.name}.lock"), wait=True):
            known = _recorded(record)
            if target.is_file():  # a file without a record was put there by the user
                digest = sha256(target)
                if digest == known.get("sha256", digest):
                    _record(record, known, url, digest, target)
                    return target
            log.info("downloading %s to %s", redacted(url), target.parent)
            _download(url, target, record, known)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise _failure(url, error, alternatives) from error
    return target


def _download(url: str, target: Path, record: Path, known: dict[str, str]) -> None:
    import pooch

    from seq2seq.data.files.http_download import redacted

    pooch.get_logger().setLevel("ERROR")
    with part_folder(target.parent) as temporary:
        downloader = _downloader(target.parent, f".{target.name}.part")
        new = Path(pooch.retrieve(url, None, fname="file", path=temporary, downloader=downloader))
        digest = sha256(new)
        if digest != known.get("sha256", digest):
            raise DownloadError(
                f"{redacted(url)} has changed: its SHA-256 is {digest}, it was {known['sha256']} on "
                f"{known.get('date', 'the first download')}; to use the new file, remove {record}"
            )
        _record(record, known, url, digest, new)
        os.replace(new, target)


def _recorded(record: Path) -> dict[str, str]:
    """Return the record of the first download; {} if there is none."""
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(record.read_text(encoding="utf-8"))
        if isinstance(known, dict) and isinstance(known.get("sha256"), str):
            return known
    return {}


def _record(record: Path, known: dict[str, str], url: str, digest: str, file: Path) -> None:
    from seq2seq.data.files.http_download import redacted

    if not known:
        date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        content = {"url": redacted(url), "sha256": digest, "size": file.stat().st_size, "date": date}
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(record, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _downloader(folder: Path, part: str = "downloading") -> ResumingDownloader:
    from seq2seq.data.files.http_download import ResumingDownloader

    return ResumingDownloader(folder / part, retries=RETRIES, timeout_sec=TIMEOUT_SEC)


def _intact(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and sha256(path) == digest
    except OSError:  # not readable: downloaded again
        return False


def _failure(name: str, error: Exception, alternatives: str) -> DownloadError:
    from seq2seq.data.files.http_download import redacted

    cause = getattr(error.args[0], "reason", error) if error.args else error  # requests wraps it in three layers
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    reason = " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(error).__name__
    return DownloadError(redacted(f"could not download {name}: {place}{reason}; {alternatives}"))

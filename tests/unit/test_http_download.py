"""Downloads that are interrupted, redirected, stalled or changed: the file is complete and right, or one clear line."""

import gc
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local_server import Reply, Site, serving
from seq2seq.data.files import download
from seq2seq.data.files.download import fetch
from seq2seq.data.files.http_download import ResumingDownloader, Session, content_length, redacted
from seq2seq.errors import DownloadError

# urllib3 leaves the socket of a stalled or cut reply to the collector; `quick` collects it while this filter holds.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")

A = b"first version " * 20_000
B = b"other version " * 20_000
HALF = len(A) // 2
ETAG = {"ETag": '"a"'}
DATE = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


def set_timeout(monkeypatch: pytest.MonkeyPatch, timeout_sec: float) -> None:
    def downloader(folder: Path, part: str = "part") -> ResumingDownloader:
        return ResumingDownloader(folder / part, retries=2, timeout_sec=timeout_sec, backoff_sec=0.01)

    monkeypatch.setattr(download, "_downloader", downloader)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    set_timeout(monkeypatch, 5.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield
    gc.collect()


def get(site: Site, folder: Path, path: str = "/file.gz") -> bytes:
    return fetch(f"{site.url}{path}", folder / "kept.gz", alternatives="alternatives: none").read_bytes()


def get_fails(site: Site, folder: Path, path: str = "/file.gz") -> str:
    with pytest.raises(DownloadError) as caught:
        get(site, folder, path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("; alternatives: none")
    return message


@pytest.mark.parametrize("headers", [ETAG, DATE], ids=["ETag", "date"])
def test_a_lost_connection_is_continued(site: Site, tmp_path: Path, headers: dict[str, str]) -> None:
    site.pages["/file.gz"] = [Reply(A, headers=headers, cut=HALF), Reply(A, headers=headers, ranges=True)]
    assert get(site, tmp_path) == A
    assert site.requests[1][2:] == (f"bytes={HALF}-", *headers.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.gz", "kept.gz.json"]


def test_a_part_is_continued_by_a_later_process(site: Site, tmp_path: Path) -> None:
    site.pages["/file.gz"] = [
        Reply(A, headers=ETAG, cut=HALF),
        Reply(A, headers=ETAG, ranges=True, cut=10),
        Reply(A, headers=ETAG, ranges=True, cut=10),
        Reply(A, headers=ETAG, ranges=True),
    ]
    assert "the connection was lost after" in get_fails(site, tmp_path)
    assert get(site, tmp_path) == A
    assert site.requests[-1][2] == f"bytes={HALF + 20}-"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.gz", "kept.gz.json"]


@pytest.mark.parametrize(
    "second",
    [
        Reply(B, headers={"ETag": '"b"'}, ranges=True),
        Reply(B, headers={"ETag": '"b"'}, ranges=True, if_range=False),
        Reply(B[:-1], headers={}, ranges=True, if_range=False),
        Reply(B, headers=ETAG | {"Content-Range": "bytes 0-9/10"}, status=206),
        Reply(B[: HALF // 2], headers={"ETag": '"b"'}, ranges=True, if_range=False),
    ],
    ids=["If-Range honoured", "If-Range ignored", "another size", "another range", "shorter than the part"],
)
def test_two_versions_are_never_joined(site: Site, tmp_path: Path, second: Reply) -> None:
    whole = Reply(second.body, headers=second.headers if second.status == 200 else {"ETag": '"b"'}, ranges=True)
    site.pages["/file.gz"] = [Reply(A, headers=ETAG, cut=HALF), second, whole]
    assert get(site, tmp_path) == second.body


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "rest"])
@pytest.mark.parametrize(
    "reply", [Reply(B, 203), Reply(b"", 202), Reply(b"", 204), Reply(B, 226)], ids=lambda reply: str(reply.status)
)
def test_an_answer_without_the_file_is_not_stored(site: Site, tmp_path: Path, reply: Reply, cut: bool) -> None:
    site.pages["/file.gz"] = [*([Reply(A, headers=ETAG, cut=HALF)] if cut else []), reply]
    assert f"the answer is {reply.status} " in get_fails(site, tmp_path)
    assert not (tmp_path / "kept.gz").exists()
    assert not (tmp_path / "kept.gz.json").exists()


def test_a_range_that_ends_before_the_file_is_continued(site: Site, tmp_path: Path) -> None:
    some = Reply(A[HALF:-10], headers=ETAG | {"Content-Range": f"bytes {HALF}-{len(A) - 11}/{len(A)}"}, status=206)
    site.pages["/file.gz"] = [Reply(A, headers=ETAG, cut=HALF), some, Reply(A, headers=ETAG, ranges=True)]
    assert get(site, tmp_path) == A


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}], ids=["no validator", "weak ETag"])
def test_without_a_validator_the_file_is_read_anew(site: Site, tmp_path: Path, headers: dict[str, str]) -> None:
    site.pages["/file.gz"] = [Reply(A, headers=headers, cut=HALF), Reply(B, headers=headers, ranges=True)]
    assert get(site, tmp_path) == B
    assert site.requests[1][2] is None


def test_a_server_without_ranges_sends_everything_again(site: Site, tmp_path: Path) -> None:
    site.pages["/file.gz"] = [Reply(A, headers=ETAG, cut=HALF), Reply(A, headers=ETAG)]
    assert get(site, tmp_path) == A


def test_progress_is_no_failure(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.data.files.http_download.PROGRESS_BYTES", 1000)
    parts = [Reply(A, headers=ETAG, ranges=True, cut=len(A) // 8) for _ in range(8)]
    site.pages["/file.gz"] = [*parts, Reply(A, headers=ETAG, ranges=True)]
    assert get(site, tmp_path) == A
    assert len(site.requests) > 5  # more than the retries


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path, status: int) -> None:
    site.pages["/file.gz"] = [Reply(b"later", status, {"Retry-After": "0"}), Reply(A)]
    assert get(site, tmp_path) == A


@pytest.mark.parametrize(("status", "requests_sent"), [(404, 1), (403, 1), (500, 3)])
def test_an_error_status_is_named(site: Site, tmp_path: Path, status: int, requests_sent: int) -> None:
    site.pages["/file.gz"] = [Reply(b"no", status)]
    assert f": {status} " in get_fails(site, tmp_path)
    assert len(site.requests) == requests_sent
    assert not list(tmp_path.iterdir())


def test_a_stalled_connection_times_out_and_is_continued(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timeout(monkeypatch, 0.3)
    site.pages["/file.gz"] = [
        Reply(A, headers=ETAG, cut=HALF, stall_sec=1),
        Reply(A, headers=ETAG, ranges=True),
    ]
    assert get(site, tmp_path) == A
    site.pages["/slow"] = [Reply(A, cut=HALF, stall_sec=0.6)]
    (tmp_path / "kept.gz").unlink()
    assert "no more data for 0.3 s after" in get_fails(site, tmp_path, "/slow")


def test_a_length_that_is_too_large_is_an_incomplete_file(site: Site, tmp_path: Path) -> None:
    site.pages["/file.gz"] = [Reply(A, headers={"Content-Length": str(len(A) + 5)})]
    assert f"after {len(A):,} of {len(A) + 5:,} bytes" in get_fails(site, tmp_path)


def test_redirects_are_followed_but_not_in_a_loop(site: Site, tmp_path: Path) -> None:
    site.pages |= {
        "/file.gz": [Reply(status=302, headers={"Location": "/b"})],
        "/b": [Reply(status=301, headers={"Location": f"{site.url}/c"})],
        "/c": [Reply(A)],
        "/loop": [Reply(status=302, headers={"Location": "/loop"})],
    }
    assert get(site, tmp_path) == A
    (tmp_path / "kept.gz").unlink()
    assert "10 redirects" in get_fails(site, tmp_path, "/loop")
    assert len(site.requests) == 3 + 11


def test_a_redirect_to_an_insecure_or_other_protocol_is_refused(site: Site, tmp_path: Path) -> None:
    response = requests.Response()
    response.url, response.status_code, response.headers["location"] = "https://host/a", 302, "http://host/b"
    with pytest.raises(requests.exceptions.TooManyRedirects, match="not https"):
        Session().get_redirect_target(response)
    response.headers["location"] = "/b"
    assert Session().get_redirect_target(response) == "/b"
    (tmp_path / "secret").write_bytes(A)
    site.pages["/file.gz"] = [Reply(status=302, headers={"Location": f"file://{tmp_path}/secret"})]
    assert "file://" in get_fails(site, tmp_path)


def test_the_first_download_is_recorded_and_later_ones_must_equal_it(site: Site, tmp_path: Path) -> None:
    site.pages["/file.gz"] = [Reply(A)]
    get(site, tmp_path)
    record = json.loads((tmp_path / "kept.gz.json").read_text())
    assert record.pop("date").startswith("20")
    assert record == {"url": f"{site.url}/file.gz", "sha256": hashlib.sha256(A).hexdigest(), "size": len(A)}
    (tmp_path / "kept.gz").write_bytes(b"damaged")
    assert get(site, tmp_path) == A
    (tmp_path / "kept.gz").unlink()
    site.pages["/file.gz"] = [Reply(B)]
    with pytest.raises(DownloadError, match=r"has changed: its SHA-256 is .*, it was .* remove .*kept\.gz\.json"):
        get(site, tmp_path)
    assert not (tmp_path / "kept.gz").exists()
    (tmp_path / "kept.gz.json").unlink()
    assert get(site, tmp_path) == B


def test_an_intact_copy_needs_no_server(site: Site, tmp_path: Path) -> None:
    (tmp_path / "kept.gz").write_bytes(A)  # a user without network brought it
    assert get(site, tmp_path) == A
    assert not site.requests
    (tmp_path / "kept.gz").write_bytes(B)
    site.pages["/file.gz"] = [Reply(A)]
    assert get(site, tmp_path) == A


def test_a_password_is_sent_but_neither_printed_nor_recorded(site: Site, tmp_path: Path) -> None:
    site.pages |= {"/file.gz": [Reply(A)], "/gone": [Reply(b"", 403)]}
    for secret in ("hunter2", "hun@ter2"):
        hidden = Site(url=site.url.replace("//", f"//me:{secret}@"))
        assert secret not in get_fails(hidden, tmp_path, "/gone")
    assert get(Site(url=site.url.replace("//", "//me:hunter2@")), tmp_path) == A
    assert site.authorizations[-1] is not None
    assert "hunter2" not in (tmp_path / "kept.gz.json").read_text()
    assert redacted("no https://me:p@host/a@b and //x@y/z") == "no https://host/a@b and //y/z"


def test_a_full_disk_and_a_folder_without_permission_are_one_line(site: Site, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    site.pages["/file.gz"] = [Reply(A[:10], headers={"Content-Length": str(10**17)})]
    assert "bytes are free in" in get_fails(site, tmp_path)
    assert len(site.requests) == 1
    (tmp_path / "file").write_bytes(b"")
    assert "file" in get_fails(site, tmp_path / "file" / "folder")
    site.pages["/file.gz"] = [Reply(A)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # fails like a full disk, while the file is written
    try:
        assert "File too large" in get_fails(site, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert get(site, tmp_path) == A


def test_the_size_is_asked_for_without_a_download(site: Site) -> None:
    site.pages |= {"/a": [Reply(A)], "/r": [Reply(status=302, headers={"Location": "/a"})]}
    assert content_length(f"{site.url}/r", 5.0) == len(A)
    assert content_length(f"{site.url}/missing", 5.0) is None
    assert content_length("http://127.0.0.1:9/", 1.0) is None
    assert {method for method, *_ in site.requests} == {"HEAD"}


def test_a_range_that_was_not_asked_for_is_not_stored(site: Site, tmp_path: Path) -> None:
    site.pages["/file.gz"] = [Reply(A[:10], headers={"Content-Range": f"bytes 0-9/{len(A)}"}, status=206)]
    assert "the answer is 206 " in get_fails(site, tmp_path)

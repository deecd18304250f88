"""Downloads from a local server: an intact file is kept, every failure is one clear line."""

import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seq2seq.data.files import download
from seq2seq.data.files.download import cache_dir, fetch_files, fetch_sdist
from seq2seq.errors import DownloadError
from seq2seq.filesystem.atomic_files import part_folder
from seq2seq.filesystem.temporary_files import remove_abandoned_once

# pooch does not close its connection after an error status; `impatient` collects it while this filter holds.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")

CONTENT = b"the archive " * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ALTERNATIVES = "alternatives: data=grammar"
NAME = "tiny-1.0.tar.gz"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    type: str = "application/octet-stream"
    cut: int = 0  # bytes that Content-Length announces and the body lacks


@dataclass
class Server:
    """An HTTP server that sends the replies in `pages`; several replies to one path are sent in turn."""

    pages: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def reply(self, path: str) -> Reply:
        self.requests.append(path)
        replies = self.pages.get(path, [Reply(b"nothing here", 404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]


@pytest.fixture
def server() -> Iterator[Server]:
    site = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = site.reply(self.path)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.type)
            self.send_header("Content-Length", str(len(reply.body) + reply.cut))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        site.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(download, "RETRIES", 0)
    for name in ("PIP_INDEX_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield
    gc.collect()


HTML_PAGE = Reply(f'<html><body><a href="/files/{NAME}">{NAME}</a></body></html>'.encode(), type="text/html")
JSON_PAGE = Reply(
    json.dumps(
        {
            "meta": {"api-version": "1.0"},
            "name": "tiny",
            "files": [
                {"filename": "tiny-1.0-py3-none-any.whl", "url": "/files/wheel", "hashes": {}},
                {"filename": "tiny-0.9.tar.gz", "url": "/files/old", "hashes": {}},
                {"filename": NAME, "url": f"/files/{NAME}", "hashes": {"sha256": DIGEST}},
            ],
        }
    ).encode(),
    type=JSON_TYPE,
)


class Sdist:
    """Call `fetch_sdist` with the server's index."""

    path = f"/files/{NAME}"
    kept = NAME

    def __call__(self, server: Server, folder: Path) -> None:
        server.pages.setdefault("/simple/tiny/", [JSON_PAGE])
        fetch_sdist("tiny", "1.0", DIGEST, folder, alternatives=ALTERNATIVES, index=f"{server.url}/simple/")


class Files:
    """Call `fetch_files` with the server."""

    path = "/raw/one.gz"
    kept = "one.gz"

    def __call__(self, server: Server, folder: Path) -> None:
        fetch_files(f"{server.url}/raw/", {"one.gz": DIGEST}, folder, alternatives=ALTERNATIVES)


each_fetch = pytest.mark.parametrize("fetch", [Sdist(), Files()], ids=["sdist", "files"])


@each_fetch
def test_fetched_once_and_kept(server: Server, tmp_path: Path, fetch: Sdist | Files) -> None:
    server.pages[fetch.path] = [Reply(CONTENT)]
    fetch(server, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [fetch.kept]
    assert (tmp_path / "cache" / fetch.kept).read_bytes() == CONTENT
    before = list(server.requests)
    fetch(server, tmp_path / "cache")
    assert server.requests == before


@each_fetch
@pytest.mark.parametrize("damage", [CONTENT[:-1], b"", b"x" + CONTENT[1:]])
def test_a_damaged_copy_is_replaced(server: Server, tmp_path: Path, fetch: Sdist | Files, damage: bytes) -> None:
    server.pages[fetch.path] = [Reply(CONTENT)]
    (tmp_path / fetch.kept).write_bytes(damage)
    fetch(server, tmp_path)
    assert (tmp_path / fetch.kept).read_bytes() == CONTENT


@each_fetch
@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"something else"),
        Reply(CONTENT[:-5]),
        Reply(CONTENT[:5000], cut=len(CONTENT) - 5000),
        Reply(b"gone", 404),
        Reply(b"broken", 500),
    ],
    ids=["other content", "short", "connection cut", "404", "500"],
)
def test_a_bad_download_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, fetch: Sdist | Files, reply: Reply
) -> None:
    server.pages[fetch.path] = [reply]
    with pytest.raises(DownloadError) as caught:
        fetch(server, tmp_path)
    message = str(caught.value)
    assert message.startswith("could not download")
    assert message.endswith(ALTERNATIVES)
    assert "\n" not in message
    assert len(message) < 500
    assert not list(tmp_path.iterdir())


@each_fetch
def test_a_temporary_failure_is_retried(
    server: Server, tmp_path: Path, fetch: Sdist | Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RETRIES", 1)
    server.pages[fetch.path] = [Reply(b"later", 503), Reply(CONTENT)]
    fetch(server, tmp_path)
    assert server.requests.count(fetch.path) == 2


@each_fetch
def test_no_connection(tmp_path: Path, fetch: Sdist | Files) -> None:
    with pytest.raises(DownloadError, match="refused") as caught:
        fetch(Server(url="http://127.0.0.1:9"), tmp_path)
    assert len(str(caught.value)) < 200


@each_fetch
def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path, fetch: Sdist | Files) -> None:
    server.pages[fetch.path] = [Reply(CONTENT)]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="file"):
        fetch(server, tmp_path / "file" / "cache")


@pytest.mark.parametrize("page", [HTML_PAGE, JSON_PAGE], ids=["PEP 503", "PEP 691"])
def test_the_index_of_pip_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Reply) -> None:
    server.pages |= {"/mirror/tiny/": [page], Sdist.path: [Reply(CONTENT)]}
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/mirror")
    path = fetch_sdist("tiny", "1.0", DIGEST, tmp_path, alternatives=ALTERNATIVES)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (Reply(b"no", 404), "tiny"),
        (
            Reply(json.dumps({"meta": {"api-version": "1.0"}, "name": "tiny", "files": []}).encode(), type=JSON_TYPE),
            "no",
        ),
        (Reply(b"{", type=JSON_TYPE), ""),
        (Reply(b"?", type="image/png"), "image/png"),
    ],
    ids=["no project", "no file", "broken JSON", "no index"],
)
def test_an_index_without_the_project(server: Server, tmp_path: Path, page: Reply, message: str) -> None:
    server.pages["/simple/tiny/"] = [page]
    with pytest.raises(DownloadError, match=rf"could not download tiny 1\.0: .*{message}.*{ALTERNATIVES}"):
        Sdist()(server, tmp_path)


def test_a_password_in_the_url_is_not_in_the_message(server: Server, tmp_path: Path) -> None:
    secret = server.url.replace("//", "//me:hunter2@")
    server.pages["/simple/tiny/"] = [Reply(b"no", 403)]
    with pytest.raises(DownloadError) as caught:
        fetch_sdist("tiny", "1.0", DIGEST, tmp_path, alternatives=ALTERNATIVES, index=f"{secret}/simple/")
    assert "hunter2" not in str(caught.value)
    assert "403" in str(caught.value)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir("~/mine") == tmp_path / "mine"
    root = Path(download.__file__).resolve().parents[2]
    checkout = (root / "pyproject.toml").is_file()
    assert (cache_dir(None) == root / "data") == checkout
    monkeypatch.setattr(download, "__file__", str(tmp_path / "site-packages" / "seq2seq" / "data" / "download.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_dir(None).name == "seq2seq"
    assert cache_dir(None).is_relative_to(tmp_path)


@each_fetch
def test_leftovers_of_a_killed_download_are_removed(server: Server, tmp_path: Path, fetch: Sdist | Files) -> None:
    server.pages[fetch.path] = [Reply(CONTENT)]
    with part_folder(tmp_path) as own:
        process = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
        )
        left = tmp_path / own.name.replace(f".{os.getpid()}-", f".{process.stdout.strip()}-")  # of a process that ended
    left.mkdir()
    remove_abandoned_once.cache_clear()  # as in the next process
    fetch(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [fetch.kept]


@each_fetch
def test_a_second_process_waits_and_downloads_nothing(server: Server, tmp_path: Path, fetch: Sdist | Files) -> None:
    server.pages[fetch.path] = [Reply(CONTENT)]
    with ThreadPoolExecutor() as threads:
        for call in [threads.submit(fetch, server, tmp_path) for _ in range(3)]:
            call.result()
    assert server.requests.count(fetch.path) == 1

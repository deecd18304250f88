"""A local HTTP server for tests of downloads: it answers each request for a path with the next of its replies."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """One answer. Without `ranges`, the server ignores Range; otherwise it honours Range and If-Range.

    `cut` bytes of the body are sent before the connection is closed, or before `stall_sec` pass without data.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = False
    if_range: bool = True
    cut: int | None = None
    stall_sec: float = 0.0


@dataclass
class Site:
    """The replies by path, of which the last is repeated, and the requests: method, path, Range, If-Range."""

    pages: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    url: str = ""

    def reply(self, path: str) -> Reply:
        replies = self.pages.get(path, [Reply(b"nothing here", 404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    """Run a server on this machine during the block."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, if_range = self.headers.get("Range"), self.headers.get("If-Range")
            site.requests.append((self.command, self.path, wanted, if_range))
            site.authorizations.append(self.headers.get("Authorization"))
            reply = site.reply(self.path)
            body, status, headers = reply.body, reply.status, dict(reply.headers)
            same = not reply.if_range or if_range == reply.headers.get("ETag", reply.headers.get("Last-Modified"))
            if reply.ranges and wanted and status == 200 and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                status = 206 if start < len(body) else 416
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:] if status == 206 else b""
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            with contextlib.suppress(OSError):  # the client has gone
                self.wfile.write(body[: reply.cut])
                self.wfile.flush()
                time.sleep(reply.stall_sec)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        httpd.block_on_close = False
        site.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            httpd.shutdown()
            thread.join()

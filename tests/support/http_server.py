"""An HTTP server on the loopback address: package indexes, the intake of Elastic APM, collectors of OTLP."""

import contextlib
import gzip
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass(frozen=True)
class Request:
    """
    A request that arrived.

    Attributes
    ----------
    method, path, headers
        As they were sent.
    body
        The body, decompressed.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """What to answer, and by how much the clock of the server that answers is ahead."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/octet-stream"
    location: str = ""
    seconds_ahead: float = 0.0


def files_in(folder: Path) -> Callable[[Request], Response]:
    """Return a function that answers with the files in a folder, and for a folder in it with its ``index.html``."""

    def answer(request: Request) -> Response:
        place = folder / unquote(request.path).strip("/")
        file = place / "index.html" if place.is_dir() else place
        if not file.is_file():
            return Response(404)
        return Response(200, file.read_bytes(), "text/html" if file.suffix == ".html" else Response.content_type)

    return answer


def decompressed(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the body of a request as it was before it was compressed."""
    encoding = headers.get("Content-Encoding")
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


@contextlib.contextmanager
def http_server(
    answer: Callable[[Request], Response], port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve on a free port, or on the one given, until the ``with`` statement ends; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = decompressed(self.whole_body(), self.headers)
            response = answer(Request(self.command, self.path, self.headers, body))
            self.send_response_only(response.status)
            self.send_header("Date", formatdate(time.time() + response.seconds_ahead, usegmt=True))
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
            if response.location:
                self.send_header("Location", response.location)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        do_GET = do_HEAD = do_PATCH = do_POST  # noqa: N815 - the names that http.server calls

        def whole_body(self):
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)

"""A server that plays the intake of Elastic APM (protocol v2) and remembers what it is sent."""

import contextlib
import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def mesh_config(port: int) -> str:
    """Return the value of MESH_CONFIG that puts the server on a port of the loopback address."""
    return json.dumps({"system-monitoring-log-apm": {"mesh_address": "127.0.0.1", "mesh_port": port}})


@dataclass
class Intake:
    """What arrived, and how to answer."""

    port: int = 0
    status: int = 202
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def mesh_config(self) -> str:
        """The value of MESH_CONFIG that points at this server."""
        return mesh_config(self.port)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, in the order of their arrival."""
        return [event for each, event in self.events if each == kind]


def unpack(headers: Any, body: bytes) -> bytes:
    """Undo the compression of a request."""
    encoding = headers.get("Content-Encoding")
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


@contextlib.contextmanager
def intake(status: int = 202) -> Iterator[Intake]:
    """Serve on a free port of the loopback address."""
    received = Intake(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            received.paths.append(self.path)
            self._answer(200, b'{"version": "8.15.0"}')

        def do_POST(self):
            received.paths.append(self.path)
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            for line in unpack(self.headers, body).splitlines():
                [(kind, event)] = json.loads(line).items()
                received.events.append((kind, event))
            self._answer(received.status, b"")

        def _answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)

"""A server that plays the intake of Elastic APM (protocol v2) and keeps what it receives."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.http_server import Request, Response, http_server
from support.mesh import mesh_config

SERVICE = "system-monitoring-log-apm"


@dataclass
class Intake:
    """What arrived, and how to answer."""

    port: int = 0
    status: int = 202
    body: bytes = b""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def mesh_config(self) -> str:
        """The value of MESH_CONFIG that points at this server."""
        return mesh_config({SERVICE: self.port})

    @property
    def transactions(self) -> list[dict[str, Any]]:
        """Return the transactions, in the order of their arrival."""
        return self.of_kind("transaction")

    @property
    def transaction(self) -> dict[str, Any]:
        """Return the one transaction."""
        [found] = self.transactions
        return found

    @property
    def spans(self) -> list[dict[str, Any]]:
        """Return the spans, in the order in which they began."""
        return sorted(self.of_kind("span"), key=lambda span: span["timestamp"])

    def span(self, name: str) -> dict[str, Any]:
        """Return the one span of a name."""
        [found] = [span for span in self.spans if span["name"] == name]
        return found

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Return the error events, in the order of their arrival."""
        return self.of_kind("error")

    def tree(self, root: dict[str, Any]) -> list[tuple[str, dict[str, Any], list[Any]]]:
        """Return name, labels and children of each span below another one, in the order in which they began."""
        return [
            (span["name"], span.get("context", {}).get("tags", {}), self.tree(span))
            for span in self.spans
            if span["parent_id"] == root["id"]
        ]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, in the order of their arrival."""
        return [event for each, event in self.events if each == kind]


@contextlib.contextmanager
def intake(status: int = 202, body: bytes = b"", port: int = 0) -> Iterator[Intake]:
    """Serve on a free port of the loopback address, or on the one given."""
    received = Intake(status=status, body=body)

    def answer(request: Request) -> Response:
        received.paths.append(request.path)
        if request.method == "GET":
            return Response(body=b'{"version": "8.15.0"}')
        for line in request.body.splitlines():
            # Like the server, which accepts no NaN and refuses the event.
            [(kind, event)] = json.loads(line, parse_constant=received.refused.append).items()
            received.events.append((kind, event))
        return Response(received.status, received.body)

    with http_server(answer, port) as received.port:
        yield received

"""Collectors that accept OTLP, by HTTP and by gRPC, and keep what they receive."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.http_server import Request, Response, http_server
from support.mesh import mesh_config

TRACES, METRICS = "otlp-traces-endpoint", "otlp-metrics-endpoint"
SIGNALS = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}


def value(of: Any) -> Any:
    """Return a value as Python knows it."""
    kind = of.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value(each) for each in of.array_value.values]
    return getattr(of, kind)


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as Python knows them."""
    return {each.key: value(each.value) for each in attributes}


class Span(NamedTuple):
    """One span that arrived."""

    name: str
    id: str
    parent: str
    trace: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    status: int
    message: str
    events: list[tuple[str, dict[str, Any]]]
    began: int
    ended: int

    @classmethod
    def of(cls, span: Any, resource: Any) -> "Span":
        """Return what a span says that was sent."""
        ids = span.name, span.span_id.hex(), span.parent_span_id.hex(), span.trace_id.hex()
        events = [(event.name, values(event.attributes)) for event in span.events]
        facts = values(span.attributes), values(resource.attributes), span.status.code, span.status.message
        return cls(*ids, *facts, events, span.start_time_unix_nano, span.end_time_unix_nano)


@dataclass
class Collector:
    """What arrived, and how to answer."""

    port: int = 0
    status: int = 200
    body: bytes | None = None
    requests: list[Any] = field(default_factory=list)
    encodings: list[str | None] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address, as of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mesh_config(self) -> str:
        """The value of MESH_CONFIG that points at this collector."""
        return mesh_config(dict.fromkeys((TRACES, METRICS), self.port))

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they began."""
        found = [
            Span.of(span, of_resource.resource)
            for request in self.requests
            if isinstance(request, ExportTraceServiceRequest)
            for of_resource in request.resource_spans
            for scope_spans in of_resource.scope_spans
            for span in scope_spans.spans
        ]
        return sorted(found, key=lambda span: span.began)

    @property
    def roots(self) -> list[Span]:
        """The root spans of the tasks."""
        return [span for span in self.spans if span.attributes.get("dkist.root")]

    def span(self, name: str) -> Span:
        """Return the one span of a name."""
        [found] = [span for span in self.spans if span.name == name]
        return found

    def tree(self, root: Span) -> list[tuple[str, dict[str, Any], list[Any]]]:
        """Return name, attributes and children of each span below one, in the order in which they began."""
        spans = self.spans

        def below(parent: str) -> list[tuple[str, dict[str, Any], list[Any]]]:
            return [
                (span.name, {key: each for key, each in span.attributes.items() if key != "span.type"}, below(span.id))
                for span in spans
                if span.parent == parent
            ]

        return below(root.id)

    @property
    def metrics(self) -> dict[str, Any]:
        """The last of each metric, by its name."""
        return {
            metric.name: metric
            for request in self.requests
            if isinstance(request, ExportMetricsServiceRequest)
            for resource_metrics in request.resource_metrics
            for scope_metrics in resource_metrics.scope_metrics
            for metric in scope_metrics.metrics
        }


@contextlib.contextmanager
def http_collector(status: int = 200, body: bytes | None = None, port: int = 0) -> Iterator[Collector]:
    """Serve OTLP by HTTP on a free port of the loopback address."""
    received = Collector(status=status, body=body)

    def answer(request: Request) -> Response:
        received.encodings.append(request.headers.get("Content-Encoding"))
        received.kinds.append(request.headers["Content-Type"])
        kind, response = SIGNALS[request.path]
        received.requests.append(kind.FromString(request.body))
        answer = response().SerializeToString() if received.body is None else received.body
        return Response(received.status, answer, "application/x-protobuf")

    with http_server(answer, port) as received.port:
        yield received


@contextlib.contextmanager
def grpc_collector() -> Iterator[Collector]:
    """Serve OTLP by gRPC on a free port of the loopback address."""
    import grpc
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    received = Collector()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802 - the name in the protocol
            # The client may repeat a request whose answer it has not got, so each is here once.
            if request not in received.requests:
                received.requests.append(request)
            return ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802 - likewise
            received.requests.append(request)
            return ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    received.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield received
    finally:
        server.stop(0).wait()

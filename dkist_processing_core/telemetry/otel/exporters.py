"""
Where OpenTelemetry data goes: exporters by OTLP, to the endpoints that the settings name.

Runs in: task environment, when OpenTelemetry is on. The standard variables ``OTEL_EXPORTER_OTLP_...`` are read by the
exporters themselves. ``MESH_CONFIG`` may name the endpoints instead, as ``otlp-traces-endpoint`` and
``otlp-metrics-endpoint``.
"""

import logging
import os
import socket
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dkist_processing_core.config import InterserviceBusConfiguration, MeshService
from dkist_processing_core.exceptions import ConfigurationError

__all__ = ["metric_exporter", "span_exporter"]

logger = logging.getLogger(__name__)

GRPC = "grpc"
HTTP = "http/protobuf"
GRPC_EXPORTER = "opentelemetry-exporter-otlp-proto-grpc"
TIMEOUT_SECONDS = 2
LOOK_SECONDS = 0.5
# The connection preface of HTTP/2 (RFC 9113, 3.4), with an empty SETTINGS frame.
HTTP_2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS_FRAME = 4
PLACE_OF_FRAME_TYPE = 3


def span_exporter() -> Any:
    """Return the exporter of spans, None if there is no endpoint for them."""
    return _exporter("traces", "OTLPSpanExporter")


def metric_exporter() -> Any:
    """Return the exporter of metrics, None if there is no endpoint for them."""
    return _exporter("metrics", "OTLPMetricExporter")


def _exporter(signal: str, name: str) -> Any:
    kind = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") or "otlp"
    if kind == "none":
        return None
    if kind != "otlp":
        logger.warning("OTEL_%s_EXPORTER is %r; otlp and none are known, and otlp is used", signal.upper(), kind)
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_"
    options: dict[str, Any] = {}
    if not (os.environ.get(f"{own}TIMEOUT") or os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT")):
        options["timeout"] = TIMEOUT_SECONDS
    protocol = os.environ.get(f"{own}PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if os.environ.get(f"{own}ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return _made(protocol or HTTP, signal, name, options)
    service_name = f"otlp-{signal}-endpoint"
    if f'"{service_name}"' not in os.environ.get("MESH_CONFIG", ""):
        return None  # whatever else may be wrong with it
    service = InterserviceBusConfiguration().service_mesh.get(service_name)
    if service is None:
        return None
    protocol = protocol or (GRPC if _has_grpc() and _speaks_http_2(service) else HTTP)
    if protocol == GRPC:
        options |= {"endpoint": f"{service.host}:{service.port}", "insecure": True}
    else:
        options["endpoint"] = f"http://{service.host}:{service.port}/v1/{signal}"
    return _made(protocol, signal, name, options)


def _made(protocol: str, signal: str, name: str, options: dict[str, Any]) -> Any:
    module = {"traces": "trace_exporter", "metrics": "metric_exporter"}[signal]
    package = "grpc" if protocol == GRPC else "http"
    if protocol not in {GRPC, HTTP}:
        logger.warning("OTLP by %r is not known; grpc and http/protobuf are, and http/protobuf is used", protocol)
    if protocol == GRPC and not _has_grpc():
        raise ConfigurationError(
            f"OTLP by gRPC needs one more distribution. Install it with: pip install {GRPC_EXPORTER}"
        )
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{package}.{module}"), name)(**options)


def _has_grpc() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None
    except ModuleNotFoundError:
        return False


@lru_cache(maxsize=4)
def _speaks_http_2(service: MeshService) -> bool:
    """
    Find out whether an endpoint of the mesh takes OTLP by gRPC, which needs HTTP/2.

    ``MESH_CONFIG`` does not say it, and both are in use. A server that does not answer is taken for one of gRPC, which
    is what the published library speaks. Each is looked at once in a process, since spans and metrics often go to the
    same one.
    """
    try:
        with socket.create_connection((service.host, service.port), timeout=LOOK_SECONDS) as connection:
            connection.sendall(HTTP_2_PREFACE)
            answer = connection.recv(PLACE_OF_FRAME_TYPE + 1)
    except OSError:
        return True
    return len(answer) > PLACE_OF_FRAME_TYPE and answer[PLACE_OF_FRAME_TYPE] == SETTINGS_FRAME

"""
Where OpenTelemetry data goes: exporters by OTLP, to the endpoints that the settings name.

Runs in: task environment, when OpenTelemetry is on. The exporters read the standard variables
``OTEL_EXPORTER_OTLP_...`` themselves. ``MESH_CONFIG`` may name the endpoints instead, as ``otlp-traces-endpoint`` and
``otlp-metrics-endpoint``. These get gRPC unless ``OTEL_EXPORTER_OTLP_PROTOCOL`` is set, as they do from the published
package line.
"""

import logging
import os
from importlib import import_module
from typing import Any

from dkist_processing_core.config import InterserviceBusConfiguration
from dkist_processing_core.exceptions import ConfigurationError

__all__ = ["exporter"]

logger = logging.getLogger(__name__)

GRPC = "grpc"
HTTP = "http/protobuf"
PACKAGE = "opentelemetry.exporter.otlp.proto"
EXPORTERS = {"traces": "trace_exporter.OTLPSpanExporter", "metrics": "metric_exporter.OTLPMetricExporter"}
TIMEOUT_SECONDS = 2


def exporter(signal: str) -> Any:
    """Return the exporter of ``traces`` or of ``metrics``, None if there is no endpoint for them."""
    kind = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") or "otlp"
    if kind == "none":
        return None
    if kind != "otlp":
        logger.warning("OTEL_%s_EXPORTER is %r; otlp and none are known, and otlp is used", signal.upper(), kind)
    options: dict[str, Any] = {} if _setting(signal, "TIMEOUT") else {"timeout": TIMEOUT_SECONDS}
    if _setting(signal, "ENDPOINT"):
        protocol = _protocol(signal, HTTP)
    else:
        service_name = f"otlp-{signal}-endpoint"
        if f'"{service_name}"' not in os.environ.get("MESH_CONFIG", ""):
            return None  # whatever else may be wrong with it
        service = InterserviceBusConfiguration().service_mesh.get(service_name)
        if service is None:
            return None
        protocol = _protocol(signal, GRPC)
        address = f"{service.host}:{service.port}"
        if protocol == GRPC:
            options |= {"endpoint": address, "insecure": True}
        else:
            options["endpoint"] = f"http://{address}/v1/{signal}"
    module, name = EXPORTERS[signal].split(".")
    try:
        found = import_module(f"{PACKAGE}.{'grpc' if protocol == GRPC else 'http'}.{module}")
    except ModuleNotFoundError:
        if protocol != GRPC:
            raise
        raise ConfigurationError(
            "OTLP by gRPC, the default for the endpoints in MESH_CONFIG, needs one more distribution. "
            f"If the endpoint speaks HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL={HTTP}. "
            "Otherwise install it with: pip install opentelemetry-exporter-otlp-proto-grpc"
        ) from None
    return getattr(found, name)(**options)


def _setting(signal: str, name: str) -> str | None:
    """Return a setting of a signal, or else the one of both signals."""
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}")
    return own or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")


def _protocol(signal: str, default: str) -> str:
    protocol = _setting(signal, "PROTOCOL") or default
    if protocol in {GRPC, HTTP}:
        return protocol
    logger.warning("OTLP by %r is not known; grpc and http/protobuf are, and http/protobuf is used", protocol)
    return HTTP

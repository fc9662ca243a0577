"""
The endpoints of telemetry, from the settings.

Runs in: task environment; and worker, to check that the servers respond, without the libraries of the back ends.
"""

import logging
import os
from typing import NamedTuple

__all__ = ["GRPC", "HTTP", "Endpoint", "elastic_server", "endpoint", "setting"]

logger = logging.getLogger(__name__)

GRPC = "grpc"
HTTP = "http/protobuf"
AGENT = "ELASTIC_APM_"  # prefix of the agent's own variables
DEFAULT_SERVER = "http://127.0.0.1:8200"  # the agent's default


class Endpoint(NamedTuple):
    """The address of an OTLP collector, and the protocol; ``is_standard`` if a standard variable names it."""

    address: str
    protocol: str
    is_standard: bool


def endpoint(signal: str) -> Endpoint | None:
    """Return the endpoint of ``traces`` or ``metrics``; None if there is none."""
    if standard := setting(signal, "ENDPOINT"):
        return Endpoint(standard, _protocol(signal, HTTP), is_standard=True)
    service_name = f"otlp-{signal}-endpoint"
    if f'"{service_name}"' not in os.environ.get("MESH_CONFIG", ""):
        return None  # whatever else may be wrong with it
    from dkist_processing_core.isb.settings import InterserviceBusConfiguration

    service = InterserviceBusConfiguration().service_mesh.get(service_name)
    if service is None:
        return None
    protocol = _protocol(signal, GRPC)
    address = f"{service.host}:{service.port}"
    return Endpoint(address if protocol == GRPC else f"http://{address}/v1/{signal}", protocol, is_standard=False)


def setting(signal: str, name: str) -> str | None:
    """Return a setting of a signal, or that for all signals."""
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}")
    return own or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")


def elastic_server() -> str:
    """Return the address of the Elastic APM server that tasks use."""
    from dkist_processing_core.config import DKISTProcessingCoreConfiguration

    configuration = DKISTProcessingCoreConfiguration()
    known = configuration.apm_config if "system-monitoring-log-apm" in configuration.service_mesh else {}
    options = (known, configuration.elastic_apm_other_options)
    found = [each["SERVER_URL"] for each in options if each.get("SERVER_URL")]
    return str(os.environ.get(f"{AGENT}SERVER_URL") or (found or [DEFAULT_SERVER])[-1])


def _protocol(signal: str, default: str) -> str:
    protocol = setting(signal, "PROTOCOL") or default
    if protocol in {GRPC, HTTP}:
        return protocol
    logger.warning(
        "The OTLP protocol %r is neither grpc nor http/protobuf; http/protobuf is used",
        protocol,
    )
    return HTTP

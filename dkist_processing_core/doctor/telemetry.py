"""
Check that the telemetry servers respond.

Runs in: worker.
"""

import os
from urllib.parse import urlsplit

from dkist_processing_core.common.settings import is_true
from dkist_processing_core.doctor import answers
from dkist_processing_core.doctor.machine import Machine
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.telemetry import is_opentelemetry_configured
from dkist_processing_core.telemetry.endpoints import GRPC, Endpoint, elastic_server, endpoint

__all__ = ["addresses", "check_telemetry"]

SERVER_ERROR = 500
ELASTIC = "Start the APM server, correct system-monitoring-log-apm in MESH_CONFIG, or set ELASTIC_APM_ENABLED=false"
OTLP = "Start the collector, correct its address ({setting}), or set OTEL_SDK_DISABLED=true"


def check_telemetry(machine: Machine) -> Finding:  # noqa: ARG001 - like each check
    """Check that each server to which a task would send data answers. No data is sent."""
    found = []
    if is_elastic_enabled():
        found.append(_ask(elastic_server(), ELASTIC))
    for signal in ("traces", "metrics") if is_opentelemetry_configured() else ():
        if known := endpoint(signal):
            setting = "OTEL_EXPORTER_OTLP_ENDPOINT" if known.is_standard else f"otlp-{signal}-endpoint in MESH_CONFIG"
            found.append(_reach(known, OTLP.format(setting=setting)))
    return Finding.ok(", ".join(dict.fromkeys(found))) if found else Finding.not_needed("none is configured")


def is_elastic_enabled() -> bool:
    """Return whether tasks report to Elastic APM."""
    return is_true(os.environ.get("ELASTIC_APM_ENABLED", ""))


def addresses() -> list[str]:
    """Return the addresses of the servers that are reached by HTTP."""
    otlp = map(endpoint, ("traces", "metrics") if is_opentelemetry_configured() else ())
    elastic = [elastic_server()] if is_elastic_enabled() else []
    return elastic + [each.address for each in otlp if each and each.protocol != GRPC]


def _reach(known: Endpoint, remedy: str) -> str:
    if known.protocol != GRPC:
        return _ask(known.address, remedy)
    parts = urlsplit(known.address if "://" in known.address else f"//{known.address}")
    try:
        answers.connect(parts.hostname or "", parts.port or 4317).close()
    except (OSError, ValueError) as error:
        raise CheckError(f"{known.address} cannot be reached: {error}", remedy) from error
    return known.address


def _ask(url: str, remedy: str) -> str:
    try:
        answer = answers.get(url)
    except OSError as error:
        raise CheckError(f"{url} does not answer: {error}", remedy) from error
    # A server that refuses an empty request is running. A server error may be that of a proxy without its server.
    if answer.status >= SERVER_ERROR:
        raise CheckError(f"{url} answers with status {answer.status}", remedy)
    return url

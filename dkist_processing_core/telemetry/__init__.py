"""
Spans of a task, on whichever back end is configured.

Runs in: task environment. `start` picks the back ends when a task starts and imports no other; `TaskBase` talks to
what it returns and knows no back end by name.
"""

import logging
import os
from collections.abc import Callable

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.settings import is_true
from dkist_processing_core.exceptions import MissingExtraError
from dkist_processing_core.telemetry.null import NoTelemetry
from dkist_processing_core.telemetry.protocol import Backend, Span, Telemetry, TraceIds

__all__ = ["Span", "TaskMetadata", "Telemetry", "TraceIds", "last_ids", "start"]

logger = logging.getLogger(__name__)

OTLP_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
OTLP_SERVICES = ("otlp-traces-endpoint", "otlp-metrics-endpoint")


class _State:
    """What is known in this process beyond one task."""

    # Stands in for what is configured; `dkist_processing_core.testing` sets it.
    substitute: Callable[[TaskMetadata], Telemetry] | None = None
    ids: TraceIds | None = None


def start(facts: TaskMetadata) -> Telemetry:
    """
    Begin to record a task on the configured back ends: none, Elastic APM, OpenTelemetry, or the last two.

    A back end that is configured but cannot be started costs the task nothing but a warning in its log.

    Parameters
    ----------
    facts
        What is known of the task.
    """
    started = (_State.substitute or _start_configured)(facts)
    _State.ids = started.ids
    return started


def last_ids() -> TraceIds | None:
    """Return where the record of the task is found that was started last in this process; None if there is none."""
    return _State.ids


def _start_configured(facts: TaskMetadata) -> Telemetry:
    started: list[Backend] = []
    # OpenTelemetry first, so that its ids are the ones that are told where both are on.
    if is_opentelemetry_configured():
        try:
            from dkist_processing_core.telemetry.otel.backend import OpenTelemetry

            started.append(OpenTelemetry(facts))
        except ImportError as error:
            is_missing = (error.name or "").startswith("opentelemetry")
            what = MissingExtraError("OpenTelemetry, which is configured,", extra="otel") if is_missing else error
            logger.warning("%s", what)
        except Exception as error:
            logger.warning("OpenTelemetry is configured but cannot be started: %s: %s", type(error).__name__, error)
    if is_true(os.environ.get("ELASTIC_APM_ENABLED", "")):
        try:
            from dkist_processing_core.telemetry.elastic.backend import ElasticTelemetry

            started.append(ElasticTelemetry(facts, started[0].ids if started else None))
        except Exception as error:
            logger.warning("Elastic APM is enabled but cannot be started: %s: %s", type(error).__name__, error)
    if not started:
        return NoTelemetry()
    from dkist_processing_core.telemetry.recording import Recording

    return Recording(started)


def is_opentelemetry_configured() -> bool:
    """
    Tell whether there is an endpoint to send to, by the standard variables or by ``MESH_CONFIG``.

    ``OTEL_SDK_DISABLED`` switches all of it off.
    """
    if is_true(os.environ.get("OTEL_SDK_DISABLED", "")):
        return False
    mesh = os.environ.get("MESH_CONFIG", "")
    return any(os.environ.get(name) for name in OTLP_ENDPOINTS) or any(f'"{name}"' in mesh for name in OTLP_SERVICES)

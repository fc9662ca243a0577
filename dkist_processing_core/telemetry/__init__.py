"""
Spans and metrics of a task, on the configured back ends.

Runs in: task environment. `start` imports the back ends that are on, and no others.
"""

import logging
import os
from pathlib import Path

from dkist_processing_core.common import test_mode
from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.settings import is_true
from dkist_processing_core.exceptions import MissingExtraError
from dkist_processing_core.telemetry.null import NullBackend
from dkist_processing_core.telemetry.protocol import Span, TraceIds
from dkist_processing_core.telemetry.recording import Recording

__all__ = ["Recording", "Span", "TraceIds", "last_ids", "start"]

logger = logging.getLogger(__name__)


class _Last:
    ids: TraceIds | None = None


def start(metadata: TaskMetadata) -> Recording:
    """
    Begin to record a task on the configured back ends: any of Elastic APM, OpenTelemetry and a file, or none.

    A back end that is configured but cannot be started is logged as a warning and left out.
    """
    if doubles := test_mode.active():
        return Recording([doubles.start_telemetry(metadata)])
    started = Recording(_start_backends(metadata) or [NullBackend()])
    _Last.ids = started.ids
    return started


def last_ids() -> TraceIds | None:
    """Return the trace ids of the task that was started last in this process; None if there are none."""
    return _Last.ids


def _start_backends(metadata: TaskMetadata) -> list[NullBackend]:
    started: list[NullBackend] = []
    # OpenTelemetry first, since the first back end chooses the ids if both are on.
    if is_opentelemetry_configured():
        try:
            from dkist_processing_core.telemetry.otel import OpenTelemetryBackend

            started.append(OpenTelemetryBackend(metadata))
        except ImportError as error:
            is_missing = (error.name or "").startswith("opentelemetry")
            what = MissingExtraError("OpenTelemetry, which is configured,", extra="otel") if is_missing else error
            logger.warning("%s", what)
        except Exception as error:
            logger.warning("OpenTelemetry is configured but cannot be started: %s: %s", type(error).__name__, error)
    if is_true(os.environ.get("ELASTIC_APM_ENABLED", "")):
        try:
            from dkist_processing_core.telemetry.elastic import ElasticBackend

            started.append(ElasticBackend(metadata, started[0].ids if started else None))
        except Exception as error:
            logger.warning("Elastic APM is enabled but cannot be started: %s: %s", type(error).__name__, error)
    # Last, since the first back end that can answer does, for example for the ids.
    if file := os.environ.get("DKIST_SPANS_FILE"):
        try:
            from dkist_processing_core.telemetry.memory.file import SpansFileBackend

            started.append(SpansFileBackend(metadata, Path(file).absolute()))
        except Exception as error:
            logger.warning("DKIST_SPANS_FILE is set, but spans cannot be recorded: %s", error)
    return started


def is_opentelemetry_configured() -> bool:
    """Return whether the standard variables or ``MESH_CONFIG`` name an endpoint, and OpenTelemetry is not disabled."""
    if is_true(os.environ.get("OTEL_SDK_DISABLED", "")):
        return False
    variables = (f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_"))
    mesh = os.environ.get("MESH_CONFIG", "")
    return any(map(os.environ.get, variables)) or '"otlp-traces-endpoint"' in mesh or '"otlp-metrics-endpoint"' in mesh

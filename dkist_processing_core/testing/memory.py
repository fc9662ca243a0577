"""
The telemetry back end that keeps everything in memory.

Runs in: author and CI.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.telemetry.attributes import task_attributes
from dkist_processing_core.telemetry.null import NoTracer
from dkist_processing_core.telemetry.protocol import TraceIds
from dkist_processing_core.telemetry.trace_context import incoming
from dkist_processing_core.testing.metrics import RecordingMeter
from dkist_processing_core.testing.spans import CUSTOM_SPAN_TYPE, Opening, RecordedSpan, RecordedTask

__all__ = ["InMemory"]


class _Tracer(NoTracer):
    def __init__(self, task: RecordedTask) -> None:
        self._task = task

    def start_as_current_span(
        self, name: str, *_: Any, attributes: Mapping[str, Any] | None = None, **__: Any
    ) -> Opening:
        return Opening(self._task, name, CUSTOM_SPAN_TYPE, attributes or {})

    def start_span(self, name: str, *_: Any, attributes: Mapping[str, Any] | None = None, **__: Any) -> RecordedSpan:
        return RecordedSpan(self._task, name, CUSTOM_SPAN_TYPE, attributes or {})


class InMemory:
    """
    The telemetry back end that keeps everything.

    Parameters
    ----------
    facts
        What is known of the task.
    meter
        What the task gets as its meter.
    """

    def __init__(self, facts: TaskMetadata, meter: RecordingMeter) -> None:
        continued = incoming()
        self.task = RecordedTask(
            name=facts.task_name,
            workflow_name=facts.workflow_name,
            workflow_version=facts.workflow_version,
            recipe_run_id=facts.recipe_run_id,
            attributes=task_attributes(facts),
            ids=TraceIds(continued.trace_id if continued else secrets.token_hex(16), secrets.token_hex(8)),
        )
        self.tracer = _Tracer(self.task)
        self.meter = meter

    @property
    def ids(self) -> TraceIds:
        """Ids of the task."""
        return self.task.ids

    def span(
        self,
        name: str,
        span_type: str,
        attributes: Mapping[str, Any],
        options: Mapping[str, Any],  # noqa: ARG002 - of OpenTelemetry
    ) -> Opening:
        """Record a stretch of work; see `Recorder.span`."""
        return Opening(self.task, name, span_type, attributes)

    def end(self, error: BaseException | None) -> None:
        """End the task; see `Backend.end`."""
        self.task.error = error
        self.task.is_ended = True

    @property
    def flushes(self) -> dict[str, Callable[[], object]]:
        """Nothing; everything is where it belongs."""
        return {}

"""
The spans of a task as a file, for use without a telemetry server.

Runs in: task environment, if ``DKIST_SPANS_FILE`` names the file; the local runner sets it for each try. The file is
written when the task has ended, so a killed task has none. It is JSON:

``schema_version``
    1; it changes if the meaning of a key changes.
``task``
    ``name``, ``workflow_name``, ``workflow_version``, ``recipe_run_id``, ``attributes``, ``started`` (seconds since
    1970), ``seconds``, and ``error``.
``spans``
    In the order in which they began, each with ``name``, ``type``, ``attributes``, ``start`` (seconds since the task
    began), ``seconds`` (null if it has not ended), ``parent`` (its index in this list; null if it is the task),
    ``error``, and ``events``, pairs of a name and attributes.
``spans_left_out``
    Number of missing spans, since only the first `MOST_SPANS` are recorded.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.redaction import REDACTED, is_secret_name, redactor
from dkist_processing_core.telemetry.attributes import text, warn
from dkist_processing_core.telemetry.memory import InMemoryBackend
from dkist_processing_core.telemetry.memory.spans import RecordedSpan
from dkist_processing_core.telemetry.null import NULL_SPAN, NullBackend, NullSpan

__all__ = ["MOST_EVENTS", "MOST_SPANS", "SCHEMA_VERSION", "SpansFileBackend"]

SCHEMA_VERSION = 1
MOST_SPANS = 10_000
MOST_EVENTS = 100  # of one span


class _FileSpan(RecordedSpan):
    """A span that cannot fail the task. It keeps no exceptions, which would keep the arrays of the task in memory."""

    error_text: str | None = None

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        _guarded(super().set_attributes, attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> None:
        if len(self.events) < MOST_EVENTS:
            _guarded(super().add_event, text(name), attributes)

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        self.add_event("exception", {"exception": _described(exception)})

    def set_status(self, status: Any, *_: Any, **__: Any) -> None:
        """Do nothing: the status is not written."""

    def update_name(self, name: str) -> None:
        self.name = text(name)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        super().__exit__(kind, None, traceback)
        if error is not None and not isinstance(error, GeneratorExit):
            self.error_text = _described(error)


class SpansFileBackend(InMemoryBackend):
    """The telemetry back end that writes the spans of a task to a file when the task has ended."""

    def __init__(self, metadata: TaskMetadata, file: Path) -> None:
        super().__init__(metadata, NullBackend.meter)
        self.ids = None  # no server has a trace with these ids
        self.flushes = {f"The file {file} of spans": self._write}
        self._file = file
        self._started = time.time()
        self._seconds = 0.0
        self._error: str | None = None
        self._left_out = 0

    def new_span(self, name: str, span_type: str, attributes: Mapping[str, Any]) -> NullSpan:
        """Begin a span; one that cannot be recorded, or exceeds the limit, records nothing."""
        if len(self.task.spans) >= MOST_SPANS:
            self._left_out += 1
            return NULL_SPAN
        try:
            return _FileSpan(self.task, text(name), text(span_type or ""), attributes)
        except Exception as error:
            warn(error)
            return NULL_SPAN

    def end(self, error: BaseException | None) -> None:
        """End the task; see `NullBackend.end`."""
        self._seconds = time.monotonic() - self.task.began
        self._error = None if error is None else _described(error)
        super().end(None)

    def _write(self) -> None:
        """Write the file, completely or not at all."""
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self._as_data()), encoding="ascii")
            temporary.replace(self._file)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _as_data(self) -> dict[str, Any]:
        redact = redactor()
        task = self.task
        spans = [*task.spans]  # threads of the task may still open spans
        indexes = {id(span): index for index, span in enumerate(spans)}
        return {
            "schema_version": SCHEMA_VERSION,
            "task": {
                "name": task.name,
                "workflow_name": task.workflow_name,
                "workflow_version": task.workflow_version,
                "recipe_run_id": task.recipe_run_id,
                "attributes": _shown(task.attributes, redact),
                "started": round(self._started, 6),
                "seconds": round(self._seconds, 6),
                "error": self._error and redact(self._error),
            },
            "spans": [
                {
                    "name": redact(span.name),
                    "type": span.type,
                    "attributes": _shown(span.attributes, redact),
                    "start": round(span.began - task.began, 6),
                    "seconds": None if span.seconds is None else round(span.seconds, 6),
                    "parent": indexes[id(span.parent)] if span.parent else None,
                    "error": redact(error) if (error := getattr(span, "error_text", None)) else None,
                    "events": [[redact(name), _shown(attributes, redact)] for name, attributes in [*span.events]],
                }
                for span in spans
            ],
            "spans_left_out": self._left_out,
        }


def _shown(attributes: Mapping[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    """Return attributes without secrets, as values that every JSON parser accepts."""

    def shown(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [shown(name, each) for each in value]
        if isinstance(value, str):
            return REDACTED if is_secret_name(name) else redact(value)
        if isinstance(value, float) and value - value != 0:  # JSON has no infinity and no NaN
            return str(value)
        return value

    return {redact(name): shown(name, value) for name, value in [*attributes.items()]}


def _described(error: BaseException) -> str:
    message = text(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _guarded(function: Callable[..., object], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception as error:
        warn(error)

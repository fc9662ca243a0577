"""
Tasks and their spans, in memory.

Runs in: task environment, author and CI.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from dkist_processing_core.telemetry.attributes import plain
from dkist_processing_core.telemetry.null import NullSpan
from dkist_processing_core.telemetry.protocol import CORE_SPAN_TYPE, CUSTOM_SPAN_TYPE, TraceIds

__all__ = ["RecordedSpan", "RecordedTask", "SpanContext", "no_open_span"]

INDENT = "  "


@dataclass(eq=False)
class RecordedTask:
    """
    What was recorded about one task.

    Attributes
    ----------
    name
        Name of the class.
    workflow_name, workflow_version, recipe_run_id
        Arguments of the task.
    attributes
        Telemetry attributes of the task, by their names in OpenTelemetry.
    ids
        Ids of the trace and of the transaction (root span).
    spans
        Spans of the task and of its phases, in the order in which they began.
    error
        Exception that ended the task. None if the task succeeded or has not ended.
    is_ended
        Whether the task has ended.
    began
        Time at which the task began, in seconds on the clock of ``time.monotonic``.
    """

    name: str
    workflow_name: str
    workflow_version: str
    recipe_run_id: int
    attributes: dict[str, Any]
    ids: TraceIds
    spans: list["RecordedSpan"] = field(default_factory=list, repr=False)
    error: BaseException | None = None
    is_ended: bool = False
    began: float = field(default_factory=time.monotonic, repr=False)

    def tree(self) -> str:
        """
        Return the task and its spans as text, one per line, each span indented below its parent.

        A line has the name, the attributes unless the span is that of a phase, and the error, or ``not ended`` if the
        task or span has not ended.
        """
        what = f"{self.name} ({self.workflow_name} {self.workflow_version}, recipe run {self.recipe_run_id})"
        opened_in: dict[RecordedSpan | None, list[RecordedSpan]] = {}
        for span in self.spans:
            opened_in.setdefault(span.parent, []).append(span)

        def lines(parent: RecordedSpan | None, indent: str) -> Iterator[str]:
            for span in opened_in.get(parent, ()):
                yield f"{indent}{span}"
                yield from lines(span, indent + INDENT)

        return "\n".join([what + _trouble(self), *lines(None, INDENT)])


class RecordedSpan(NullSpan):
    """
    What was recorded about one span. It is also the span that the task gets.

    Attributes
    ----------
    name
        Name of the span.
    type
        Type of the span: ``code.core`` for a phase, otherwise ``code.custom`` unless the task gave another one.
    attributes
        Attributes of the span, as they are sent to OpenTelemetry. A value other than a string, number or boolean, or a
        list of one of these, is converted to a string. None is left out.
    task
        The task that the span belongs to.
    parent
        The span in which it was opened. None if it was opened in the task itself.
    events
        Name and attributes of each event that was added.
    exceptions
        The argument of each call of ``record_exception``.
    status
        The argument of the last call of ``set_status``. None if there was no call.
    error
        Exception that left the ``with`` statement of the span. None if there was none.
    is_ended
        Whether the span has ended.
    began
        Time at which the span began, in seconds on the clock of ``time.monotonic``.
    seconds
        Duration in seconds. None until the span has ended.
    """

    def __init__(self, task: RecordedTask, name: str, span_type: str, attributes: Mapping[str, Any]) -> None:
        self.name = str(name)
        self.type = span_type or CUSTOM_SPAN_TYPE
        self.attributes = plain(attributes)
        self.task = task
        # A span of another task may be open around it.
        self.parent = next(
            (each for each in reversed(_open_spans.get()) if each.task is task and not each.is_ended), None
        )
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.exceptions: list[BaseException] = []
        self.status: Any = None
        self.error: BaseException | None = None
        self.is_ended: bool = False
        self.seconds: float | None = None
        self.began = time.monotonic()
        task.spans.append(self)

    @property
    def children(self) -> list["RecordedSpan"]:
        """The spans whose parent is this span."""
        return [each for each in self.task.spans if each.parent is self]

    def set_attribute(self, key: str, value: Any) -> None:
        """Record one attribute of the work."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Record several attributes of the work."""
        self.attributes |= plain(attributes)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> None:
        """Record an event."""
        self.events.append((str(name), plain(attributes or {})))

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        """Record an exception."""
        self.exceptions.append(exception)

    def set_status(self, status: Any, *_: Any, **__: Any) -> None:
        """Record the status."""
        self.status = status

    def update_name(self, name: str) -> None:
        """Rename the span."""
        self.name = str(name)

    def is_recording(self) -> bool:
        """Return whether the span is open."""
        return not self.is_ended

    def end(self, *_: Any, **__: Any) -> None:
        """End the span."""
        if not self.is_ended:
            self.is_ended = True
            self.seconds = time.monotonic() - self.began

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # GeneratorExit ends a closed generator, and is not an error.
        self.error = None if isinstance(error, GeneratorExit) else error
        self.end()

    def __str__(self) -> str:
        facts = ", ".join(f"{key}={value!r}" for key, value in self.attributes.items() if self.type != CORE_SPAN_TYPE)
        return f"{self.name}{f' [{facts}]' if facts else ''}{_trouble(self)}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


# The open spans of this context, the innermost one last. There is one variable for all tasks, since a context never
# releases a variable.
_open_spans: ContextVar[tuple[RecordedSpan, ...]] = ContextVar("dkist_recorded_spans", default=())


@contextmanager
def no_open_span() -> Iterator[None]:
    """Begin without open spans, and restore the previous ones at the end."""
    before = _open_spans.get()
    _open_spans.set(())
    try:
        yield
    finally:
        _open_spans.set(before)


class SpanContext:
    """The context manager that opens a span; the spans that begin inside have it as their parent."""

    def __init__(self, begin: Callable[[], NullSpan]) -> None:
        self._begin = begin
        self._before: tuple[RecordedSpan, ...] = ()
        self._span: NullSpan | None = None

    def __enter__(self) -> NullSpan:
        self._before = _open_spans.get()
        self._span = self._begin()
        if isinstance(self._span, RecordedSpan):
            _open_spans.set((*self._before, self._span))
        return self._span

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._span is not None:
            _open_spans.set(self._before)
            self._span.__exit__(kind, error, traceback)


def _trouble(what: RecordedTask | RecordedSpan) -> str:
    if what.error is not None:
        text = str(what.error)
        return f": {type(what.error).__name__}{f': {text}' if text else ''}"
    return "" if what.is_ended else ": not ended"

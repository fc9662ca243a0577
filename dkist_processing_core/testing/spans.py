"""
Tasks and their spans, in memory.

Runs in: author and CI.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from dkist_processing_core.telemetry.attributes import plain
from dkist_processing_core.telemetry.null import NoSpan
from dkist_processing_core.telemetry.protocol import TraceIds

__all__ = ["CUSTOM_SPAN_TYPE", "Opening", "RecordedSpan", "RecordedTask", "no_open_span"]

CORE_SPAN_TYPE = "code.core"
CUSTOM_SPAN_TYPE = "code.custom"
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
        What the task was made with.
    attributes
        What is recorded about every task, by its names in OpenTelemetry.
    ids
        Ids of the trace and of the transaction, or root span.
    spans
        Its spans, those of its phases included, in the order in which they began.
    error
        What ended the task, None if it succeeded or has not ended.
    is_ended
        Whether it has ended.
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

    def tree(self) -> str:
        """
        Return the task and its spans as text, one a line, each indented below the one that it was opened in.

        After the name stand the attributes, apart from those of the phases, and what is wrong: the error, or that the
        task or span was never ended.
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


class RecordedSpan(NoSpan):
    """
    What was recorded about one stretch of work. It is also the span that the task gets.

    Attributes
    ----------
    name
        What the work was.
    type
        Kind of work, ``code.custom`` if the task has not said; that of a phase is ``code.core``.
    attributes
        Facts about the work, as OpenTelemetry is given them: what is no text, number or boolean, nor a list of one of
        these, is its text, and what is None is not there.
    task
        The task that it belongs to.
    parent
        The span that it was opened in, None if that is the task itself.
    events
        Name and attributes of each event that was added.
    exceptions
        What ``record_exception`` was told.
    status
        What ``set_status`` was told, None if it was not.
    error
        What left its ``with`` statement, None if nothing did.
    is_ended
        Whether it has ended.
    seconds
        How long it took, None until it has ended.
    """

    def __init__(self, task: RecordedTask, name: str, span_type: str, attributes: Mapping[str, Any]) -> None:
        self.name = str(name)
        self.type = span_type or CUSTOM_SPAN_TYPE
        self.attributes = plain(attributes, are_sequences_plain=True)
        self.task = task
        self.parent = _open_span(task)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.exceptions: list[BaseException] = []
        self.status: Any = None
        self.error: BaseException | None = None
        self.is_ended = False
        self.seconds: float | None = None
        self._began = time.monotonic()
        task.spans.append(self)

    @property
    def children(self) -> list["RecordedSpan"]:
        """The spans that were opened directly in it."""
        return [each for each in self.task.spans if each.parent is self]

    def set_attribute(self, key: str, value: Any) -> None:
        """Record one fact about the work."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Record several facts about the work."""
        self.attributes |= plain(attributes, are_sequences_plain=True)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> None:
        """Record an event."""
        self.events.append((str(name), plain(attributes or {}, are_sequences_plain=True)))

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
        """Tell whether what it is told is recorded."""
        return not self.is_ended

    def end(self, *_: Any, **__: Any) -> None:
        """End the span."""
        if not self.is_ended:
            self.is_ended = True
            self.seconds = time.monotonic() - self._began

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        # Closing a generator is how it ends, no error.
        self.error = None if isinstance(exc_val, GeneratorExit) else exc_val
        self.end()

    def __str__(self) -> str:
        facts = (
            ""
            if self.type == CORE_SPAN_TYPE
            else ", ".join(f"{key}={self.attributes[key]!r}" for key in self.attributes)
        )
        return f"{self.name}{f' [{facts}]' if facts else ''}{_trouble(self)}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


# Of all tasks, since a context keeps each of its variables for ever.
_innermost: ContextVar["_Opened | None"] = ContextVar("dkist_recorded_span", default=None)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A span that others are opened in, and what was open before."""

    span: RecordedSpan
    before: "_Opened | None"


@contextmanager
def no_open_span() -> Iterator[None]:
    """Begin with no open span, and forget at the end what was left open."""
    before = _innermost.get()
    _innermost.set(None)
    try:
        yield
    finally:
        _innermost.set(before)


def _open_span(task: RecordedTask) -> RecordedSpan | None:
    """Return the innermost span of a task that is open here, be it inside of the span of another task."""
    opened = _innermost.get()
    while opened is not None and (opened.span.task is not task or opened.span.is_ended):
        opened = opened.before
    return None if opened is None else opened.span


class Opening:
    """Opens a span, in which others are opened until it is closed."""

    def __init__(self, task: RecordedTask, name: str, span_type: str, attributes: Mapping[str, Any]) -> None:
        self._what = task, name, span_type, attributes
        self._opened: _Opened | None = None

    def __enter__(self) -> RecordedSpan:
        span = RecordedSpan(*self._what)
        self._opened = _Opened(span, _innermost.get())
        _innermost.set(self._opened)
        return span

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            _innermost.set(self._opened.before)
            self._opened.span.__exit__(exc_type, exc_val, exc_tb)


def _trouble(what: RecordedTask | RecordedSpan) -> str:
    if what.error is not None:
        text = str(what.error)
        return f": {type(what.error).__name__}{f': {text}' if text else ''}"
    return "" if what.is_ended else ": not ended"

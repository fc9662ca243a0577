"""
Record what tasks do, for as long as a ``with`` statement lasts.

Runs in: author and CI.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.transport import Substitute
from dkist_processing_core.runtime import listeners as life_cycle
from dkist_processing_core.telemetry import _State as of_telemetry
from dkist_processing_core.telemetry.protocol import Telemetry
from dkist_processing_core.telemetry.recording import Recording
from dkist_processing_core.telemetry.trace_context import TRACEPARENT, TRACESTATE
from dkist_processing_core.testing.memory import InMemory
from dkist_processing_core.testing.metrics import RecordedMetric, RecordingMeter
from dkist_processing_core.testing.spans import RecordedSpan, RecordedTask, no_open_span

if TYPE_CHECKING:
    from dkist_processing_core.isb.messages import RecipeRunFailureMessage

__all__ = ["Recorded", "recorded"]


class Recorded:
    """
    What tasks have recorded and reported. It grows while they run, and can still be read when the recording is over.

    Attributes
    ----------
    tasks
        One for each task, in the order in which they began.
    metrics
        What the tasks have measured, by the names of the metrics.
    messages
        What was published on the interservice bus, in order.
    bus_error
        What publishing fails with, None if it succeeds. It can be set at any time.
    """

    def __init__(self, bus_error: str | Exception | None = None) -> None:
        self.tasks: list[RecordedTask] = []
        self.metrics: dict[str, RecordedMetric] = {}
        self.messages: list[Envelope] = []
        self.bus_error = bus_error
        self._spool: Path | None = None
        self._kept: list[Envelope] = []

    @property
    def spans(self) -> list[RecordedSpan]:
        """The spans of all tasks, task by task."""
        return [span for task in self.tasks for span in task.spans]

    @property
    def failures(self) -> "list[RecipeRunFailureMessage]":
        """Of ``messages`` those that say that a task has failed."""
        from dkist_processing_core.isb.messages import RecipeRunFailureMessage

        made = []
        for envelope in self.messages:
            if envelope.type == RecipeRunFailureMessage.message_type:
                message = RecipeRunFailureMessage(envelope.body, envelope.message_id)
                message.timestamp = envelope.timestamp
                made.append(message)
        return made

    @property
    def kept(self) -> list[Envelope]:
        """The messages that wait in the spool folder since they could not be published, the oldest first."""
        if self._spool is None:
            return self._kept
        from dkist_processing_core.isb import spool

        return [each.envelope for each in spool.waiting(self._spool) if each.envelope is not None]

    def tree(self) -> str:
        """Return the tasks and their spans as text; see `RecordedTask.tree`."""
        return "\n".join(task.tree() for task in self.tasks)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Take the place of the telemetry back ends and of the interservice bus."""
        with ExitStack() as stack:
            self._spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dkist-testing-")))
            stack.enter_context(_same_trace_context())
            stack.enter_context(no_open_span())
            stack.enter_context(_set(of_telemetry, substitute=self._start, ids=None))
            stack.enter_context(_set(life_cycle, start=lambda _: life_cycle.Untold()))
            stack.enter_context(_set(Substitute, deliver=self._deliver, spool_folder=self._spool))
            try:
                yield
            finally:
                self._kept, self._spool = self.kept, None

    def _start(self, facts: TaskMetadata) -> Telemetry:
        backend = InMemory(facts, RecordingMeter(self.metrics))
        self.tasks.append(backend.task)
        return Recording([backend])

    def _deliver(self, envelope: Envelope) -> None:
        if isinstance(self.bus_error, str):
            from dkist_processing_core.isb.errors import PublishError

            raise PublishError(self.bus_error, retryable=True)
        if self.bus_error is not None:
            raise self.bus_error
        self.messages.append(envelope)


@contextmanager
def recorded(*, bus_error: str | Exception | None = None) -> Iterator[Recorded]:
    """
    Record, in memory, what tasks of this process do until the ``with`` statement ends.

    Whatever the settings say, no task reports to a telemetry server meanwhile, and nothing is sent to the interservice
    bus, neither messages nor the log. The spool folder is a temporary one. At the end everything is as it was before.

    Parameters
    ----------
    bus_error
        What publishing a message fails with, an exception or the text of a `PublishError`; the message is then kept in
        the spool folder. By default publishing succeeds.

    Yields
    ------
    Recorded
        What is recorded.

    Notes
    -----
    It holds for the whole process, for threads too, and for no other process. A span that is opened in another thread
    belongs to the task that opened it; the spans of other threads are not its parents. A task belongs to the recording
    that was the innermost when it began.

    Examples
    --------
    >>> from dkist_processing_core import TaskBase, testing
    >>> class Greet(TaskBase):
    ...     def run(self):
    ...         with self.apm_step("greet", labels={"manner": "kind"}):
    ...             pass
    >>> with testing.recorded() as recorded, Greet(1, "demo", "1.0") as task:
    ...     task()
    >>> print(recorded.tree())
    Greet (demo 1.0, recipe run 1)
      Pre Run
      Run
        greet [manner='kind']
      Post Run
    """
    made = Recorded(bus_error)
    with made._recording():  # noqa: SLF001 - for nobody else
        yield made


@contextmanager
def _set(thing: Any, **values: Any) -> Iterator[None]:
    """Give attributes of something other values, until the end."""
    before = {name: vars(thing)[name] for name in values}
    for name, value in values.items():
        setattr(thing, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(thing, name, value)


@contextmanager
def _same_trace_context() -> Iterator[None]:
    """Undo what a task that was not ended has left in the environment."""
    before = {name: os.environ.get(name) for name in (TRACEPARENT, TRACESTATE)}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

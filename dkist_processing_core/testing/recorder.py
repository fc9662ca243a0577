"""
Record what tasks do, for as long as a ``with`` statement lasts.

Runs in: author and CI.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dkist_processing_core.common import test_mode
from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.telemetry.memory import InMemoryBackend
from dkist_processing_core.telemetry.memory.spans import RecordedSpan, RecordedTask, no_open_span
from dkist_processing_core.telemetry.protocol import TRACEPARENT, TRACESTATE
from dkist_processing_core.testing.metrics import RecordedMetric, RecordingMeter

if TYPE_CHECKING:
    from dkist_processing_core.isb.failures.message import RecipeRunFailureMessage

__all__ = ["Recorded", "recorded"]


class Recorded:
    """
    What tasks recorded and reported. It is updated while they run, and can still be read after the recording.

    Attributes
    ----------
    tasks
        The tasks, in the order in which they began.
    metrics
        The metrics of all tasks, by name.
    messages
        The messages that were published on the interservice bus, in order.
    bus_error
        The error that publishing raises, as for `recorded`. None if publishing succeeds. It can be set at any time.
    """

    def __init__(self, bus_error: str | Exception | None = None) -> None:
        self.tasks: list[RecordedTask] = []
        self.metrics: dict[str, RecordedMetric] = {}
        self.messages: list[Envelope] = []
        self.bus_error = bus_error
        self._spool: Path | None = None
        self._spooled: list[Envelope] = []

    @property
    def spans(self) -> list[RecordedSpan]:
        """The spans of all tasks, task by task."""
        return [span for task in self.tasks for span in task.spans]

    @property
    def failures(self) -> "list[RecipeRunFailureMessage]":
        """The ``messages`` that report the failure of a task."""
        from dkist_processing_core.isb.failures.message import RecipeRunFailureMessage

        made = []
        for envelope in self.messages:
            if envelope.type == RecipeRunFailureMessage.message_type:
                message = RecipeRunFailureMessage(envelope.body, envelope.message_id)
                message.timestamp = envelope.timestamp
                made.append(message)
        return made

    @property
    def spooled(self) -> list[Envelope]:
        """The messages that could not be published and are in the spool folder, the oldest first."""
        if self._spool is None:
            return self._spooled
        from dkist_processing_core.isb import spool

        return [each.envelope for each in spool.pending(self._spool) if each.envelope is not None]

    def tree(self) -> str:
        """Return the tasks and their spans as text; see `RecordedTask.tree`."""
        return "\n".join(task.tree() for task in self.tasks)

    def _start(self, metadata: TaskMetadata) -> InMemoryBackend:
        backend = InMemoryBackend(metadata, RecordingMeter(self.metrics))
        self.tasks.append(backend.task)
        return backend

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

    Meanwhile nothing is sent to a telemetry server or to the interservice bus, whatever the settings. Messages that
    cannot be published go to a temporary spool folder. The end of the ``with`` statement restores the previous state.

    Parameters
    ----------
    bus_error
        The error that publishing a message raises: an exception, or the text of a `PublishError`. The message is then
        written to the spool folder. By default publishing succeeds.

    Yields
    ------
    Recorded
        What is recorded.

    Notes
    -----
    The recording covers all threads of this process, and no other process. A span that is opened in another thread
    belongs to the task that opened it, and has no parent in other threads. If recordings are nested, a task belongs to
    the innermost one that was active when it began.

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
    variables = {name: os.environ.get(name) for name in (TRACEPARENT, TRACESTATE)}
    with tempfile.TemporaryDirectory(prefix="dkist-testing-") as folder, no_open_span():
        made._spool = Path(folder)  # noqa: SLF001 - of this module, as below
        try:
            with test_mode.activate(test_mode.Doubles(made._start, made._deliver, made._spool)):  # noqa: SLF001
                yield made
        finally:
            made._spooled, made._spool = made.spooled, None  # noqa: SLF001
            # A task that has not ended has left its own backup.
            for name, value in variables.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

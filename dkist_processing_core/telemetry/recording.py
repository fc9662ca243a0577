"""
The record of one task on one or several back ends.

Runs in: task environment.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self

from dkist_processing_core.common.waits import end_seconds, run_within
from dkist_processing_core.telemetry.null import NullBackend
from dkist_processing_core.telemetry.protocol import CORE_SPAN_TYPE, TRACEPARENT

__all__ = ["Recording"]

logger = logging.getLogger(__name__)

CORE_LABELS = {"type": "core"}
# Share of the time that the end of a task may take: slightly more than one request of OpenTelemetry. On a busy machine,
# the end of a process that has imported the agents takes another half a second.
FLUSH_SHARE = 0.75


class Recording:
    """
    Several back ends, combined. If only one back end can answer, the first one does.

    ``TRACEPARENT`` is in the environment from the start of the task or from its first span, so that a child process can
    continue the trace. It is not set earlier, since a task may be created and never run.
    """

    def __init__(self, backends: Sequence[NullBackend]) -> None:
        self._pid = os.getpid()
        self._backends = backends
        self._first = backends[0]
        self._traceparent_before: str | None = None
        self._is_in_environment = False
        self.ids = self._first.ids
        self.meter = self._first.meter

    @property
    def tracer(self) -> Any:
        """An OpenTelemetry tracer, or an object with its methods."""
        return self._first.tracer

    def started(self) -> None:
        """Let child processes continue the trace."""
        if self.ids is not None and not self._is_in_environment:
            self._is_in_environment = True
            self._traceparent_before = os.environ.get(TRACEPARENT)
            os.environ[TRACEPARENT] = self.ids.traceparent

    def phase(self, name: str) -> AbstractContextManager[Any]:
        """Record a phase of the task as a span."""
        return self.span(name, CORE_SPAN_TYPE, CORE_LABELS, {})

    def span(
        self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any], /
    ) -> AbstractContextManager[Any]:
        """Return the context manager of a span; see `NullBackend.span`."""
        self.started()
        # Saves one call for each further span.
        self.span = self._spans if self._backends[1:] else self._first.span  # type: ignore[method-assign]
        return self.span(name, span_type, attributes, options)

    def _spans(self, *arguments: Any) -> AbstractContextManager[Any]:
        return _Spans([each.span(*arguments) for each in self._backends])

    def close(self, error: BaseException | None) -> None:
        """End the record and send the remaining data, within `FLUSH_SHARE` of `end_seconds`."""
        if self._is_in_environment:
            if self._traceparent_before is None:
                os.environ.pop(TRACEPARENT, None)
            else:
                os.environ[TRACEPARENT] = self._traceparent_before
        if os.getpid() != self._pid:
            return  # a copy in a forked process, whose back ends have no threads
        for each in self._backends:
            try:
                each.end(error)
            except Exception as failure:
                logger.warning("%s could not be ended: %s: %s", type(each).__name__, type(failure).__name__, failure)
        flushes = {name: flush for each in self._backends for name, flush in each.flushes.items()}
        run_within(end_seconds(FLUSH_SHARE), flushes)


class _Spans(ExitStack):
    """The spans of several back ends, combined."""

    def __init__(self, managers: Sequence[AbstractContextManager[Any]]) -> None:
        super().__init__()
        self._managers = managers
        self._spans: list[Any] = []

    def __enter__(self) -> Self:
        self._spans = [self.enter_context(each) for each in self._managers]
        return self

    def __getattr__(self, name: str) -> Any:
        """Return a function that calls this method of each span that has it, and returns the first result."""
        found = [getattr(each, name) for each in self._spans if hasattr(each, name)]
        if not found:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if not callable(found[0]):
            return found[0]

        def call(*arguments: Any, **keywords: Any) -> Any:
            answers = [each(*arguments, **keywords) for each in found]
            return answers[0]

        return call

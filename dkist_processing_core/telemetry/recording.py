"""
A task that is recorded: on one back end or on several, for this process and for its children.

Runs in: task environment, if any back end is on.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any

from dkist_processing_core.common.waits import END_SECONDS, run_within
from dkist_processing_core.telemetry.protocol import Backend, TraceIds
from dkist_processing_core.telemetry.trace_context import TRACEPARENT

__all__ = ["Recording"]

logger = logging.getLogger(__name__)


class Recording:
    """
    Several back ends as one.

    From its first span on ``TRACEPARENT`` is in the environment, so that a child process can continue the trace. Not
    before, since a task may be made and never run.

    Parameters
    ----------
    backends
        What records the task; the first one is asked where only one can answer.
    """

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._pid = os.getpid()
        self._backends = backends
        self._first = backends[0]
        self._traceparent_before: str | None = None
        self._is_in_environment = False

    @property
    def ids(self) -> TraceIds | None:
        """Where the record is found."""
        return self._first.ids

    @property
    def tracer(self) -> Any:
        """A tracer; of several back ends, that of the first."""
        return self._first.tracer

    @property
    def meter(self) -> Any:
        """A meter; of several back ends, that of the first."""
        return self._first.meter

    def span(
        self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any]
    ) -> AbstractContextManager[Any]:
        """Record a stretch of work; see `Recorder.span`."""
        self._tell_child_processes()
        # One call less for each span.
        self.span = self._first.span if len(self._backends) == 1 else self._spans  # type: ignore[method-assign]
        return self.span(name, span_type, attributes, options)

    def _spans(
        self, name: str, span_type: str, attributes: Mapping[str, Any], options: Mapping[str, Any]
    ) -> AbstractContextManager[Any]:
        return _Spans([each.span(name, span_type, attributes, options) for each in self._backends])

    def _tell_child_processes(self) -> None:
        self._is_in_environment = True
        self._traceparent_before = os.environ.get(TRACEPARENT)
        if self.ids is not None:
            os.environ[TRACEPARENT] = self.ids.traceparent

    def _restore_environment(self) -> None:
        if not self._is_in_environment:
            return
        if self._traceparent_before is None:
            os.environ.pop(TRACEPARENT, None)
        else:
            os.environ[TRACEPARENT] = self._traceparent_before

    def close(self, error: BaseException | None) -> None:
        """End the recording on each back end; see `Telemetry.close`."""
        self._restore_environment()
        if os.getpid() != self._pid:
            return  # a copy in a forked process, whose back ends have no threads
        for each in self._backends:
            try:
                each.end(error)
            except Exception as failure:
                logger.warning("%s could not be ended: %s: %s", type(each).__name__, type(failure).__name__, failure)
        run_within(END_SECONDS, {name: flush for each in self._backends for name, flush in each.flushes.items()})


class _Spans:
    """The spans of several back ends as one."""

    def __init__(self, managers: Sequence[AbstractContextManager[Any]]) -> None:
        self._managers = managers
        self._stack = ExitStack()
        self._spans: list[Any] = []

    def __enter__(self) -> Any:
        self._spans = [self._stack.enter_context(each) for each in self._managers]
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._stack.__exit__(exc_type, exc_val, exc_tb)

    def __getattr__(self, name: str) -> Any:
        """Return what calls the method of each span that has it, and answers as the first of them does."""
        found = [getattr(each, name) for each in self._spans if hasattr(each, name)]
        if not found:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if not callable(found[0]):
            return found[0]

        def call(*arguments: Any, **keywords: Any) -> Any:
            answers = [each(*arguments, **keywords) for each in found]
            return answers[0]

        return call

"""
A span of the Elastic APM agent, in the spelling of OpenTelemetry.

Runs in: task environment, when ``ELASTIC_APM_ENABLED`` says so. What the agent has no place for is not recorded.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from types import TracebackType
from typing import Any

import elasticapm
from elasticapm.traces import DroppedSpan, execution_context

from dkist_processing_core.telemetry.attributes import LEFT_OPEN, plain, text
from dkist_processing_core.telemetry.null import NO_SPAN, NoSpan

__all__ = ["ElasticSpan", "end_open_spans", "enter", "labels", "leave"]

logger = logging.getLogger(__name__)

CUSTOM_SPAN_TYPE = "code.custom"
CORE_SPAN_TYPE = "code.core"  # of the phases
PHASES = 3
LONGEST_LABEL = 1024
OUTCOMES = {"OK": "success", "ERROR": "failure"}


def enter(transaction: Any) -> tuple[Any, list[Any]]:
    """Make a transaction the current one of this thread; return what was current before it."""
    spans = []
    while (span := execution_context.get_span()) is not None:
        spans.append(span)
        execution_context.unset_span()
    before = execution_context.get_transaction(), spans
    execution_context.set_transaction(transaction)
    return before


def leave(before: tuple[Any, list[Any]]) -> None:
    """Make that current in this thread again which was so before `enter`."""
    transaction, spans = before
    execution_context.unset_span(clear_all=True)
    if transaction is None or transaction.ended_time is not None:
        execution_context.set_transaction(None)
        return
    execution_context.set_transaction(transaction)
    for span in reversed(spans):
        execution_context.set_span(span)


def end_open_spans(last: Any = None) -> None:
    """
    End the spans of this thread that were left open, and say so on them.

    Parameters
    ----------
    last
        The span before which to stop; None to end all. If it is none of this thread's, nothing is ended.
    """
    found = []
    while (span := execution_context.get_span()) is not None and span is not last:
        found.append(span)
        execution_context.unset_span()
    if span is not last:
        for each in reversed(found):
            execution_context.set_span(each)
        return
    for each in found:
        if not isinstance(each, DroppedSpan):
            each.labels[LEFT_OPEN.replace(".", "_")] = True
            each.end()


def labels(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as labels, within the limits of the intake protocol."""
    made = {}
    for key, value in plain(attributes).items():
        if type(value) is str:
            if len(value) > LONGEST_LABEL:
                value = f"{value[: LONGEST_LABEL - 3]}..."  # noqa: PLW2901 - it is the same value
        elif type(value) is float and not math.isfinite(value):
            value = str(value)  # noqa: PLW2901 - likewise; JSON has no number for it
        made[key.replace(".", "_").replace("*", "_").replace('"', "_")] = value
    return made


class ElasticSpan(NoSpan):
    """
    One stretch of work.

    Parameters
    ----------
    transaction
        The agent's transaction that it belongs to, whichever is the current one where the span begins.
    name, span_type, attributes
        As of `Recorder.span`.
    """

    __slots__ = ("_arguments", "_before", "_span", "_transaction")

    def __init__(self, transaction: Any, name: str, span_type: str, attributes: Mapping[str, Any]) -> None:
        self._transaction = transaction
        self._arguments = name, span_type, attributes
        self._before: tuple[Any, list[Any]] | None = None
        self._span: Any = None

    def __enter__(self) -> Any:
        transaction = self._transaction
        if transaction is None or not transaction.is_sampled or transaction.ended_time is not None:
            return NO_SPAN
        try:
            name, span_type, attributes = self._arguments
            kinds = _kinds(span_type if type(span_type) is str else text(span_type or ""))
            if execution_context.get_transaction() is not transaction:
                self._before = enter(transaction)
            with _room_for_phases(transaction) if span_type == CORE_SPAN_TYPE else nullcontext():
                self._span = transaction.begin_span(
                    name if type(name) is str else text(name), kinds[0], span_subtype=kinds[1], span_action=kinds[2]
                )
            if attributes:
                self._span.labels.update(labels(attributes))
        except Exception as error:
            _warn(error)
        # The agent records nothing past its limit of spans for one transaction.
        return self if self.is_recording() else NO_SPAN

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            self._end(exc_val)
        except Exception as error:
            _warn(error)

    def _end(self, error: BaseException | None) -> None:
        span = self._span
        if span is not None and span.ended_time is None:
            if span.outcome in {None, "unknown"}:
                span.outcome = "success" if error is None else "failure"
            end_open_spans(span)
            span.end()
            if error is not None and span.id is not None and not hasattr(error, "_elastic_apm_span_id"):
                # The agent looks here for the span that an error belongs to.
                error._elastic_apm_span_id = span.id  # type: ignore[attr-defined]  # noqa: SLF001
        if self._before is not None:
            leave(self._before)
            self._before = None

    def is_recording(self) -> bool:
        """Tell whether anything is recorded."""
        return self._span is not None and not isinstance(self._span, DroppedSpan)

    def set_attribute(self, key: str, value: Any) -> None:
        """Record one fact as a label."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Record several facts as labels."""
        try:
            self._span.labels.update(labels(attributes))
        except Exception as error:
            _warn(error)

    def update_name(self, name: str) -> None:
        """Rename the span."""
        self._span.name = text(name)

    def set_status(self, status: Any, *_: Any, **__: Any) -> None:
        """Record how the work ended."""
        code = getattr(status, "status_code", status)
        self._span.outcome = OUTCOMES.get(getattr(code, "name", ""), self._span.outcome)

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        """Record an error event."""
        client = elasticapm.get_client()
        if client is not None:
            try:
                client.capture_exception(exc_info=(type(exception), exception, exception.__traceback__), handled=True)
            except Exception as error:
                _warn(error)


@contextmanager
def _room_for_phases(transaction: Any) -> Iterator[None]:
    """Let the phases be recorded even if the task's own spans have reached the agent's limit."""
    limit = transaction.config_transaction_max_spans
    transaction.config_transaction_max_spans = limit and limit + PHASES
    try:
        yield
    finally:
        transaction.config_transaction_max_spans = limit


@lru_cache(maxsize=256)
def _kinds(span_type: str) -> tuple[str, str | None, str | None]:
    """Return type, subtype and action; dots past the second one stay in the action."""
    words = [*(word or None for word in (span_type or CUSTOM_SPAN_TYPE).split(".", 2)), None, None]
    return words[0] or "code", words[1], words[2]


def _warn(error: Exception) -> None:
    with suppress(Exception):  # where the stack of the task is full, not even that is possible
        logger.warning("A span is not recorded, or not all of it: %s: %s", type(error).__name__, error)

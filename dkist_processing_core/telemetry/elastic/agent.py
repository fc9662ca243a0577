"""
The undocumented parts of the Elastic APM agent that this library uses.

Runs in: task environment, if ``ELASTIC_APM_ENABLED`` is true. No other module uses such parts. A test fails if a
release of the agent changes one of them.
"""

import atexit
import logging
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import elasticapm
from elasticapm import base
from elasticapm.conf.constants import ERROR
from elasticapm.processors import for_events
from elasticapm.traces import DroppedSpan, execution_context
from elasticapm.transport.http import Transport
from elasticapm.utils.disttracing import TraceParent, TracingOptions

from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.telemetry.protocol import TraceIds

logger = logging.getLogger(__name__)

# A transaction and the spans in it, the innermost one first.
Active = tuple[Any, list[Any]]


@for_events(ERROR)  # type: ignore[untyped-decorator]
def redact_messages(_client: Any, event: dict[str, Any]) -> dict[str, Any]:
    """Redact URLs in the messages of an error and of its causes."""
    exceptions = [event.get("exception")]
    while exceptions:
        if exception := exceptions.pop():
            exception["message"] = redact_urls(exception.get("message") or "")
            exceptions += exception.get("cause") or []
    return event


class BoundedTransport(Transport):
    """The agent's transport, which sends all data before it is closed, and has a new queue in a forked process."""

    def __init__(self, *arguments: Any, processors: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(*arguments, processors=[*processors, redact_messages], **options)

    def close(self) -> None:
        """Send the remaining data and wait for it. The agent itself waits only for the end of any one request."""
        super().close()
        if self._thread is not None:
            self._thread.join()

    def handle_fork(self) -> None:
        """Drop the data of the parent process. Another thread may have held the lock of its queue during the fork."""
        super().handle_fork()
        if self._thread is not None:
            self._event_queue = self._init_event_queue(chill_until=500, max_chill_time=1.0)
            self._flushed = threading.Event()


def new_client(options: Mapping[str, Any]) -> Any:
    """Return a new client for a task. The agent expects one per process, and would warn of a second one."""
    base.CLIENT_SINGLETON = None
    client = elasticapm.Client(dict(options))
    # It is outside of our time limits, and would wait a second time for a server that does not respond.
    atexit.unregister(client.close)
    return client


def begin_transaction(client: Any, parent: TraceIds | None, ids: TraceIds | None) -> Any:
    """Begin a transaction with a parent, and with the ids that another back end chose; None if recording is off."""
    continued = None if parent is None else _trace_parent(parent)
    transaction = client.begin_transaction("Task", trace_parent=continued, auto_activate=False)
    if transaction is not None and ids is not None:
        transaction.id = ids.transaction_id
        if parent is None:
            transaction.trace_parent = _trace_parent(ids)
    return transaction


def _trace_parent(ids: TraceIds) -> TraceParent:
    return TraceParent(0, ids.trace_id, ids.transaction_id, TracingOptions(recorded=ids.is_sampled))


def active_transaction() -> Any:
    """Return the transaction that is active in this thread."""
    return execution_context.get_transaction()


def activate(transaction: Any) -> Active:
    """Make a transaction active in this thread; return what was active before."""
    before = execution_context.get_transaction(), _take_spans()
    execution_context.set_transaction(transaction)
    return before


def deactivate(before: Active) -> None:
    """Make the result of `activate` active again."""
    transaction, spans = before
    execution_context.unset_span(clear_all=True)
    if transaction is not None and transaction.ended_time is not None:
        transaction, spans = None, []
    execution_context.set_transaction(transaction)
    _put_spans(spans)


def end_spans_above(last: Any, label: str) -> None:
    """End and label the spans of this thread inside ``last``, or all if it is None; none if ``last`` is not active."""
    spans = _take_spans(last)
    if execution_context.get_span() is not last:
        _put_spans(spans)
        return
    for span in filter(is_recorded, spans):
        span.labels[label] = True
        span.end()


def _take_spans(last: Any = None) -> list[Any]:
    spans = []
    while (span := execution_context.get_span()) is not None and span is not last:
        spans.append(span)
        execution_context.unset_span()
    return spans


def _put_spans(spans: list[Any]) -> None:
    for span in reversed(spans):
        execution_context.set_span(span)


def is_recorded(span: Any) -> bool:
    """Return whether the agent records a span. It drops spans beyond the limit of a transaction."""
    return span is not None and not isinstance(span, DroppedSpan)


def raise_limit(transaction: Any) -> None:
    """Let the agent record one more span in a transaction; 0 means no limit."""
    if transaction.config_transaction_max_spans:
        transaction.config_transaction_max_spans += 1


def capture(client: Any, error: BaseException, *, handled: bool) -> None:
    """Record an error event."""
    try:
        client.capture_exception(exc_info=(type(error), error, error.__traceback__), handled=handled)
    except Exception as failure:
        logger.warning("The error could not be recorded: %s: %s", type(failure).__name__, failure)


def link_error(error: BaseException, span: Any) -> None:
    """Let the agent record an error as that of the innermost span that it left."""
    if span.id is not None and not hasattr(error, "_elastic_apm_span_id"):
        with suppress(AttributeError):  # an exception may have slots
            error._elastic_apm_span_id = span.id  # type: ignore[attr-defined]  # noqa: SLF001

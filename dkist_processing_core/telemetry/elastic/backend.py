"""
Telemetry by the Elastic APM agent.

Runs in: task environment, when ``ELASTIC_APM_ENABLED`` says so. Variables of the agent (``ELASTIC_APM_...``) win over
the options here, as they do everywhere; what each means is in the agent's reference, "Configuration".
"""

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import elasticapm
from elasticapm import base
from elasticapm.utils.disttracing import TraceParent, TracingOptions

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.config import DKISTProcessingCoreConfiguration
from dkist_processing_core.telemetry.attributes import task_attributes
from dkist_processing_core.telemetry.elastic.libraries import instrument
from dkist_processing_core.telemetry.elastic.span import (
    CUSTOM_SPAN_TYPE,
    ElasticSpan,
    end_open_spans,
    enter,
    labels,
    leave,
)
from dkist_processing_core.telemetry.null import NO_METER, NoMeter, NoTracer
from dkist_processing_core.telemetry.protocol import TraceIds
from dkist_processing_core.telemetry.trace_context import incoming

__all__ = ["ElasticTelemetry"]

logger = logging.getLogger(__name__)

BOUNDED = {
    # A dead or silent server must not cost a task more than a few seconds.
    "API_REQUEST_TIME": "3s",
    "SERVER_TIMEOUT": "3s",
    "CENTRAL_CONFIG": False,
    "CLOUD_PROVIDER": "none",
    "METRICS_INTERVAL": "0s",
    # The agent walks through the whole of a value before it shortens it, which takes 3 s for a list of a million.
    "COLLECT_LOCAL_VARIABLES": "off",
}


def service_name(facts: TaskMetadata) -> str:
    """Return the service name of a workflow's version, of the characters that Elastic allows in one."""
    return f"{facts.workflow_name}-{facts.workflow_version}".replace("_", "-").replace(".", "-")


class ElasticTelemetry:
    """
    One transaction of type ``Task``.

    Parameters
    ----------
    facts
        What is known of the task; it goes onto the transaction as labels.
    ids
        The ids to use, if another back end has already chosen some. A child process can then continue the trace on
        both by one ``TRACEPARENT``.
    """

    def __init__(self, facts: TaskMetadata, ids: TraceIds | None = None) -> None:
        self._facts = facts
        # The agent warns of a second client in one process, which several tasks in a notebook are.
        base.CLIENT_SINGLETON = None
        self._client = _Client(_options(facts))
        # The agent's own end has no limit of ours, and would wait a second time for a server that is silent.
        atexit.unregister(self._client.close)
        if self._client.config.instrument:
            instrument()
        self._transaction = self._begin(ids)
        self._before: tuple[Any, list[Any]] | None = None
        self.tracer = NoTracer(lambda name, attributes: self.span(name, CUSTOM_SPAN_TYPE, attributes, {}))
        self.meter: NoMeter = NO_METER

    def _begin(self, ids: TraceIds | None) -> Any:
        parent = incoming()
        transaction = self._client.begin_transaction(
            "Task", trace_parent=None if parent is None else _trace_parent(parent), auto_activate=False
        )
        if transaction is None:
            return None  # the agent is told not to record
        if ids is not None:
            transaction.id = ids.transaction_id
            if parent is None:
                transaction.trace_parent = _trace_parent(ids)
        transaction.name = self._facts.transaction_name
        transaction.labels.update(labels(task_attributes(self._facts)))
        return transaction

    @property
    def ids(self) -> TraceIds | None:
        """Where the transaction is found."""
        if self._transaction is None:
            return None
        return TraceIds(
            self._transaction.trace_parent.trace_id, self._transaction.id, is_sampled=bool(self._transaction.is_sampled)
        )

    def span(
        self,
        name: str,
        span_type: str,
        attributes: Mapping[str, Any],
        options: Mapping[str, Any],  # noqa: ARG002 - the agent has none of OpenTelemetry's
    ) -> ElasticSpan:
        """Record a stretch of work; see `Recorder.span`."""
        if self._before is None and self._transaction is not None:
            # Not before, since a task may be made and never run, or run after another one that is made later.
            self._before = enter(self._transaction)
        return ElasticSpan(self._transaction, name, span_type, attributes)

    def end(self, error: BaseException | None) -> None:
        """End the transaction; see `Backend.end`."""
        transaction = self._transaction
        if transaction is None:
            return
        before = self._before
        is_current = base.execution_context.get_transaction() is transaction
        if not is_current:
            before = enter(transaction)
        try:
            end_open_spans()
            if error is not None:
                self._capture(error)
            transaction.outcome = "success" if error is None else "failure"
            self._client.end_transaction(
                name=self._facts.transaction_name, result="Success" if error is None else "Error"
            )
        finally:
            if before is not None:
                leave(before)

    def _capture(self, error: BaseException) -> None:
        try:
            self._client.capture_exception(exc_info=(type(error), error, error.__traceback__), handled=False)
        except Exception as failure:
            logger.warning("The error is not recorded: %s: %s", type(failure).__name__, failure)

    @property
    def flushes(self) -> dict[str, Callable[[], object]]:
        """Send what is left; see `Backend.flushes`."""
        return {"Elastic APM": self._client.close}


class _Client(elasticapm.Client):
    """The agent, with an end that loses nothing and a beginning in a forked process."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        _clients.add(self)

    def close(self) -> None:
        """
        Send what is left, and wait until all is sent.

        The agent waits for no longer than the time between two requests, and takes the end of any of them for that of
        the last one.
        """
        super().close()
        thread = self._transport._thread  # noqa: SLF001
        if thread is not None:
            thread.join()

    def start_anew(self) -> None:
        """
        Forget, in a process that was just forked, what the other process sends.

        It would be sent twice, and the lock of the queue may be one that nobody can release any more.
        """
        transport = self._transport
        self._thread_starter_lock = threading.Lock()
        transport._event_queue = transport._init_event_queue(chill_until=500, max_chill_time=1.0)  # noqa: SLF001
        transport._flushed = threading.Event()  # noqa: SLF001


_clients: "weakref.WeakSet[_Client]" = weakref.WeakSet()


def _start_anew() -> None:
    for client in list(_clients):
        client.start_anew()


os.register_at_fork(after_in_child=_start_anew)


def _trace_parent(ids: TraceIds) -> TraceParent:
    return TraceParent(0, ids.trace_id, ids.transaction_id, TracingOptions(recorded=ids.is_sampled))


def _options(facts: TaskMetadata) -> dict[str, Any]:
    configuration = DKISTProcessingCoreConfiguration()
    options = {**BOUNDED, **configuration.apm_config, "SERVICE_NAME": service_name(facts)}
    if "system-monitoring-log-apm" not in configuration.service_mesh:
        del options["SERVER_URL"]  # the agent has a variable and a default of its own
    return {**options, **configuration.elastic_apm_other_options}

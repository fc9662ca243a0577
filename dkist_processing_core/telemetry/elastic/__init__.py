"""
Telemetry with the Elastic APM agent.

Runs in: task environment, if ``ELASTIC_APM_ENABLED`` is true. Variables of the agent (``ELASTIC_APM_...``) take
precedence over the options here. The agent's reference, "Configuration", describes them.
"""

import os
from collections.abc import Mapping
from typing import Any

import elasticapm

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.waits import end_seconds
from dkist_processing_core.config import DKISTProcessingCoreConfiguration
from dkist_processing_core.telemetry.attributes import task_attributes
from dkist_processing_core.telemetry.elastic import agent
from dkist_processing_core.telemetry.elastic.span import LEFT_OPEN_LABEL, ElasticSpan, labels
from dkist_processing_core.telemetry.null import NullBackend
from dkist_processing_core.telemetry.protocol import TraceIds, incoming

__all__ = ["ElasticBackend"]

BOUNDED = {
    "TRANSPORT_CLASS": f"{agent.__name__}.{agent.BoundedTransport.__name__}",
    "API_REQUEST_TIME": "3s",
    "CENTRAL_CONFIG": False,
    "CLOUD_PROVIDER": "none",
    "METRICS_INTERVAL": "0s",
    # The agent processes a whole value before it truncates it, which takes 3 s for a list of a million items.
    "COLLECT_LOCAL_VARIABLES": "off",
}
# A task may call these thousands of times per second.
NOT_INSTRUMENTED = "redis,aioredis"


class ElasticBackend(NullBackend):
    """One transaction of type ``Task``, with the ids that another back end has chosen if there is one."""

    def __init__(self, metadata: TaskMetadata, ids: TraceIds | None = None) -> None:
        self._name = metadata.transaction_name
        self.client = agent.new_client(_options(metadata))
        self.flushes = {"Elastic APM": self.client.close}
        if self.client.config.instrument:
            _instrument()
        self._before: agent.Active | None = None
        self.transaction = transaction = agent.begin_transaction(self.client, incoming(), ids)
        if transaction is not None:
            transaction.name = self._name
            transaction.labels.update(labels(task_attributes(metadata)))
            trace_id = transaction.trace_parent.trace_id
            self.ids = TraceIds(trace_id, transaction.id, is_sampled=bool(transaction.is_sampled))

    def span(self, name: str, span_type: str, attributes: Mapping[str, Any], *_: Any) -> ElasticSpan:
        """Return the context manager of a span; see `NullBackend.span`."""
        if self._before is None and self.transaction is not None:
            # Not before, since a task may be created and never run, or run after a task that was created later.
            self._before = agent.activate(self.transaction)
        return ElasticSpan(self.client, self.transaction, name, span_type, attributes)

    def end(self, error: BaseException | None) -> None:
        """End the transaction; see `NullBackend.end`."""
        if self.transaction is None:
            return
        before = self._before
        if agent.active_transaction() is not self.transaction:
            before = agent.activate(self.transaction)
        try:
            agent.end_spans_above(None, LEFT_OPEN_LABEL)
            if error is not None:
                agent.capture(self.client, error, handled=False)
            self.transaction.outcome = "success" if error is None else "failure"
            self.client.end_transaction(name=self._name, result="Success" if error is None else "Error")
        finally:
            if before is not None:
                agent.deactivate(before)


def _instrument() -> None:
    """Let the agent instrument libraries, except those that ``DKIST_APM_DISABLED_INSTRUMENTATIONS`` names."""
    names = os.environ.get("DKIST_APM_DISABLED_INSTRUMENTATIONS", NOT_INSTRUMENTED).upper().replace(" ", "").split(",")
    if "ALL" in names:
        return
    os.environ.update({f"SKIP_INSTRUMENT_{name}": "1" for name in names if name})
    elasticapm.instrument()


def _options(metadata: TaskMetadata) -> dict[str, Any]:
    configuration = DKISTProcessingCoreConfiguration()
    # Elastic allows only certain characters in the name of a service.
    service = f"{metadata.workflow_name}-{metadata.workflow_version}".replace("_", "-").replace(".", "-")
    # A server that does not respond must not delay a task longer than its end may take.
    bounded = {**BOUNDED, "SERVER_TIMEOUT": f"{1000 * end_seconds():.0f}ms"}
    options = {**bounded, **configuration.apm_config, "SERVICE_NAME": service}
    if "system-monitoring-log-apm" not in configuration.service_mesh:
        del options["SERVER_URL"]  # the agent has its own variable and default
    return {**options, **configuration.elastic_apm_other_options}

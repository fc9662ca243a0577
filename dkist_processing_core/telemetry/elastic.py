"""
Telemetry by the Elastic APM agent.

Runs in: task environment, when ``ELASTIC_APM_ENABLED`` says so. The options keep a dead or silent server from costing
a task more than a few seconds; what each means is in the agent's reference, "Configuration".
"""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import elasticapm

from dkist_processing_core.config import DKISTProcessingCoreConfiguration
from dkist_processing_core.telemetry.none import NoSpan
from dkist_processing_core.telemetry.protocol import AttributeValue, Span, TaskFacts

__all__ = ["ElasticTelemetry"]

logger = logging.getLogger(__name__)

BOUNDED = {
    "API_REQUEST_TIME": "3s",
    "SERVER_TIMEOUT": "3s",
    "CENTRAL_CONFIG": False,
    "CLOUD_PROVIDER": "none",
    "METRICS_INTERVAL": "0s",
}


def service_name(facts: TaskFacts) -> str:
    """Return the service name of a workflow's version, of the characters that Elastic allows in one."""
    return f"{facts.workflow_name}-{facts.workflow_version}".replace("_", "-").replace(".", "-")


class ElasticSpan:
    """A span of the Elastic APM agent in the spelling of OpenTelemetry."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record one fact as a label."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record several facts as labels. One that the agent cannot take is a line in the log, not an error."""
        try:
            self._span.label(**{str(key): value for key, value in attributes.items()})
        except Exception as error:
            logger.warning("Attributes of a span are not recorded: %s: %s", type(error).__name__, error)


class _Client(elasticapm.Client):
    """
    The agent, without its habit of sending at once what it knows when an exception is captured.

    The end of that sending can be taken for the end of the one that closes the agent, which comes right after it in a
    task that has failed; the transaction would then be lost.
    """

    def queue(self, event_type: Any, data: Any, flush: bool = False) -> None:  # noqa: ARG002 - the agent's signature
        super().queue(event_type, data, flush=False)


class ElasticTelemetry:
    """
    One transaction of type ``Task``.

    Parameters
    ----------
    facts
        What is known of the task; it goes onto the transaction as labels.
    """

    def __init__(self, facts: TaskFacts) -> None:
        self._facts = facts
        configuration = DKISTProcessingCoreConfiguration()
        self._client = _Client({**BOUNDED, **configuration.apm_config, "SERVICE_NAME": service_name(facts)})
        self._client.begin_transaction("Task")
        elasticapm.label(
            recipe_run_id=facts.recipe_run_id,
            workflow_name=facts.workflow_name,
            workflow_version=facts.workflow_version,
            task_name=facts.task_name,
            host=socket.gethostname(),
            **{
                name.lower(): os.environ[name]
                for name in ("NOMAD_ALLOC_ID", "NOMAD_ALLOC_NAME", "NOMAD_GROUP_NAME")
                if name in os.environ
            },
        )

    @contextmanager
    def span(self, name: str, span_type: str, attributes: Mapping[str, AttributeValue]) -> Iterator[Span]:
        """Record a stretch of work; see `Telemetry.span`."""
        with elasticapm.capture_span(name, span_type=span_type, labels=dict(attributes)) as span:
            # The agent yields nothing past its limit of spans for one transaction.
            yield NoSpan() if span is None else ElasticSpan(span)

    def close(self, error: BaseException | None) -> None:
        """End the transaction and send it; see `Telemetry.close`."""
        try:
            if error is not None:
                self._client.capture_exception(exc_info=(type(error), error, error.__traceback__), handled=False)
            elasticapm.set_transaction_outcome("success" if error is None else "failure")
            self._client.end_transaction(
                name=self._facts.transaction_name, result="Success" if error is None else "Error"
            )
            self._client.close()
        except Exception as failure:
            logger.warning("Elastic APM could not be closed: %s: %s", type(failure).__name__, failure)

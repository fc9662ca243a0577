"""
Spans of a task, on whichever back end is configured.

Runs in: task environment. `start` picks the back end when a task starts and imports no other; `TaskBase` talks to
what it returns and knows no back end by name.
"""

import logging
import os

from dkist_processing_core.environment import is_true
from dkist_processing_core.telemetry.none import NoTelemetry
from dkist_processing_core.telemetry.protocol import Span, TaskFacts, Telemetry

__all__ = ["Span", "TaskFacts", "Telemetry", "start"]

logger = logging.getLogger(__name__)


def start(facts: TaskFacts) -> Telemetry:
    """
    Begin to record a task on the configured back end.

    A back end that is configured but cannot be started costs the task nothing but a warning in its log.

    Parameters
    ----------
    facts
        What is known of the task.
    """
    if is_true(os.environ.get("ELASTIC_APM_ENABLED", "")):
        try:
            from dkist_processing_core.telemetry.elastic import ElasticTelemetry

            return ElasticTelemetry(facts)
        except Exception as error:
            logger.warning("Elastic APM is enabled but cannot be started: %s: %s", type(error).__name__, error)
    return NoTelemetry()

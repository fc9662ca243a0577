"""
A span of the Elastic APM agent, with the methods of OpenTelemetry's.

Runs in: task environment, if ``ELASTIC_APM_ENABLED`` is true. What the agent does not support is not recorded.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dkist_processing_core.telemetry.attributes import LEFT_OPEN, plain, text, warn
from dkist_processing_core.telemetry.elastic import agent
from dkist_processing_core.telemetry.null import NULL_SPAN, NullSpan
from dkist_processing_core.telemetry.protocol import CORE_SPAN_TYPE, CUSTOM_SPAN_TYPE

__all__ = ["LEFT_OPEN_LABEL", "ElasticSpan", "labels"]

LEFT_OPEN_LABEL = LEFT_OPEN.replace(".", "_")
LONGEST_LABEL = 1024
OUTCOMES = {"OK": "success", "ERROR": "failure"}


def labels(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as labels, within the limits of the intake protocol."""
    made = {}
    for key, value in plain(attributes).items():
        if type(value) is list or (type(value) is float and not math.isfinite(value)):
            value = text(value)  # noqa: PLW2901 - the same value; the protocol has no lists, and JSON has no infinity
        if type(value) is str and len(value) > LONGEST_LABEL:
            value = f"{value[: LONGEST_LABEL - 3]}..."  # noqa: PLW2901 - likewise
        made[key.replace(".", "_").replace("*", "_").replace('"', "_")] = value
    return made


class ElasticSpan(NullSpan):
    """A span, in the given transaction even if another one is active where it begins."""

    def __init__(self, client: Any, transaction: Any, name: str, span_type: str, attributes: Mapping[str, Any]) -> None:
        self._client = client
        self._transaction = transaction
        self._arguments = name, span_type, attributes
        self._before: agent.Active | None = None
        self._span: Any = None

    def __enter__(self) -> Any:
        transaction = self._transaction
        if transaction is None or not transaction.is_sampled or transaction.ended_time is not None:
            return NULL_SPAN
        try:
            name, span_type, attributes = self._arguments
            kind, subtype, action = _kinds(span_type if type(span_type) is str else text(span_type or ""))
            if agent.active_transaction() is not transaction:
                self._before = agent.activate(transaction)
            if span_type == CORE_SPAN_TYPE:  # phases are always recorded
                agent.raise_limit(transaction)
            name = name if type(name) is str else text(name)
            self._span = transaction.begin_span(name, kind, span_subtype=subtype, span_action=action)
            if attributes:
                self._span.labels.update(labels(attributes))
        except Exception as error:
            warn(error)
        return self if self.is_recording() else NULL_SPAN

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        span = self._span
        try:
            if span is not None and span.ended_time is None:
                if span.outcome in {None, "unknown"}:
                    span.outcome = "success" if error is None else "failure"
                agent.end_spans_above(span, LEFT_OPEN_LABEL)
                span.end()
                if error is not None:
                    agent.link_error(error, span)
            if self._before is not None:
                agent.deactivate(self._before)
                self._before = None
        except Exception as failure:
            warn(failure)

    def is_recording(self) -> bool:
        """Return whether the span is recorded."""
        return agent.is_recorded(self._span)

    def set_attribute(self, key: str, value: Any) -> None:
        """Record one attribute as a label."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Record several attributes as labels."""
        try:
            self._span.labels.update(labels(attributes))
        except Exception as error:
            warn(error)

    def update_name(self, name: str) -> None:
        """Rename the span."""
        self._span.name = text(name)

    def set_status(self, status: Any, *_: Any, **__: Any) -> None:
        """Record how the work ended."""
        code = getattr(status, "status_code", status)
        self._span.outcome = OUTCOMES.get(getattr(code, "name", ""), self._span.outcome)

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        """Record an error event."""
        agent.capture(self._client, exception, handled=True)


@lru_cache(maxsize=256)
def _kinds(span_type: str) -> tuple[str, str | None, str | None]:
    """Return type, subtype and action; dots past the second one stay in the action."""
    words = [*(word or None for word in (span_type or CUSTOM_SPAN_TYPE).split(".", 2)), None, None]
    return words[0] or "code", words[1], words[2]

"""
What a telemetry back end has to offer.

Runs in: task environment.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AttributeValue", "Span", "TaskFacts", "Telemetry"]

AttributeValue = str | bool | int | float


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What telemetry says about every task."""

    recipe_run_id: int
    workflow_name: str
    workflow_version: str
    task_name: str

    @property
    def transaction_name(self) -> str:
        """Name of the transaction, or root span, of the task."""
        return f"{self.workflow_name}.{self.task_name}"


class Span(Protocol):
    """One stretch of work; the part of an OpenTelemetry span that every back end has."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record one fact about the work."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record several facts about the work."""


class Telemetry(Protocol):
    """One task, being recorded."""

    def span(self, name: str, span_type: str, attributes: Mapping[str, AttributeValue]) -> AbstractContextManager[Span]:
        """Record a stretch of work, inside of the span that is open when it begins."""

    def close(self, error: BaseException | None) -> None:
        """
        End the recording and hand over what is left of it, in bounded time.

        Parameters
        ----------
        error
            What ended the task, None if it succeeded.
        """

"""
No telemetry: the twin of the other back ends that does nothing.

Runs in: task environment.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from dkist_processing_core.telemetry.protocol import AttributeValue

__all__ = ["NoSpan", "NoTelemetry"]


class NoSpan:
    """A span that records nothing; one instance serves everywhere, since it holds no state."""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Record nothing."""

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Record nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Let exceptions through."""


class NoTelemetry:
    """Telemetry that records nothing."""

    _span = NoSpan()

    def span(self, name: str, span_type: str, attributes: Mapping[str, AttributeValue]) -> NoSpan:
        """Return the span that records nothing."""
        return self._span

    def close(self, error: BaseException | None) -> None:
        """Do nothing."""

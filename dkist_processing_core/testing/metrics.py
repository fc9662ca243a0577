"""
The metrics of tasks, in memory.

Runs in: author and CI.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partialmethod
from types import SimpleNamespace
from typing import Any

from dkist_processing_core.telemetry.null import METER_NAME

__all__ = ["Measurement", "RecordedMetric", "RecordingMeter"]

CALLBACK_MILLISECONDS = 10_000.0


@dataclass(frozen=True)
class Measurement:
    """
    One value of a metric.

    Attributes
    ----------
    value
        The value, in the unit of the metric.
    attributes
        Its attributes.
    """

    value: float
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class RecordedMetric:
    """
    A metric, with its values from all recorded tasks.

    Attributes
    ----------
    name
        Full name, such as ``dkist.processing.tasks.executed``.
    kind
        ``counter``, ``up_down_counter``, ``histogram``, ``gauge``, ``observable_counter``,
        ``observable_up_down_counter`` or ``observable_gauge``.
    unit, description
        Unit and description that the task gave.
    """

    name: str
    kind: str
    unit: str = ""
    description: str = ""
    _measurements: list[Measurement] = field(default_factory=list, repr=False)
    callbacks: list[Callable[[Any], Iterable[Any] | None]] = field(default_factory=list, repr=False)

    @property
    def measurements(self) -> list[Measurement]:
        """Values, the earliest first. Each access calls the callbacks of an observable metric."""
        options = SimpleNamespace(timeout_millis=CALLBACK_MILLISECONDS)
        observed = [
            Measurement(each.value, dict(each.attributes or {}))
            for callback in self.callbacks
            for each in callback(options) or ()
        ]
        return [*self._measurements, *observed]

    @property
    def total(self) -> float:
        """Sum of the values of its measurements."""
        return sum(each.value for each in self.measurements)

    def record(self, value: float, attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> None:
        """Add one value."""
        self._measurements.append(Measurement(value, dict(attributes or {})))

    # The task also gets this object as the instrument, whatever its kind.
    add = set = record


class RecordingMeter:
    """The meter of a task, with the methods of OpenTelemetry's. It adds the metrics to a dictionary, by name."""

    name = METER_NAME

    def __init__(self, metrics: dict[str, RecordedMetric]) -> None:
        self._metrics = metrics

    def _create(self, kind: str, name: str, unit: str = "", description: str = "", **_: Any) -> RecordedMetric:
        return self._metrics.setdefault(name, RecordedMetric(name, kind, unit, description))

    def _observe(
        self,
        kind: str,
        name: str,
        callbacks: Sequence[Any] | None = None,
        unit: str = "",
        description: str = "",
        **_: Any,
    ) -> RecordedMetric:
        metric = self._create(kind, name, unit, description)
        metric.callbacks += map(_as_function, callbacks or ())
        return metric

    create_counter = partialmethod(_create, "counter")
    create_up_down_counter = partialmethod(_create, "up_down_counter")
    create_histogram = partialmethod(_create, "histogram")
    create_gauge = partialmethod(_create, "gauge")
    create_observable_counter = partialmethod(_observe, "observable_counter")
    create_observable_up_down_counter = partialmethod(_observe, "observable_up_down_counter")
    create_observable_gauge = partialmethod(_observe, "observable_gauge")


def _as_function(callback: Any) -> Callable[[Any], Iterable[Any] | None]:
    """Return a callback as a function. OpenTelemetry also accepts generators, which yield once for each call."""
    if not isinstance(callback, Generator):
        return callback  # type: ignore[no-any-return]
    next(callback)

    def observe(options: Any) -> Iterable[Any] | None:
        try:
            return callback.send(options)  # type: ignore[no-any-return]
        except StopIteration:
            return None

    return observe

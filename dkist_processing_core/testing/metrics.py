"""
Metrics of tasks, in memory.

Runs in: author and CI.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from dkist_processing_core.telemetry.null import NoInstrument, NoMeter

__all__ = ["Measurement", "RecordedMetric", "RecordingMeter"]

CALLBACK_MILLISECONDS = 10_000.0


@dataclass(frozen=True)
class Measurement:
    """
    One value that a metric was told.

    Attributes
    ----------
    value
        The value, in the unit of the metric.
    attributes
        Facts about it.
    """

    value: float
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class RecordedMetric:
    """
    A metric, with what it was told by all the tasks that were recorded.

    Attributes
    ----------
    name
        Full name, such as ``dkist.processing.tasks.executed``.
    kind
        ``counter``, ``up_down_counter``, ``histogram``, ``gauge``, or one of the first two or the last with
        ``observable_`` before it.
    unit, description
        As the task has given them.
    """

    name: str
    kind: str
    unit: str = ""
    description: str = ""
    _told: list[Measurement] = field(default_factory=list, repr=False)
    _callbacks: list[Callable[[Any], Iterable[Any] | None]] = field(default_factory=list, repr=False)

    @property
    def measurements(self) -> list[Measurement]:
        """What it was told, the earliest first; an observable one is asked, at each look."""
        if not self._callbacks:
            return list(self._told)
        options = SimpleNamespace(timeout_millis=CALLBACK_MILLISECONDS)
        return [
            Measurement(each.value, dict(each.attributes or {}))
            for callback in self._callbacks
            for each in callback(options) or ()
        ]

    @property
    def total(self) -> float:
        """Sum of the values of its measurements."""
        return sum(each.value for each in self.measurements)

    def tell(self, value: float, attributes: Mapping[str, Any] | None = None) -> None:
        """Take one value."""
        self._told.append(Measurement(value, dict(attributes or {})))

    def ask(self, callback: Any) -> None:
        """Take the values from a callback, as OpenTelemetry's observable metrics do."""
        self._callbacks.append(_as_function(callback))


class RecordingMeter(NoMeter):
    """
    The meter that a task gets, with the methods of OpenTelemetry's.

    Parameters
    ----------
    metrics
        Where the metrics are put, by their names.
    """

    def __init__(self, metrics: dict[str, RecordedMetric]) -> None:
        self._metrics = metrics

    def _metric(self, kind: str, name: str, unit: str, description: str) -> RecordedMetric:
        return self._metrics.setdefault(name, RecordedMetric(name, kind, unit, description))

    def create_counter(self, name: str, unit: str = "", description: str = "", **_: Any) -> "_Instrument":
        """Return what takes ``add``."""
        return _Instrument(self._metric("counter", name, unit, description))

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "", **_: Any) -> "_Instrument":
        """Return what takes ``add``."""
        return _Instrument(self._metric("up_down_counter", name, unit, description))

    def create_histogram(self, name: str, unit: str = "", description: str = "", **_: Any) -> "_Instrument":
        """Return what takes ``record``."""
        return _Instrument(self._metric("histogram", name, unit, description))

    def create_gauge(self, name: str, unit: str = "", description: str = "", **_: Any) -> "_Instrument":
        """Return what takes ``set``."""
        return _Instrument(self._metric("gauge", name, unit, description))

    def create_observable_counter(
        self, name: str, callbacks: Sequence[Any] | None = None, unit: str = "", description: str = "", **_: Any
    ) -> NoInstrument:
        """Have callbacks asked for the value."""
        return self._observe("observable_counter", name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[Any] | None = None, unit: str = "", description: str = "", **_: Any
    ) -> NoInstrument:
        """Have callbacks asked for the value."""
        return self._observe("observable_up_down_counter", name, callbacks, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[Any] | None = None, unit: str = "", description: str = "", **_: Any
    ) -> NoInstrument:
        """Have callbacks asked for the value."""
        return self._observe("observable_gauge", name, callbacks, unit, description)

    def _observe(
        self, kind: str, name: str, callbacks: Sequence[Any] | None, unit: str, description: str
    ) -> NoInstrument:
        metric = self._metric(kind, name, unit, description)
        for each in callbacks or ():
            metric.ask(each)
        return NoInstrument()


class _Instrument(NoInstrument):
    def __init__(self, metric: RecordedMetric) -> None:
        self._metric = metric

    def _tell(self, value: float, attributes: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> None:
        self._metric.tell(value, attributes)

    add = _tell
    record = _tell
    set = _tell


def _as_function(callback: Any) -> Callable[[Any], Iterable[Any] | None]:
    """Return a callback as a function; OpenTelemetry takes generators as well, which yield once for each question."""
    if not isinstance(callback, Generator):
        return callback  # type: ignore[no-any-return]
    next(callback)

    def ask(options: Any) -> Iterable[Any] | None:
        try:
            return callback.send(options)  # type: ignore[no-any-return]
        except StopIteration:
            return None

    return ask

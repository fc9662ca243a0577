"""
When each try of a run began and ended, as shares of the time in which the run was active.

Runs in: author and CI. Days may pass between the end of a runner and its resumption. They are left out.
"""

from datetime import datetime, timedelta

from dkist_processing_core.local.report.data import Told
from dkist_processing_core.local.state import UP_FOR_RETRY, Try

__all__ = ["Timeline"]

STEPS = (1, 2, 5, 10, 15, 30)  # in each unit
MOST_TICKS = 7
BREAK_SHARE = 0.02  # share of the active time, between two sessions
LEAST_SECONDS = 0.01


class Timeline:
    """
    The timeline of a run.

    Attributes
    ----------
    order
        The tasks in the order in which they began, followed by those that did not begin.
    bars
        Beginning and end of each try, by the name of the task.
    waits
        Beginning and end of each time between two tries of a task in one session.
    breaks
        Position and time of each resumption of the run.
    ticks
        Positions and labels of the ticks of the axis.
    """

    def __init__(self, told: Told) -> None:
        self._sessions = told.sessions
        active = max(LEAST_SECONDS, sum(each.seconds for each in told.sessions))
        pause = BREAK_SHARE * active
        self._total = active + pause * (len(told.sessions) - 1)
        self._offsets = [0.0]
        for each in told.sessions[:-1]:
            self._offsets.append(self._offsets[-1] + each.seconds + pause)
        self.breaks = [
            ((offset - pause / 2) / self._total, each.started["time"])
            for offset, each in zip(self._offsets[1:], told.sessions[1:], strict=True)
        ]
        tasks = told.state.tasks.values()
        begun = sorted((task for task in tasks if task.tries), key=lambda task: task.tries[0].started)
        self.order = [task.name for task in (*begun, *(task for task in tasks if not task.tries))]
        self.bars: dict[str, list[tuple[float, float]]] = {}
        self.waits: dict[str, list[tuple[float, float]]] = {}
        for task in tasks:
            where = [told.session_of[task.name, each.number] for each in task.tries]
            bars = [self._bar(each, session) for each, session in zip(task.tries, where, strict=True)]
            self.bars[task.name] = bars
            self.waits[task.name] = [
                (bars[number][1], bars[number + 1][0])
                for number in range(len(bars) - 1)
                if where[number] == where[number + 1] and task.tries[number].state == UP_FOR_RETRY
            ]
        self.ticks = self._ticks()

    def _bar(self, each: Try, index: int) -> tuple[float, float]:
        session = self._sessions[index]
        began = datetime.fromisoformat(each.started)
        # A try without an end was interrupted with its runner, or is still running.
        ended = session.end if each.seconds is None else min(session.end, began + timedelta(seconds=each.seconds))
        start, end = ((moment - session.begin).total_seconds() + self._offsets[index] for moment in (began, ended))
        return start / self._total, max(start, end) / self._total

    def _ticks(self) -> list[tuple[float, str]]:
        """Return ticks at round times of the axis."""
        step, unit, size = self._step()
        ticks = []
        number = 0
        while number * step * size <= self._total:
            ticks.append((number * step * size / self._total, f"{number * step:g} {unit}"))
            number += 1
        return ticks

    def _step(self) -> tuple[float, str, float]:
        for unit, size in (("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0)):
            for step in (*STEPS, *((50, 100, 200, 500) if unit == "ms" else ())):
                if self._total <= MOST_TICKS * step * size:
                    return step, unit, size
        days = self._total / 86400 / MOST_TICKS
        return max(2.0, float(round(days + 0.5))), "d", 86400.0

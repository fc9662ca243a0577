"""
Decide when each task of a local run begins, and what follows from its end.

Runs in: author and CI. Order, retries and delays are those that the workflow has in Airflow.
"""

import heapq
import os
import platform
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from dkist_processing_core._version import __version__
from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.common.outcome import Outcome, judged
from dkist_processing_core.local import runs
from dkist_processing_core.local.executors import Ended, ForkExecutor
from dkist_processing_core.local.in_process import InProcessExecutor
from dkist_processing_core.local.interruption import Interruption
from dkist_processing_core.local.state import (
    FAILED,
    INTERRUPTED,
    SUCCESS,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
    RunState,
)

__all__ = ["Listener", "Reporter", "Scheduler", "remaining"]

SCHEMA_VERSION = 1
GRACE_SECONDS = 10.0
Listener = Callable[[Mapping[str, Any]], object]
Reporter = Callable[[str, int, Outcome], object]


def remaining(spec: WorkflowSpec, tasks: Iterable[str], before: RunState) -> list[str]:
    """Return those of the given tasks that have not succeeded yet, and those that depend on one of them."""
    chosen = set(tasks)
    again: list[str] = []
    for node in spec.nodes:
        has_succeeded = node.name in before.tasks and before.tasks[node.name].state == SUCCESS
        if node.name in chosen and (not has_succeeded or not set(again).isdisjoint(node.upstreams)):
            again.append(node.name)
    return again


class Scheduler:
    """Starts the tasks of a run, and decides what follows when one of them has ended."""

    def __init__(  # noqa: PLR0913 - the parts of a run
        self,
        spec: WorkflowSpec,
        tasks: list[str],
        before: RunState,
        executor: ForkExecutor | InProcessExecutor,
        journal: runs.Journal,
        *,
        parallel: int,
        queue_limits: Mapping[str, int],
        fail_fast: bool,
        listener: Listener | None,
        reporter: Reporter | None,
    ) -> None:
        self._reporter = reporter
        self._spec = spec
        self._nodes = {node.name: node for node in spec.nodes}
        self.state = before
        self._selected = remaining(spec, tasks, before)
        self._executor = executor
        self._journal = journal
        self._parallel = parallel
        self._queue_limits = queue_limits
        self._fail_fast = fail_fast
        self._listener = listener
        self._began = time.monotonic()
        self._position = {name: place for place, name in enumerate(self._nodes)}
        chosen = set(self._selected)
        self._missing = {name: len(chosen.intersection(self._nodes[name].upstreams)) for name in self._selected}
        self._downstreams: dict[str, list[str]] = {name: [] for name in self._selected}
        for upstream, name in spec.edges():
            if upstream in chosen and name in chosen:
                self._downstreams[upstream].append(name)
        self._ready = [(self._position[name], name) for name in self._selected if not self._missing[name]]
        heapq.heapify(self._ready)
        self._later: list[tuple[float, str]] = []  # tasks that wait for their next try
        self._running: dict[str, float] = {}
        self._queues: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._is_stopped = False
        self._is_interrupted = False
        self._kill_at: float | None = None

    def begin(self, recipe_run_id: int, executor: str, selection: list[str] | None, *, is_resumed: bool) -> None:
        """Begin the run with its first event; ``selection`` is None if no task was left out."""
        self._tell(
            "run_started",
            schema_version=SCHEMA_VERSION,
            run_id=self._journal.folder.name,
            library_version=__version__,
            recipe_run_id=recipe_run_id,
            executor=executor,
            is_resumed=is_resumed,
            host=os.uname().nodename,
            python=platform.python_version(),
            prefix=sys.prefix,
            workflow=self._spec.to_dict(),
            selection=selection,
            tasks=self._selected,
        )

    def loop(self, interruption: Interruption) -> None:
        """Start tasks that are ready, and wait for running ones to end, until none is left."""
        answered = 0
        while True:
            if self._kill_at and time.monotonic() >= self._kill_at:
                self._executor.end(signal.SIGKILL)
                self._kill_at = None
            if not self._is_stopped:
                self._start_ready()
            if not self._running and (self._is_stopped or not self._later):
                break
            has_ended = self._executor in select.select([self._executor, interruption], [], [], self._patience())[0]
            if interruption.count > answered:
                answered = interruption.count
                self._interrupt(answered)
            if has_ended:
                for each in self._executor.ended():
                    self._ended(each)
        outcome = self._outcome()
        if interruption.count and outcome != SUCCESS:
            outcome = INTERRUPTED
        self._tell("run_ended", state=outcome, seconds=time.monotonic() - self._began)

    def _outcome(self) -> str:
        return SUCCESS if all(self.state.tasks[name].state == SUCCESS for name in self._selected) else FAILED

    def _tell(self, kind: str, **values: Any) -> None:
        event = {"event": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        self._journal.append(event)
        self.state.apply(event)
        if self._listener:
            self._listener(event)

    def _patience(self) -> float | None:
        moments = [self._later[0][0]] if self._later and not self._is_stopped else []
        moments += [self._kill_at] if self._kill_at else []
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _interrupt(self, count: int) -> None:
        self._is_stopped = self._is_interrupted = True
        self._executor.end(signal.SIGTERM if count == 1 else signal.SIGKILL)
        self._kill_at = time.monotonic() + GRACE_SECONDS if count == 1 else None

    def _start_ready(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _, name = heapq.heappop(self._later)
            heapq.heappush(self._ready, (self._position[name], name))
        held = []
        while self._ready and len(self._running) < self._parallel:
            position, name = heapq.heappop(self._ready)
            queue = self._nodes[name].queue
            if self._queues[queue] >= self._queue_limits.get(queue, self._parallel):
                held.append((position, name))
                continue
            self._start(name)
        for each in held:
            heapq.heappush(self._ready, each)

    def _start(self, name: str) -> None:
        number = len(self.state.tasks[name].tries) + 1
        log = f"logs/{name}.{number}.log"
        self._running[name] = time.monotonic()
        self._queues[self._nodes[name].queue] += 1
        self._tell("task_started", task=name, **{"try": number}, log=log)
        folder = self._journal.folder
        self._executor.start(self._nodes[name], folder / log, runs.spans_file(folder, name, number))

    def _ended(self, ended: Ended) -> None:
        name, node = ended.task, self._nodes[ended.task]
        seconds = time.monotonic() - self._running.pop(name)
        self._queues[node.queue] -= 1
        outcome = judged(ended.outcome, ended.status)
        values: dict[str, Any] = {}
        state = self._state_after(outcome, node)
        if state == INTERRUPTED:
            values = {"summary": "stopped"}
        elif not outcome.is_success:
            values = {"summary": outcome.summary, "error": outcome.error}
        if state == UP_FOR_RETRY:
            values["retry_in_seconds"] = node.retry_delay_seconds
            heapq.heappush(self._later, (time.monotonic() + node.retry_delay_seconds, name))
        self._tell(
            "task_ended",
            task=name,
            **{"try": len(self.state.tasks[name].tries)},
            state=state,
            exit_status=outcome.exit_status,
            seconds=round(seconds, 3),
            cpu_seconds=round(ended.cpu_seconds, 3),
            peak_memory_bytes=ended.peak_memory_bytes,
            **values,
        )
        if state == SUCCESS:
            for each in self._downstreams[name]:
                self._missing[each] -= 1
                if not self._missing[each]:
                    heapq.heappush(self._ready, (self._position[each], each))
        elif state == FAILED:
            if self._reporter:
                self._reporter(name, len(self.state.tasks[name].tries), outcome)
            self._is_stopped |= self._fail_fast
            self._skip(name)

    def _state_after(self, outcome: Outcome, node: NodeSpec) -> str:
        if outcome.is_success:
            return SUCCESS
        if self._is_interrupted:
            return INTERRUPTED
        self._failures[node.name] += 1
        return UP_FOR_RETRY if self._failures[node.name] <= node.retries else FAILED

    def _skip(self, name: str) -> None:
        """Skip all tasks that depend on a failed task."""
        pending = list(self._downstreams[name])
        while pending:
            each = pending.pop()
            if self.state.tasks[each].state != UPSTREAM_FAILED:
                self._tell("task_skipped", task=each, state=UPSTREAM_FAILED, upstream=name)
                pending += self._downstreams[each]

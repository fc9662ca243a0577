"""
Run a workflow without Airflow.

Runs in: author and CI.
"""

import heapq
import logging
import os
import platform
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Self

from dkist_processing_core._version import __version__
from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.common.outcome import Outcome, judged
from dkist_processing_core.exceptions import LocalRunError, ResumeError
from dkist_processing_core.local import runs
from dkist_processing_core.local.executors import Ended, ForkExecutor, InProcessExecutor, wait
from dkist_processing_core.local.selection import selected
from dkist_processing_core.local.state import (
    FAILED,
    INTERRUPTED,
    SUCCESS,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
    RunState,
    TaskState,
)
from dkist_processing_core.runtime.task import as_recipe_run_id
from dkist_processing_core.workflow import Workflow

__all__ = ["EXECUTORS", "RunResult", "run_workflow"]

logger = logging.getLogger(__name__)

EXECUTORS = ("processes", "environments", "in_process")
SCHEMA_VERSION = 1
GRACE_SECONDS = 10.0
# A killed runner leaves the process whose children the tasks are, which ends them first.
RESUME_PATIENCE_SECONDS = 20.0
# Nothing reaches a service unless that is asked for.
WITHOUT_BUS = {"DKIST_ISB_LOGGING": "false"}
WITHOUT_TELEMETRY = {"ELASTIC_APM_ENABLED": "false", "OTEL_SDK_DISABLED": "true"}
Listener = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True)
class RunResult:
    """
    The result of a run.

    Attributes
    ----------
    state
        ``success``, ``failed``, or ``interrupted`` if a person has stopped it.
    tasks
        The tasks by name, in their order.
    folder
        Where the run is kept: its journal and its logs.
    report
        The page that shows the run; None if it could not be written.
    """

    state: str
    tasks: Mapping[str, TaskState]
    folder: Path
    report: Path | None = None

    @property
    def is_success(self) -> bool:
        """Whether all tasks that were to run have succeeded."""
        return self.state == SUCCESS


def run_workflow(  # noqa: PLR0913 - all that decides how a workflow is run
    workflow: Workflow | WorkflowSpec,
    recipe_run_id: int,
    *,
    executor: str = EXECUTORS[0],
    parallel: int | None = None,
    queue_limits: Mapping[str, int] | None = None,
    start: Iterable[str] = (),
    until: Iterable[str] = (),
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    fail_fast: bool = False,
    resume: bool = False,
    allow_changes: bool = False,
    with_bus: bool = False,
    with_telemetry: bool = False,
    debug: bool = False,
    listener: Listener | None = None,
) -> RunResult:
    """
    Run a workflow on this machine: the order, the retries and the exit statuses are those that it has in Airflow.

    A task whose upstreams have all succeeded is started; after a failure all that does not depend on it goes on.

    Parameters
    ----------
    workflow
        The workflow.
    recipe_run_id
        The recipe run to process.
    executor
        ``processes``, where each task has a process of the current Python; ``environments``, where each is run by the
        worker program in the cached environment of its release, as on a worker; or ``in_process``, one after the other
        in this process.
    parallel
        How many tasks run at once; as many as there are processors by default.
    queue_limits
        How many tasks of a resource queue run at once, by the names of queues.
    start, until, only, skip
        Which tasks to run: those that depend on some, those that some depend on, these alone, all but these.
    fail_fast
        Whether no task is started any more when one has failed.
    resume
        Whether to take up the last run of this workflow and recipe run, at what has not succeeded.
    allow_changes
        Whether to resume although what was done already has changed in the workflow.
    with_bus, with_telemetry
        Whether the tasks log to the interservice bus, as its settings say, and a failure is published there; and
        whether they report to telemetry, as its settings say.
    debug
        Whether a debugger begins at the error of a task, with ``in_process``.
    listener
        Is called with each event of the run, see ``dkist_processing_core.local.state``.

    Returns
    -------
    RunResult
        The result; a task that fails is no error.

    Raises
    ------
    RecipeRunIdError
        If the recipe run id is no integer.
    SelectionError
        If there is no such task, or none is left to run.
    ResumeError
        If there is nothing to resume, or what was done already has changed.
    RunActiveError
        If the run to resume has not ended.
    """
    spec = workflow.spec if isinstance(workflow, Workflow) else workflow
    if executor not in EXECUTORS:
        raise LocalRunError(f"the executor is {executor!r}, not one of {', '.join(EXECUTORS)}")
    number = as_recipe_run_id(recipe_run_id)
    tasks = selected(spec, start=start, until=until, only=only, skip=skip)
    for node in spec.nodes:
        if node.task.startswith("__main__:"):
            raise LocalRunError(f"the task {node.name} is in __main__, which another process cannot import")
    with ExitStack() as stack:
        if resume:
            journal, before = _resumed(spec, number, stack, allow_changes=allow_changes)
        else:
            journal, before = runs.Journal(runs.new_folder(spec.name, number)), RunState()
            stack.callback(journal.close)
        environment = {
            **os.environ,
            **({} if with_bus else WITHOUT_BUS),
            **({} if with_telemetry else WITHOUT_TELEMETRY),
            "DKIST_RECIPE_RUN_ID": str(number),
        }
        if executor == "in_process":
            made: ForkExecutor | InProcessExecutor = InProcessExecutor(spec, environment, is_debugged=debug)
            parallel = 1
        else:
            made = ForkExecutor(
                spec,
                environment,
                journal.folder,
                is_worker=executor == "environments",
                descriptors=[journal.descriptor],
            )
        stack.callback(made.close)
        run = _Run(
            spec,
            tasks,
            before,
            made,
            journal,
            parallel=parallel or os.cpu_count() or 1,
            queue_limits=queue_limits or {},
            fail_fast=fail_fast,
            listener=listener,
            reporter=_reporter(spec, number, journal.folder, stack) if with_bus else None,
        )
        run.begin(number, executor, is_resumed=resume)
        with _Interruption() as interruption:  # which does not keep the report from being written
            try:
                run.loop(interruption)
            finally:
                report = _report(journal.folder)
        return run.result(report)


def _report(folder: Path) -> Path | None:
    """Write the report of a run; a run whose report cannot be written is as good as any other."""
    try:
        from dkist_processing_core.local.report import REPORT, write

        return write(folder, folder / REPORT)
    except Exception as error:
        logger.warning("The report of the run was not written: %s: %s", type(error).__name__, error)
        return None


def _resumed(
    spec: WorkflowSpec, number: int, stack: ExitStack, *, allow_changes: bool
) -> tuple[runs.Journal, RunState]:
    """Return the journal of the last run, and its state, if it can be resumed."""
    folder = runs.latest(spec.name, number)
    if folder is None:
        raise ResumeError(
            f"there is no run of {spec.name} for recipe run {number} in {runs.runs_folder()}",
            remedy="Run it without --resume",
        )
    journal = stack.enter_context(closing(runs.Journal(folder, patience=RESUME_PATIENCE_SECONDS)))
    before = runs.state(folder)
    nodes = {node.name: node for node in spec.nodes}
    # A run that was killed at its very beginning has nothing to say yet.
    old = {each["name"]: each for each in before.started["workflow"]["nodes"]} if before.started else {}
    changes = [
        f"{name} {what}"
        for name, task in before.tasks.items()
        if task.state == SUCCESS and (what := _change(old[name], nodes.get(name)))
    ]
    if changes and not allow_changes:
        listed = "".join(f"\n    {each}" for each in changes)
        raise ResumeError(
            f"the run {folder.name} cannot be resumed, since what has succeeded in it has changed:{listed}",
            remedy="Run it anew, or use --allow-changes to keep what has succeeded nevertheless",
        )
    return journal, before


def _change(old: Mapping[str, Any], node: NodeSpec | None) -> str:
    """Return what has changed in a task that has succeeded, as to what it does and what it needs; empty if nothing."""
    if node is None:
        return "is no longer in the workflow"
    if old["task"] != node.task:
        return f"was {old['task']} and is {node.task}"
    if tuple(old["upstreams"]) != node.upstreams:
        return (
            f"had the upstreams {', '.join(old['upstreams']) or 'none'} and has {', '.join(node.upstreams) or 'none'}"
        )
    return ""


def _reporter(
    spec: WorkflowSpec, recipe_run_id: int, folder: Path, stack: ExitStack
) -> Callable[[str, int, Outcome], object]:
    """Return a function that publishes the failure of a task, in a thread, which the end of the run waits for."""
    from concurrent.futures import ThreadPoolExecutor

    from dkist_processing_core.failure_callback import recipe_run_failure_message_producer_factory
    from dkist_processing_core.isb.failures.failure import Failure, last_lines
    from dkist_processing_core.isb.failures.message import message_of, report

    threads = stack.enter_context(ThreadPoolExecutor(1))

    def publish(name: str, number: int, outcome: Outcome) -> None:
        failure = Failure(
            workflow_name=spec.name,
            workflow_version=spec.version,
            task_name=name,
            dag_id=spec.dag_id,
            run_id=folder.name,
            try_number=number,
            recipe_run_id=recipe_run_id,
            log_url=(folder / "logs" / f"{name}.{number}.log").as_uri(),
            host=os.uname().nodename,
            exit_status=outcome.exit_status,
            error=last_lines(outcome.error or outcome.summary or ""),
            trace_id=outcome.trace_id,
            transaction_id=outcome.transaction_id,
        )
        report(failure, message_of(failure), recipe_run_failure_message_producer_factory)

    return lambda *arguments: threads.submit(publish, *arguments)


@dataclass
class _Interruption:
    """SIGINT and SIGTERM, of which the first one ends the tasks in an orderly way and the second one at once."""

    count: int = 0
    _before: list[tuple[int, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._receive, self._send = socket.socketpair()
        for each in (self._receive, self._send):
            each.settimeout(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not the main thread, which alone can
                self._before.append((number, signal.signal(number, self._note)))
        return self

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        with suppress(OSError):
            self._send.send(b"x")

    def fileno(self) -> int:
        return self._receive.fileno()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        self._receive.close()
        self._send.close()


class _Run:
    """The tasks of a run, and what happens when one of them has ended."""

    def __init__(  # noqa: PLR0913 - its parts
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
        reporter: "Callable[[str, int, Outcome], object] | None",
    ) -> None:
        self._reporter = reporter
        self._spec = spec
        self._nodes = {node.name: node for node in spec.nodes}
        self._state = before
        self._selected = [name for name in tasks if name not in before.tasks or before.tasks[name].state != SUCCESS]
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
        self._later: list[tuple[float, str]] = []  # for another try
        self._running: dict[str, float] = {}
        self._queues: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._is_stopped = False
        self._kill_at: float | None = None

    def begin(self, recipe_run_id: int, executor: str, *, is_resumed: bool) -> None:
        """Begin the run, with what its first event says."""
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
            tasks=self._selected,
        )

    def loop(self, interruption: _Interruption) -> None:
        """Start what can be started, and wait for what ends, until nothing is left."""
        answered = 0
        while True:
            if interruption.count > answered:
                answered = interruption.count
                self._interrupt(answered)
            if self._kill_at and time.monotonic() >= self._kill_at:
                self._executor.end(signal.SIGKILL)
                self._kill_at = None
            if not self._is_stopped:
                self._start_ready()
            if not self._running and (self._is_stopped or not self._later):
                break
            if wait(self._executor, interruption.fileno(), seconds=self._patience()):
                for each in self._executor.ended():
                    self._ended(each)
        outcome = INTERRUPTED if interruption.count else self._outcome()
        self._tell("run_ended", state=outcome, seconds=time.monotonic() - self._began)

    def result(self, report: Path | None) -> RunResult:
        """Return the result."""
        return RunResult(self._state.state, self._state.tasks, self._journal.folder, report)

    def _outcome(self) -> str:
        return SUCCESS if all(self._state.tasks[name].state == SUCCESS for name in self._selected) else FAILED

    def _tell(self, kind: str, **values: Any) -> None:
        event = {"event": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        self._journal.append(event)
        self._state.apply(event)
        if self._listener:
            self._listener(event)

    def _patience(self) -> float | None:
        moments = [self._later[0][0]] if self._later and not self._is_stopped else []
        moments += [self._kill_at] if self._kill_at else []
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _interrupt(self, count: int) -> None:
        self._is_stopped = True
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
        number = len(self._state.tasks[name].tries) + 1
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
        if outcome.is_success:
            state = SUCCESS
        elif self._is_interrupted(ended):
            state = INTERRUPTED
        else:
            self._failures[name] += 1
            state = UP_FOR_RETRY if self._failures[name] <= node.retries else FAILED
        if not outcome.is_success:
            values = {"summary": outcome.summary, "error": outcome.error}
        if state == UP_FOR_RETRY:
            values["retry_in_seconds"] = node.retry_delay_seconds
            heapq.heappush(self._later, (time.monotonic() + node.retry_delay_seconds, name))
        self._tell(
            "task_ended",
            task=name,
            **{"try": len(self._state.tasks[name].tries)},
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
                self._reporter(name, len(self._state.tasks[name].tries), outcome)
            self._is_stopped |= self._fail_fast
            self._skip(name)

    def _is_interrupted(self, ended: Ended) -> bool:
        return self._is_stopped and ended.status in {128 + signal.SIGTERM, 128 + signal.SIGKILL}

    def _skip(self, name: str) -> None:
        """Let all that depends on a task that has failed be skipped."""
        pending = list(self._downstreams[name])
        while pending:
            each = pending.pop()
            if self._state.tasks[each].state != UPSTREAM_FAILED:
                self._tell("task_skipped", task=each, state=UPSTREAM_FAILED, upstream=name)
                pending += self._downstreams[each]

"""
Run a workflow without Airflow.

Runs in: author and CI.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.exceptions import LocalRunError
from dkist_processing_core.local import runs
from dkist_processing_core.local.executors import ForkExecutor, ForkserverProcess
from dkist_processing_core.local.in_process import InProcessExecutor
from dkist_processing_core.local.interruption import Interruption
from dkist_processing_core.local.resuming import resumed, selection_of
from dkist_processing_core.local.scheduler import Listener, Reporter, Scheduler
from dkist_processing_core.local.selection import selected
from dkist_processing_core.local.state import SUCCESS, RunState, TaskState
from dkist_processing_core.runtime.task import as_recipe_run_id
from dkist_processing_core.workflow import Workflow

__all__ = ["EXECUTORS", "RunResult", "run_workflow"]

logger = logging.getLogger(__name__)

EXECUTORS = ("processes", "environments", "in_process")
# No service is used unless the caller requests it.
WITHOUT_BUS = {"DKIST_ISB_ENABLED": "false", "DKIST_ISB_LOGGING": "false"}
WITHOUT_TELEMETRY = {"ELASTIC_APM_ENABLED": "false", "OTEL_SDK_DISABLED": "true"}


@dataclass(frozen=True)
class RunResult:
    """
    The result of a run.

    Attributes
    ----------
    state
        ``success``, ``failed``, or ``interrupted`` if it was stopped by a signal.
    tasks
        The tasks by name, in their order.
    folder
        The folder of the run, with its journal and its logs.
    report
        The page that shows the run; None if it could not be written.
    """

    state: str
    tasks: Mapping[str, TaskState]
    folder: Path
    report: Path | None = None

    @property
    def is_success(self) -> bool:
        """Whether all selected tasks have succeeded."""
        return self.state == SUCCESS


def run_workflow(  # noqa: PLR0913 - the options of a run
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
    forkserver: ForkserverProcess | None = None,
) -> RunResult:
    """
    Run a workflow on this machine, with the same order, retries and exit statuses as in Airflow.

    A task starts when all of its upstreams have succeeded. After a failure, tasks that do not depend on it still run.

    Parameters
    ----------
    workflow
        The workflow.
    recipe_run_id
        The recipe run to process.
    executor
        ``processes`` runs each task in a process of its own, with the current Python. ``environments`` runs each task
        with the worker program in the cached environment of its release, as on a worker. ``in_process`` runs the tasks
        one after the other in this process.
    parallel
        Maximum number of tasks that run at the same time. The default is the number of processors.
    queue_limits
        Maximum number of tasks of a resource queue that run at the same time, by name of the queue.
    start, until, only, skip
        The tasks to run: these and those that depend on them (``start``), these and those that they depend on
        (``until``), only these, or all except these (``skip``).
    fail_fast
        Whether to start no more tasks after one has failed.
    resume
        Whether to continue the last run of this workflow and recipe run with the tasks that have not succeeded. The
        selection of that run applies unless another one is given.
    allow_changes
        Whether to resume even if tasks that have succeeded have changed in the workflow.
    with_bus, with_telemetry
        Whether failures are published on the interservice bus and tasks log to it, as its settings specify; and whether
        tasks send telemetry, as its settings specify.
    debug
        Whether pdb starts at the error of a task. It needs the executor ``in_process``.
    listener
        Function that is called with each event of the run, see ``dkist_processing_core.local.state``.
    forkserver
        The parent process of the tasks, an ``executors.ForkserverProcess``, if it was started before the workflow was
        imported, which saves the time until it is ready. It is closed at the end.

    Returns
    -------
    RunResult
        The result. A failed task raises no exception.

    Raises
    ------
    RecipeRunIdError
        If the recipe run id is not an integer.
    SelectionError
        If a name is not that of a task, or no task is left to run.
    ResumeError
        If there is no run to resume, or tasks that have succeeded have changed.
    RunActiveError
        If the run to resume has not ended.
    """
    spec = workflow.spec if isinstance(workflow, Workflow) else workflow
    if (parallel is not None and parallel < 1) or min((queue_limits or {}).values(), default=1) < 1:
        raise LocalRunError("parallel and the values of queue_limits must be 1 or more")
    if executor not in EXECUTORS:
        raise LocalRunError(f"the executor is {executor!r}, not one of {', '.join(EXECUTORS)}")
    number = as_recipe_run_id(recipe_run_id)
    names = [node.name for node in spec.nodes]
    # A single name stands for a list of one name.
    start, until, only, skip = ([each] if isinstance(each, str) else [*each] for each in (start, until, only, skip))
    tasks = selected(spec, start=start, until=until, only=only, skip=skip)
    is_chosen = any((start, until, only, skip))
    for node in spec.nodes:
        if node.task.startswith("__main__:"):
            raise LocalRunError(f"the task {node.name} is in __main__, which another process cannot import")
    with ExitStack() as stack:
        if resume:
            journal, before = resumed(spec, number, stack, allow_changes=allow_changes)
            if not is_chosen and before.started:
                tasks = selection_of(before, names)
                _warn_of_left_out(journal.folder, tasks, before, names)
        else:
            journal, before = runs.Journal(runs.new_folder(spec.name, number)), RunState()
            stack.callback(journal.close)
        environment = {
            **os.environ,
            **({} if with_bus else WITHOUT_BUS),
            **({} if with_telemetry else WITHOUT_TELEMETRY),
            "DKIST_RECIPE_RUN_ID": str(number),
        }
        made: ForkExecutor | InProcessExecutor
        if executor == "in_process":
            made = here = InProcessExecutor(spec, environment, is_debugged=debug)
            stack.callback(here.close)
            parallel = 1
        else:
            server = stack.enter_context(forkserver or ForkserverProcess())
            server.hold(journal.descriptor)
            made = ForkExecutor(spec, environment, journal.folder, server=server, is_worker=executor == "environments")
        scheduler = Scheduler(
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
        scheduler.begin(number, executor, None if tasks == names else tasks, is_resumed=resume)
        with Interruption() as interruption:  # a signal does not prevent the report
            try:
                scheduler.loop(interruption)
            finally:
                report = _report(journal.folder)
        return RunResult(scheduler.state.state, scheduler.state.current, journal.folder, report)


def _warn_of_left_out(folder: Path, tasks: Sequence[str], before: RunState, names: Sequence[str]) -> None:
    """Warn that the resumed run continues only with the tasks that were selected when it was started."""
    known = before.tasks
    left_out = [each for each in names if each not in tasks and (each not in known or known[each].state != SUCCESS)]
    if left_out:
        logger.warning(
            "The run %s is resumed with the tasks that were selected for it: %s. It leaves out %s. Select other tasks "
            "(--from, --until, --only, --skip), or start a new run without --resume.",
            folder.name,
            ", ".join(tasks),
            ", ".join(left_out),
        )


def _report(folder: Path) -> Path | None:
    """Write the report of a run; failing to write it does not affect the result of the run."""
    try:
        from dkist_processing_core.local.report import REPORT, write

        return write(folder, folder / REPORT)
    except Exception as error:
        logger.warning("The report of the run was not written: %s: %s", type(error).__name__, error)
        return None


def _reporter(spec: WorkflowSpec, recipe_run_id: int, folder: Path, stack: ExitStack) -> Reporter:
    """Return a function that publishes failures. Only a run with the bus imports its module."""
    from dkist_processing_core.local.failures import reporter

    return reporter(spec, recipe_run_id, folder, stack)

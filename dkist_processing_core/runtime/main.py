"""
Run one task in its own environment: what the worker program starts.

Runs in: task environment. ``python -P -m dkist_processing_core.runtime module:Class --workflow-name NAME
--workflow-version VERSION`` with the recipe run id in ``DKIST_RECIPE_RUN_ID``, which no shell interprets. The exit
status is 1 if the task raises an exception, and 143 if SIGTERM ends it, after its ``__exit__`` has run. The outcome is
written to the file that ``DKIST_OUTCOME`` names. This command line is part of the ABI.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import FrameType
from typing import NoReturn

from dkist_processing_core import telemetry
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.exceptions import RecipeRunIdError, TaskImportError, did_you_mean
from dkist_processing_core.runtime.logging import show_log_records
from dkist_processing_core.runtime.parent import Parent
from dkist_processing_core.runtime.streams import forget_unread_outputs
from dkist_processing_core.runtime.task import TaskBase, as_recipe_run_id
from dkist_processing_core.runtime.tracebacks import format_error, last_lines, summarize

__all__ = ["exit_status", "failure", "load_task", "logger", "main", "run_task"]

logger = logging.getLogger("dkist_processing_core.runtime")

FAILED = 1
BAD_RECIPE_RUN_ID = 65  # EX_DATAERR of sysexits.h, as in the worker program
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
LARGEST_STATUS = 255


class Terminated(SystemExit):
    """SIGTERM asked the task to end. It is a `SystemExit`, so no ``except Exception`` in the task catches it."""


def run_task(task_path: str, *, workflow_name: str, workflow_version: str, recipe_run_id: object = None) -> None:
    """
    Run one task to its end.

    Parameters
    ----------
    task_path
        Import path of the task class, as ``module:Class``.
    workflow_name, workflow_version
        The workflow that the task runs in.
    recipe_run_id
        Id of the recipe run. The default is the value of ``DKIST_RECIPE_RUN_ID``.

    Raises
    ------
    RecipeRunIdError
        If the recipe run id is not an integer.
    TaskImportError
        If there is no such task, or ``sys.exit(0)`` is called before the task has begun, as in its module.
    Exception
        Whatever the task raises, even if its ``__exit__`` suppresses it.
    """
    if recipe_run_id is None:
        recipe_run_id = os.environ.get("DKIST_RECIPE_RUN_ID", "")
    number = as_recipe_run_id(recipe_run_id)
    is_started = False
    raised = None
    try:
        task_class = load_task(task_path)
        with task_class(recipe_run_id=number, workflow_name=workflow_name, workflow_version=workflow_version) as task:
            is_started = True
            try:
                task()
            except BaseException as error:
                raised = error
                raise
    except SystemExit as error:
        if exit_status(error) or error is raised:
            raise
        if not is_started:
            raise TaskImportError(f"task {task_path!r}: {error!r} was raised before the task had begun.") from error
    if raised:
        # Telemetry has also recorded it.
        raise raised


def load_task(task_path: str) -> type[TaskBase]:
    """
    Import a task class from its path.

    Parameters
    ----------
    task_path
        Import path of the task class, as ``module:Class``.

    Raises
    ------
    TaskImportError
        If the module does not exist, does not define the name, or the name is not a subclass of `TaskBase`. Any other
        exception that an existing module raises on import is propagated.
    """
    module_name, _, qualified_name = task_path.partition(":")
    try:
        value: object = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise TaskImportError(
            f"task {task_path!r}: there is no module {error.name!r} in the environment {sys.prefix}. "
            "Check that the release that is installed there contains it."
        ) from error
    for name in qualified_name.split("."):
        if not hasattr(value, name):
            known = [key for key, each in vars(value).items() if isinstance(each, type)]
            raise TaskImportError(
                f"task {task_path!r}: there is no {name!r} in {module_name}{did_you_mean(name, known)}. "
                "Check that the release that is installed contains it."
            )
        value = getattr(value, name)
    if not (isinstance(value, type) and issubclass(value, TaskBase)):
        raise TaskImportError(f"task {task_path!r} is {value!r}, not a subclass of dkist_processing_core.TaskBase.")
    return value


def _end_on_sigterm() -> None:
    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        # A second signal must not interrupt the teardown that the first one began. SIG_IGN would work in this process,
        # but programs that the teardown starts would inherit it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        forget_unread_outputs()
        raise Terminated(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    # If a system call began just when SIGTERM arrived, or another thread received the signal, the call continues and
    # the handler has to wait for its end. So the worker program then sends SIGCONT, which interrupts the call.
    signal.signal(signal.SIGCONT, lambda *_: None)
    _give_forked_processes_the_default(end)


def _give_forked_processes_the_default(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    """
    Restore the default effect of SIGTERM in processes that the task forks.

    With our handler, an idle worker of ``multiprocessing.Pool`` would not end when the pool terminates it, and the task
    would wait for it forever. The signal is blocked during the fork, since Python loses one that arrives between the
    fork and the change of the handler.
    """

    def restore() -> None:
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
        after_in_child=restore,
    )


def main(arguments: list[str] | None = None) -> int:
    """
    Run the task that the command line names and return the exit status.

    Parameters
    ----------
    arguments
        The command line without the name of the program. The default is that of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dkist_processing_core.runtime",
        description="Run one task of a workflow. The recipe run id is taken from DKIST_RECIPE_RUN_ID.",
    )
    parser.add_argument("task", help="where the task class is, as module:Class")
    parser.add_argument("--workflow-name", required=True)
    parser.add_argument("--workflow-version", required=True)
    options = parser.parse_args(arguments)
    parent = Parent()
    parent.end_with_it()
    show_log_records()
    _end_on_sigterm()
    try:
        run_task(options.task, workflow_name=options.workflow_name, workflow_version=options.workflow_version)
        _wait_for_threads()
    except BaseException as error:
        status = exit_status(error)
        if status:
            show = partial(parent.show_error, logger)
            parent.send(failure(error, options.task, status, show))
            return status
        logger.warning("Task %s ended with %r, which counts as success", options.task, error)
    parent.send(Outcome(state="succeeded"))
    return 0


def _wait_for_threads() -> None:
    """Wait for the non-daemon threads of the task, as Python does at exit, but in a way that a signal can end."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()


def exit_status(error: BaseException) -> int:
    """Return the exit status for the exception that ended a task; 0 for ``sys.exit()`` and ``sys.exit(0)``."""
    if isinstance(error, RecipeRunIdError):
        return BAD_RECIPE_RUN_ID
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if not isinstance(error, SystemExit):
        return FAILED
    if error.code is None:
        return 0
    # The operating system keeps only the lowest 8 bits of other numbers, so a failure could look like a success.
    return int(error.code) if isinstance(error.code, int) and 0 <= error.code <= LARGEST_STATUS else FAILED


def failure(error: BaseException, task: str, status: int, show: Callable[[str], object]) -> Outcome:
    """Show why a task has failed, and return its outcome."""
    summary = summarize(error)
    if isinstance(error, RecipeRunIdError):
        shown = f"Task {task} refused: {redact_urls(str(error))}"
    elif isinstance(error, TaskImportError):
        shown = redact_urls(str(error))
    elif isinstance(error, Terminated):
        shown = summary = f"Task {task} was terminated (SIGTERM)"
    else:
        shown = f"Task {task} failed: {summary}\n{format_error(error)}"
    show(shown)
    ids = telemetry.last_ids()
    return Outcome(
        state="failed",
        summary=summary,
        error=last_lines(shown.partition("\n")[2] or shown),
        exit_status=status,
        trace_id=ids.trace_id if ids else None,
        transaction_id=ids.transaction_id if ids else None,
    )

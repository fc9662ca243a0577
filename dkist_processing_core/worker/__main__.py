"""
Run one task in a virtual environment that holds exactly one release of its package.

Runs in: worker, with the interpreter that runs Airflow: ``python -P -m dkist_processing_core.worker``. What to run is
in environment variables, see `worker.request`. The exit status is that of the task, or one of `worker.errors`.
"""

import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from dkist_processing_core.common.clean_room import cleaned
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import EnvironmentLocks, is_ready, open_cache
from dkist_processing_core.worker.errors import INCOMPLETE, WorkerError
from dkist_processing_core.worker.interpreter import find_interpreter
from dkist_processing_core.worker.key import environment_name
from dkist_processing_core.worker.pip_settings import installer_variables
from dkist_processing_core.worker.request import Request
from dkist_processing_core.worker.supervise import SIGNALLED, Supervisor

__all__ = ["main"]

NOMAD_PREFIXES = ("NOMAD_ALLOC_", "NOMAD_GROUP_", "NOMAD_HOST_", "NOMAD_CPU_", "NOMAD_MEMORY_")
LIMITS = {
    "address space": resource.RLIMIT_AS,
    "open files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "core files": resource.RLIMIT_CORE,
}
KILLED = SIGNALLED + 9


def main() -> int:
    """Run the task that the environment variables name, and return the exit status."""
    supervisor = Supervisor()
    try:
        outcome = _run(supervisor)
    except WorkerError as error:
        log.error(str(error))
        outcome = Outcome(state="failed", summary=str(error), exit_status=error.status)
    except Exception as error:
        import traceback

        log.error(f"the worker program failed; please report this.\n{''.join(traceback.format_exception(error))}")
        outcome = Outcome(state="failed", summary=f"the worker program failed: {error!r}", exit_status=INCOMPLETE)
    log.outcome(outcome.to_json())
    return outcome.exit_status or 0


def _run(supervisor: Supervisor) -> Outcome:
    request = Request.from_environment(os.environ)
    supervisor.grace_seconds = request.grace_seconds
    # Airflow forgets a task when the process that runs it dies; the task must not live on.
    supervisor.is_watching_parent = bool(os.environ.get("AIRFLOW_CTX_DAG_ID"))
    _log_worker(request)
    variables = cleaned(os.environ)
    environment, locks = _environment(request, variables, supervisor)
    return _run_task(request, environment, variables, supervisor, locks)


def _log_worker(request: Request) -> None:
    workflow = f"{request.workflow_name} {request.workflow_version}"
    log.info(f"task {request.task} of {workflow}, recipe run {request.recipe_run_id}")
    folder = os.environ.get("PWD", "unknown")
    log.info(f"worker {os.uname().nodename}, folder {folder}, Python {sys.version.split()[0]}")
    for name in sorted(os.environ):
        if name.startswith(NOMAD_PREFIXES):
            log.info(f"{name}={os.environ[name]}")
    limits = {what: resource.getrlimit(number)[0] for what, number in LIMITS.items()}
    shown = {what: "unlimited" if limit == resource.RLIM_INFINITY else limit for what, limit in limits.items()}
    log.info("limits: " + ", ".join(f"{what} {limit}" for what, limit in shown.items()))


def _environment(
    request: Request, variables: Mapping[str, str], supervisor: Supervisor
) -> tuple[Path, EnvironmentLocks]:
    """Find the environment of the task, or build it; return it with its locks."""
    interpreter = find_interpreter(variables.get("DKIST_PYTHON", ""), variables.get("PATH"))
    settings = installer_variables(variables, interpreter.prefix)
    folder = open_cache(cache_folder(variables))
    environment = folder / environment_name(request, interpreter.identity, settings)
    locks = EnvironmentLocks(environment, patience=request.build_wait_seconds, check=supervisor.check)
    if is_ready(environment):
        log.info(f"environment reused: {environment}")
    else:
        locks.begin_build()
        if is_ready(environment):
            log.info(f"environment reused: {environment}, built meanwhile")
        else:
            from dkist_processing_core.worker.collector import collect
            from dkist_processing_core.worker.install import build

            run = partial(supervisor.run, name="the installer", descriptors=locks.descriptors)
            try:
                build(environment, request, interpreter, settings, run)
            except WorkerError:
                supervisor.check()  # an installer that was ended by a signal is not one that has failed
                raise
            # There is more on the disk now, so it is time to remove what nobody uses any more.
            collect(folder.parent, supervisor.check)
    locks.end_build()
    return environment, locks


def _run_task(
    request: Request,
    environment: Path,
    variables: Mapping[str, str],
    supervisor: Supervisor,
    locks: EnvironmentLocks,
) -> Outcome:
    # A file in memory: it takes no room on a disk, nothing of it is left, and writing to it never blocks.
    with os.fdopen(os.memfd_create("outcome"), "rb") as file:
        began = time.monotonic()
        status = supervisor.run(
            [
                *(environment / "bin" / "python", "-P", "-m", "dkist_processing_core.runtime", request.task),
                # As one word each, since a name may begin with "-".
                *(f"--workflow-name={request.workflow_name}", f"--workflow-version={request.workflow_version}"),
            ],
            {
                **variables,
                OUTCOME_VARIABLE: f"/dev/fd/{file.fileno()}",
                "DKIST_RECIPE_RUN_ID": request.recipe_run_id,
                "PATH": f"{environment / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}",
                "PYTHONNOUSERSITE": "1",
                "PYTHONUNBUFFERED": "1",
                "VIRTUAL_ENV": str(environment),
            },
            name="the task",
            descriptors=[*locks.descriptors, file.fileno()],
        )
        file.seek(0)
        limit = supervisor.grace_seconds if supervisor.has_killed else None
        outcome = _outcome(file.read(), status, limit)
    seconds = time.monotonic() - began
    log.info(f"task {request.task} ended with exit status {outcome.exit_status} after {seconds:.0f} s")
    return outcome


def _outcome(content: bytes, status: int, grace_seconds: int | None) -> Outcome:
    """Return how a task has ended, by what it wrote, its exit status, and the grace period that it exceeded."""
    try:
        written = Outcome.from_json(content.decode(errors="replace"))
    except ValueError:
        written = None
    if status == 0 and written and written.is_success:
        return written.with_exit_status(0)
    if status and written and not written.is_success:
        return written.with_exit_status(status)
    if status == 0:
        status = INCOMPLETE
        summary = "the task ended with exit status 0 before it was complete; something called os._exit, for example."
    elif status == KILLED and grace_seconds is not None:
        summary = f"the task was killed, since it did not end within {grace_seconds} s (DKIST_GRACE_SECONDS)."
    elif status == KILLED:
        summary = "the task was killed (SIGKILL); if nobody did that, the worker ran out of memory."
    elif status > SIGNALLED:
        summary = f"the task was ended by signal {status - SIGNALLED}; it wrote no error of its own."
    else:
        summary = f"the task ended with exit status {status} and without an error of its own."
    log.error(summary)
    return replace(written or Outcome(state=""), state="failed", summary=summary, exit_status=status)


if __name__ == "__main__":
    # With PYTHONINSPECT, Python would begin a dialogue here instead of ending with this status.
    os._exit(main())

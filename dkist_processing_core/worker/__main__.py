"""
Run one task in a virtual environment that contains exactly one release of its package.

Runs in: worker, with the interpreter that runs Airflow: ``python -P -m dkist_processing_core.worker``. Environment
variables say what to run, see `worker.request`. The exit status is that of the task, or one of `worker.errors`.
"""

import os
import resource
import sys
import time
from collections.abc import Mapping

from dkist_processing_core.common.clean_room import cleaned
from dkist_processing_core.common.metadata import ENVIRONMENT_IDENTITY
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome, judged
from dkist_processing_core.worker import log
from dkist_processing_core.worker.ending import run_to_outcome
from dkist_processing_core.worker.errors import UNAVAILABLE, WorkerError
from dkist_processing_core.worker.preparation import Prepared, prepare
from dkist_processing_core.worker.request import Request
from dkist_processing_core.worker.supervise import Supervisor

__all__ = ["main"]

NOMAD_PREFIXES = ("NOMAD_ALLOC_", "NOMAD_GROUP_", "NOMAD_HOST_", "NOMAD_CPU_", "NOMAD_MEMORY_")
LIMITS = {
    "address space": resource.RLIMIT_AS,
    "open files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "core files": resource.RLIMIT_CORE,
}


def main() -> int:
    """Run the task that the environment variables name, and return the exit status."""
    return run_to_outcome(_run)


def _run(supervisor: Supervisor) -> Outcome:
    request = Request.from_environment(os.environ)
    supervisor.grace_seconds = request.grace_seconds
    # Airflow forgets a task when its process of the task dies. The task must then end, too.
    supervisor.is_watching_parent = bool(os.environ.get("AIRFLOW_CTX_DAG_ID"))
    _log_worker(request)
    variables = cleaned(os.environ)
    prepared = prepare(request.environment, variables, supervisor)
    try:
        return _run_task(request, prepared, variables, supervisor)
    except OSError as error:
        raise WorkerError(
            UNAVAILABLE,
            f"the task cannot be started: {error.strerror}. One of the limits of this worker, which are "
            "listed above in this log, may be too low.",
        ) from error


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


def _run_task(request: Request, prepared: Prepared, variables: Mapping[str, str], supervisor: Supervisor) -> Outcome:
    environment = prepared.path
    # A file in memory: it needs no disk space, leaves nothing behind, and never blocks its writer.
    with os.fdopen(os.memfd_create("outcome"), "rb") as file:
        began = time.monotonic()
        status = supervisor.run(
            [
                *(environment / "bin" / "python", "-P", "-m", "dkist_processing_core.runtime", request.task),
                # Each as one word, since a name may begin with "-".
                *(f"--workflow-name={request.workflow_name}", f"--workflow-version={request.workflow_version}"),
            ],
            {
                **variables,
                OUTCOME_VARIABLE: f"/dev/fd/{file.fileno()}",
                ENVIRONMENT_IDENTITY: prepared.identity or "",
                "DKIST_RECIPE_RUN_ID": request.recipe_run_id,
                "PATH": f"{environment / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}",
                "PYTHONNOUSERSITE": "1",
                "PYTHONUNBUFFERED": "1",
                "VIRTUAL_ENV": str(environment),
            },
            name="the task",
            descriptors=[*prepared.locks.descriptors, file.fileno()],
        )
        file.seek(0)
        limit = supervisor.grace_seconds if supervisor.has_killed else None
        try:
            written = Outcome.from_json(file.read().decode(errors="replace"))
        except ValueError:
            written = None
        outcome = judged(written, status, grace_seconds=limit)._replace(environment_identity=prepared.identity)
        if not written or outcome.summary != written.summary:
            log.error(outcome.summary or "")
    seconds = time.monotonic() - began
    log.info(f"task {request.task} ended with exit status {outcome.exit_status} after {seconds:.0f} s")
    return outcome


if __name__ == "__main__":
    # With PYTHONINSPECT, sys.exit would start an interactive session instead of ending with this status.
    os._exit(main())

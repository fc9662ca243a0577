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
from contextlib import suppress
from functools import partial
from pathlib import Path

from dkist_processing_core.common.clean_room import cleaned
from dkist_processing_core.common.environment import identity_now, read_description
from dkist_processing_core.common.metadata import ENVIRONMENT_IDENTITY
from dkist_processing_core.common.outcome import INCOMPLETE, OUTCOME_VARIABLE, Outcome, judged
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import MARKER, EnvironmentLocks, damage, is_writable, open_cache
from dkist_processing_core.worker.checkout import changed_wheel
from dkist_processing_core.worker.errors import MISCONFIGURED, UNAVAILABLE, InstallerError, WorkerError
from dkist_processing_core.worker.interpreter import Interpreter, find_interpreter
from dkist_processing_core.worker.key import environment_name
from dkist_processing_core.worker.pip_settings import installer_variables
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
WITHOUT_CACHE = {"UV_NO_CACHE": "1", "UV_LINK_MODE": "copy", "PIP_NO_CACHE_DIR": "1"}


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
    if path := os.environ.get(OUTCOME_VARIABLE):
        with suppress(OSError):
            Path(path).write_text(outcome.to_json(), encoding="utf-8")
    return outcome.exit_status or 0


def _run(supervisor: Supervisor) -> Outcome:
    request = Request.from_environment(os.environ)
    supervisor.grace_seconds = request.grace_seconds
    # Airflow forgets a task when the process that runs it dies; the task must not live on.
    supervisor.is_watching_parent = bool(os.environ.get("AIRFLOW_CTX_DAG_ID"))
    _log_worker(request)
    variables = cleaned(os.environ)
    environment, identity, locks = _environment(request, variables, supervisor)
    try:
        outcome = _run_task(
            request, environment, {**variables, ENVIRONMENT_IDENTITY: identity or ""}, supervisor, locks
        )
        return outcome._replace(environment_identity=identity)
    except OSError as error:
        raise WorkerError(
            UNAVAILABLE,
            f"the task cannot be started: {error.strerror}. A limit of this worker, of those above, may be too low for "
            "what runs on it.",
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


def _environment(
    request: Request, variables: Mapping[str, str], supervisor: Supervisor
) -> tuple[Path, str | None, EnvironmentLocks]:
    """Find the environment of the task, or build it; return it with its identity and its locks."""
    interpreter = find_interpreter(variables.get("DKIST_PYTHON", ""), variables.get("PATH"))
    settings = installer_variables(variables, interpreter.prefix)
    folder = open_cache(cache_folder(variables))
    environment = folder / environment_name(request, interpreter.identity, settings)
    locks = EnvironmentLocks(environment, patience=request.build_wait_seconds, check=supervisor.check)
    reason = damage(environment)
    if reason is None:
        identity = _identity(environment, "")
        if wheel := changed_wheel(settings, request.name, request.version, environment, MARKER):
            log.warning(
                f"{wheel} is newer than this environment of it, which is used as it is. To use the wheel, remove that: "
                f"dkist-processing-core environments remove {environment.name}"
            )
    elif not is_writable(folder):
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {folder} can only be read, and the environment {environment.name} for "
            f"{request.requirement} in it is {f'damaged ({reason})' if reason else 'missing'}. Build it where "
            "the cache is made, or set DKIST_ENVIRONMENT_CACHE to a folder that can be written.",
        )
    else:
        locks.begin_build()
        reason = damage(environment)
        if reason is None:
            identity = _identity(environment, ", built meanwhile")
        else:
            if reason:
                log.warning(f"the environment {environment} is damaged: {reason}; it is built again")
            if environment.exists():
                locks.wait_for_users()
            identity = _build(environment, request, interpreter, settings, supervisor, locks)
    locks.end_build()
    return environment, identity, locks


def _identity(environment: Path, how: str) -> str | None:
    """Log that an environment is reused, and return its identity; None if it is not known."""
    identity = identity_now(read_description(environment))
    shown = f"identity {identity}" if identity else "of an earlier version of this library, so without an identity"
    log.info(f"environment reused: {environment}{how}, {shown}")
    return identity


def _build(  # noqa: PLR0913, PLR0917 - all that decides what is built, and by whom
    environment: Path,
    request: Request,
    interpreter: Interpreter,
    settings: Mapping[str, str],
    supervisor: Supervisor,
    locks: EnvironmentLocks,
) -> str:
    from dkist_processing_core.worker.collector import collect
    from dkist_processing_core.worker.install import build

    run = partial(supervisor.run, name="the installer", descriptors=locks.descriptors)
    for variables in (settings, {**settings, **WITHOUT_CACHE}):
        try:
            identity = build(environment, request, interpreter, variables, run)
            break
        except InstallerError as error:
            supervisor.check()  # an installer that was ended by a signal is not one that has failed
            if not error.may_be_its_cache or variables is not settings:
                raise
            # A power cut may have damaged the installer's own cache, which no installer checks.
            log.warning(f"{error} This is tried once more without the installer's cache; if that succeeds, empty it.")
    # There is more on the disk now, so it is time to remove what nobody uses any more.
    collect(environment.parent.parent, supervisor.check)
    return identity


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
        try:
            written = Outcome.from_json(file.read().decode(errors="replace"))
        except ValueError:
            written = None
        outcome = judged(written, status, grace_seconds=limit)
        if not written or outcome.summary != written.summary:
            log.error(outcome.summary or "")
    seconds = time.monotonic() - began
    log.info(f"task {request.task} ended with exit status {outcome.exit_status} after {seconds:.0f} s")
    return outcome


if __name__ == "__main__":
    # With PYTHONINSPECT, Python would begin a dialogue here instead of ending with this status.
    os._exit(main())

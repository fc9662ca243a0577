"""
Find an environment in the cache, or build it.

Runs in: worker.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dkist_processing_core.common.environment import identity_now, read_description
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import open_cache
from dkist_processing_core.worker.checkout import changed_wheel
from dkist_processing_core.worker.environment_locks import EnvironmentLocks
from dkist_processing_core.worker.errors import MISCONFIGURED, InstallerError, WorkerError
from dkist_processing_core.worker.interpreter import Interpreter, find_interpreter
from dkist_processing_core.worker.key import environment_name
from dkist_processing_core.worker.marker import MARKER, damage
from dkist_processing_core.worker.permissions import is_writable
from dkist_processing_core.worker.pip_settings import installer_variables
from dkist_processing_core.worker.request import EnvironmentRequest
from dkist_processing_core.worker.supervise import Supervisor

__all__ = ["Prepared", "prepare"]

WITHOUT_CACHE = {"UV_NO_CACHE": "1", "UV_LINK_MODE": "copy", "PIP_NO_CACHE_DIR": "1"}


class Prepared(NamedTuple):
    """
    A complete environment.

    ``identity`` is None if it is unknown. ``is_new`` tells whether this process built the environment. While it holds
    the ``locks``, no other process removes the environment.
    """

    path: Path
    identity: str | None
    is_new: bool
    locks: EnvironmentLocks


def prepare(request: EnvironmentRequest, variables: Mapping[str, str], supervisor: Supervisor) -> Prepared:
    """Find an environment or build it; raise a `WorkerError` if that is not possible."""
    interpreter = find_interpreter(variables.get("DKIST_PYTHON", ""), variables.get("PATH"), request.requires_python)
    settings = installer_variables(variables, interpreter.prefix)
    folder = open_cache(cache_folder(variables))
    environment = folder / environment_name(request, interpreter.identity, settings)
    locks = EnvironmentLocks(environment, patience=request.build_wait_seconds, check=supervisor.check)
    reason = damage(environment)
    is_new = False
    if reason is None:
        identity = _identity(environment, "")
        if wheel := changed_wheel(settings, request.name, request.version, environment, MARKER):
            log.warning(
                f"{wheel} is newer than this environment of it. The environment is used as it is. To rebuild it from "
                f"the wheel, remove it: dkist-processing-core environments remove {environment.name}"
            )
    elif not is_writable(folder):
        raise WorkerError(
            MISCONFIGURED,
            f"the environment cache {folder} is read-only, and the environment {environment.name} for "
            f"{request.requirement} in it is {f'damaged ({reason})' if reason else 'missing'}. Build it where "
            "the cache is filled, or set DKIST_ENVIRONMENT_CACHE to a writable folder.",
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
            is_new = True
            identity = _build(environment, request, interpreter, settings, supervisor, locks)
    locks.end_build()
    return Prepared(environment, identity, is_new, locks)


def _identity(environment: Path, how: str) -> str | None:
    """Log that an environment is reused, and return its identity; None if it is unknown."""
    identity = identity_now(read_description(environment))
    shown = f"identity {identity}" if identity else "of an earlier version of this library, so without an identity"
    log.info(f"environment reused: {environment}{how}, {shown}")
    return identity


def _build(  # noqa: PLR0913, PLR0917 - the parameters of a build
    environment: Path,
    request: EnvironmentRequest,
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
            supervisor.check()  # an installer that was ended by a signal has not failed
            if not error.may_be_its_cache or variables is not settings:
                raise
            # A power failure may have damaged the installer's own cache, which installers do not check.
            log.warning(f"{error} The build is tried again without the installer's cache. If that succeeds, empty it.")
    # The cache has grown, so remove unused environments now.
    collect(environment.parent.parent, supervisor.check)
    return identity

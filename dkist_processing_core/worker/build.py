"""
Build one environment before a task needs it.

Runs in: worker, with the interpreter that runs Airflow: ``python -P -m dkist_processing_core.worker.build``.
Environment variables say what to build, see `worker.request`. An existing environment is left unchanged. The exit
status is 0, or one of `worker.errors`.
"""

import os

from dkist_processing_core.common.clean_room import cleaned
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.worker.ending import run_to_outcome
from dkist_processing_core.worker.preparation import prepare
from dkist_processing_core.worker.request import EnvironmentRequest
from dkist_processing_core.worker.supervise import Supervisor

__all__ = ["main"]


def main() -> int:
    """Build the environment that the environment variables name, and return the exit status."""
    return run_to_outcome(_build)


def _build(supervisor: Supervisor) -> Outcome:
    supervisor.is_watching_parent = True
    prepared = prepare(EnvironmentRequest.from_environment(os.environ), cleaned(os.environ), supervisor)
    how = "built" if prepared.is_new else "there already"
    return Outcome(state="succeeded", summary=how, environment_identity=prepared.identity)


if __name__ == "__main__":
    os._exit(main())

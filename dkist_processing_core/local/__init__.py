"""
The local runner: it runs a workflow without Airflow, in the same order and with the same retries.

Runs in: author and CI. `run_workflow` runs a workflow, `runs` keeps the folder of each run, and `forkserver` is the
parent process of the tasks. That process and the command that starts it need little of the rest, so the public names
are imported when they are first used (:pep:`562`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dkist_processing_core.local.run import RunResult, run_workflow
    from dkist_processing_core.local.state import TaskState, Try

__all__ = ["RunResult", "TaskState", "Try", "run_workflow"]

_HOME_OF = {"RunResult": "run", "TaskState": "state", "Try": "state", "run_workflow": "run"}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

"""
Write processing tasks in plain Python and run them on Apache Airflow.

Runs in: all four interpreters (author and CI, scheduler, worker, task environment). Importing it therefore loads
nothing but the standard library; the public names are imported when they are first used (:pep:`562`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dkist_processing_core._version import __version__
    from dkist_processing_core.resource_queue import ResourceQueue
    from dkist_processing_core.task import TaskBase
    from dkist_processing_core.workflow import Workflow

__all__ = ["ResourceQueue", "TaskBase", "Workflow", "__version__"]

_HOME_OF = {
    "ResourceQueue": "dkist_processing_core.resource_queue",
    "TaskBase": "dkist_processing_core.task",
    "Workflow": "dkist_processing_core.workflow",
    "__version__": "dkist_processing_core._version",
}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

"""
The DAG factory: all that an exported DAG file imports.

Runs in: scheduler, DAG processor and worker, with Airflow and the standard library alone. An exported file holds names
and data; what they mean to Airflow is decided here, for every version of Airflow that is supported. So an upgrade of
Airflow, or a mended fault, reaches every file that was ever exported by an upgrade of this library.

The names in ``__all__``, their parameters and what `protocol` says about them are part of the ABI: no release renames
them or changes their meaning.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dkist_processing_core.scheduling.dag import workflow_dag
    from dkist_processing_core.scheduling.operators import TaskOperator
    from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator

__all__ = ["TaskOperator", "VirtualenvTaskOperator", "workflow_dag"]

_MODULES = {"TaskOperator": "operators", "VirtualenvTaskOperator": "virtualenv", "workflow_dag": "dag"}


def __getattr__(name: str) -> object:
    """Import what is asked for, so that a file pays for one operator and `loading` needs no Airflow."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value

"""
Run a task in a virtual environment that Airflow has created.

Runs in: task environment of the operator ``python_virtualenv``, in which Airflow calls `run`. The function and its
parameters are part of the ABI.
"""

import os
import sys

from dkist_processing_core.common.clean_room import unwanted
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE
from dkist_processing_core.runtime.main import main

__all__ = ["run"]


def run(  # noqa: PLR0913, PLR0917 - one for each value that a run has
    task: str, recipe_run_id: str, workflow_name: str, workflow_version: str, traceparent: str, outcome: str
) -> None:
    """
    Run one task to its end, in a clean room like that of the worker program.

    Parameters
    ----------
    task
        Import path of the task class, as ``module:Class``.
    recipe_run_id
        Id of the recipe run.
    workflow_name, workflow_version
        The workflow that the task runs in.
    traceparent
        The trace to continue (W3C Trace Context), empty for none.
    outcome
        File to write the outcome of the task to.

    Raises
    ------
    SystemExit
        If the task has failed.
    """
    # Airflow's process of the task reads its connections and variables through this descriptor, and passes it on.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for name in unwanted(os.environ):
        del os.environ[name]
    sys.path[:] = [each for each in sys.path if each.startswith((sys.prefix, sys.base_prefix))]
    os.environ.update({"DKIST_RECIPE_RUN_ID": recipe_run_id, "TRACEPARENT": traceparent, OUTCOME_VARIABLE: outcome})
    status = main([task, "--workflow-name", workflow_name, "--workflow-version", workflow_version])
    if status:
        sys.exit(status)

"""
Set the fields of an operator that are known only in a run, and run its task with the worker program.

Runs in: worker, in the process of Airflow's operator.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

from dkist_processing_core.scheduling.failure import TaskFailedError
from dkist_processing_core.scheduling.output import TaskOutputHook

try:  # Airflow 3
    from airflow.sdk.execution_time.context import context_to_airflow_vars
except ImportError:  # Airflow 2
    from airflow.utils.operator_helpers import context_to_airflow_vars

__all__ = ["note_try", "render", "run_worker_program", "traceparent", "worker_variables"]


def render(operator: Any, context: Mapping[str, Any]) -> None:
    """
    Set the fields of an operator that are known only in a run, in place of Airflow's rendering.

    No value is a template, neither from the file nor from the run: Jinja would change ``foo==={{7*7}}``, and would read
    the file that a value with a certain ending names.
    """
    conf = getattr(context["dag_run"], "conf", None) or {}
    operator.recipe_run_id = str(conf.get("recipe_run_id", ""))


def run_worker_program(operator: Any, context: Mapping[str, Any]) -> None:
    """
    Run the task of an operator.

    Parameters
    ----------
    operator
        The `TaskOperator`, with rendered fields. Its type is not annotated, since its module imports this one.
    context
        The context that Airflow passes to the operator.

    Raises
    ------
    TaskFailedError
        If the task has failed.
    """
    note_try(context)
    # Airflow also ends the task through this hook (on_kill).
    hook = operator.subprocess_hook = TaskOutputHook()
    done = hook.run_command(
        # With -p, bash ignores BASH_ENV, SHELLOPTS and exported functions, which could prevent it from running
        # anything.
        command=["bash", "-p", "-c", operator.bash_command],
        env={
            **os.environ,
            **context_to_airflow_vars(context, in_env_var_format=True),
            **worker_variables(operator, context),
            **hook.variables,
        },
    )
    hook.log_rest()
    # Another program, such as a shell that runs nothing, may also end with 0.
    if done.exit_code or not hook.outcome or not hook.outcome.is_success:
        operator.outcome = hook.failure(done.exit_code)
        raise TaskFailedError(operator.outcome)


def note_try(context: Mapping[str, Any]) -> None:
    """Store the number of the try for the DAG processor, in case this process is killed."""
    from dkist_processing_core.isb.failures.context import write_try

    write_try(context)


def worker_variables(operator: Any, context: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that tell the worker program what to run."""
    return {
        "DKIST_WORKER_PYTHON": sys.executable,
        "DKIST_TASK": operator.task,
        "DKIST_REQUIREMENT": operator.requirement,
        "DKIST_CONSTRAINTS": operator.constraints,
        "DKIST_REQUIRES_PYTHON": operator.requires_python,
        "DKIST_WORKFLOW_NAME": operator.workflow_name,
        "DKIST_WORKFLOW_VERSION": operator.workflow_version,
        "DKIST_RECIPE_RUN_ID": operator.recipe_run_id,
        "TRACEPARENT": traceparent(context),
    }


def traceparent(context: Mapping[str, Any]) -> str:
    """Return the trace of the task that Airflow 3 propagates (W3C Trace Context); empty without one."""
    carrier = getattr(context.get("ti"), "context_carrier", None)
    return str(carrier.get("traceparent") or "") if isinstance(carrier, Mapping) else ""

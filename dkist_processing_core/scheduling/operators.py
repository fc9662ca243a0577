"""
The Airflow operator that runs a task by the worker program.

Runs in: scheduler and DAG processor, which load it, and worker, where it is executed.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from dkist_processing_core.scheduling.workflow import current_workflow, reject_unknown, task_failed

try:  # Airflow 3, or Airflow 2 with the standard provider
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:
    from airflow.operators.bash import BashOperator

if TYPE_CHECKING:
    from dkist_processing_core.common.outcome import Outcome
    from dkist_processing_core.scheduling.output import TaskOutputHook

# What only a running task needs is imported by the methods that run it: every parse of every file pays for this module.

__all__ = ["OF_AIRFLOW", "RECIPE_RUN_ID", "TEMPLATE_FIELDS", "TaskOperator", "traceparent"]

# Shown by Airflow as "Rendered Templates". Their names and those of variables hold no text that Jinja would expand.
TEMPLATE_FIELDS = ("task", "requirement", "workflow", "recipe_run_id")
RECIPE_RUN_ID = "{{ (dag_run.conf or {}).get('recipe_run_id', '') }}"
# What Airflow adds to the arguments of an operator by itself.
OF_AIRFLOW = frozenset({"dag", "default_args", "params", "task_group"})
COMMAND = 'exec "$DKIST_WORKER_PYTHON" -P -m dkist_processing_core.worker'


def traceparent(context: Mapping[str, Any]) -> str:
    """Return the trace that Airflow carries (W3C Trace Context), which it does from 3.0 on; else an empty text."""
    carrier = getattr(context.get("ti"), "context_carrier", None)
    return str(carrier.get("traceparent") or "") if isinstance(carrier, Mapping) else ""


class TaskOperator(BashOperator):
    """
    Run a task by the worker program, in a virtual environment of its release.

    The command is constant; everything about the task reaches the worker program in environment variables.

    Parameters
    ----------
    task_id
        Airflow's id of the task.
    task
        Where the task class is, as ``module:Class``.
    extras
        Extras of the distribution that the environment is built with.
    queue, pool
        Airflow's queue and pool.
    retries, retry_delay_seconds
        How often Airflow tries again after a failure, and the time between two tries in seconds.
    doc_md
        What Airflow's pages say about the task, Markdown.
    constraints
        Constraints on what else is installed, one requirement a line; empty for none.

    Raises
    ------
    UnsupportedDagFileError
        If the file states a key that this release does not know.
    """

    template_fields: Sequence[str] = TEMPLATE_FIELDS
    template_fields_renderers: Mapping[str, str] = {}
    template_ext: Sequence[str] = ()
    ui_color = "#e8f0fa"
    constraints = ""
    outcome: "Outcome | None" = None

    def __init__(
        self,
        *,
        task_id: str,
        task: str,
        extras: Sequence[str] = ("frozen",),
        queue: str = "default",
        pool: str = "",
        retries: int = 0,
        retry_delay_seconds: float = 60,
        doc_md: str = "",
        constraints: str = "",
        **unknown: Any,
    ) -> None:
        workflow = current_workflow()
        if unknown:
            reject_unknown(f"The task {task_id!r} of {workflow.name!r}", unknown.keys() - OF_AIRFLOW, workflow)
        super().__init__(
            task_id=task_id,
            bash_command=COMMAND,
            skip_on_exit_code=None,
            owner=workflow.distribution,
            queue=queue,
            pool=pool or f"{queue}_pool",
            retries=retries,
            retry_delay=timedelta(seconds=retry_delay_seconds),
            do_xcom_push=False,
            on_failure_callback=partial(task_failed, workflow.name, workflow.version, task_id),
            doc_md=doc_md,
            **unknown,
        )
        self.task = task
        self.requirement = workflow.requirement(extras)
        self.workflow = f"{workflow.name} {workflow.version}"
        self.recipe_run_id = RECIPE_RUN_ID
        self.file_workflow = workflow
        if constraints:
            self.constraints = constraints

    @cached_property
    def subprocess_hook(self) -> "TaskOutputHook":
        """What starts the worker program and reads the log of the task."""
        from dkist_processing_core.scheduling.output import TaskOutputHook

        return TaskOutputHook()

    def execute(self, context: Mapping[str, Any]) -> None:
        """
        Run the task.

        Raises
        ------
        TaskFailedError
            If it has failed.
        """
        from dkist_processing_core.scheduling.failure import TaskFailedError

        hook = self.subprocess_hook
        done = hook.run_command(
            command=[shutil.which("bash") or "bash", "-c", self.bash_command],
            env={**self.get_env(context), **self.variables(context), **hook.variables},
        )
        if done.exit_code:
            self.outcome = hook.failure(done.exit_code)
            raise TaskFailedError(self.outcome)

    def variables(self, context: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables by which the worker program is told what to run."""
        return {
            "DKIST_WORKER_PYTHON": sys.executable,
            "DKIST_TASK": self.task,
            "DKIST_REQUIREMENT": self.requirement,
            "DKIST_CONSTRAINTS": self.constraints,
            "DKIST_WORKFLOW_NAME": self.file_workflow.name,
            "DKIST_WORKFLOW_VERSION": self.file_workflow.version,
            "DKIST_RECIPE_RUN_ID": str(self.recipe_run_id),
            "TRACEPARENT": traceparent(context),
        }

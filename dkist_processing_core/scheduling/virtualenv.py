"""
The Airflow operator that runs a task in a virtual environment that Airflow itself creates.

Runs in: scheduler and DAG processor, which load it, and worker, where it is executed.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from dkist_processing_core.common.clean_room import cleaned
from dkist_processing_core.common.outcome import Outcome, judged
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.scheduling import TEMPLATE_FIELDS, current_workflow
from dkist_processing_core.scheduling.execution import note_try, render, traceparent
from dkist_processing_core.scheduling.failure import TaskFailedError

try:  # Airflow 3, or Airflow 2 with the standard provider
    from airflow.providers.standard.operators.python import PythonVirtualenvOperator
except ImportError:  # Airflow 2 without it
    from airflow.operators.python import PythonVirtualenvOperator

__all__ = ["VirtualenvTaskOperator"]


def run_task(task, recipe_run_id, workflow_name, workflow_version, traceparent, outcome):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - Airflow copies the text of this function
    """Run one task; Airflow copies this function into the virtual environment and calls it there."""
    from dkist_processing_core.runtime.virtualenv import run

    run(task, recipe_run_id, workflow_name, workflow_version, traceparent, outcome)


class VirtualenvTaskOperator(PythonVirtualenvOperator):
    """
    Run a task with Airflow's own `PythonVirtualenvOperator`. It has the parameters of `TaskOperator`.

    It does not support constraints, and Airflow logs all of its output at the level INFO.
    """

    template_fields: Sequence[str] = TEMPLATE_FIELDS
    template_fields_renderers: Mapping[str, str] = {}
    template_ext: Sequence[str] = ()
    recipe_run_id = ""
    outcome: Outcome | None = None

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
        **unknown: Any,
    ) -> None:
        workflow = current_workflow(task_id, unknown)
        self.requirement = workflow.requirement(extras)
        arguments = workflow.operator_arguments(
            task_id, queue=queue, pool=pool, retries=retries, retry_delay_seconds=retry_delay_seconds
        )
        super().__init__(
            python_callable=run_task,
            requirements=[self.requirement],
            system_site_packages=False,
            expect_airflow=False,
            doc_md=doc_md,
            **arguments,
            **unknown,
        )
        self.task = task
        self.workflow = f"{workflow.name} {workflow.version}"
        self.workflow_name = workflow.name
        self.workflow_version = workflow.version

    def render_template_fields(self, context: Mapping[str, Any], jinja_env: object = None) -> None:  # noqa: ARG002
        """Set the recipe run id; nothing is a template."""
        render(self, context)

    def pre_execute(self, context: Any) -> None:
        """Set what is known only in a run: the context of the run, and the folder of environments on this worker."""
        super().pre_execute(context)
        note_try(context)
        # A hidden folder in the cache of `TaskOperator`, which its collector ignores.
        self.venv_cache_path = cache_folder() / ".python_virtualenv"
        self.op_kwargs = {
            "task": self.task,
            "recipe_run_id": self.recipe_run_id,
            "workflow_name": self.workflow_name,
            "workflow_version": self.workflow_version,
            "traceparent": traceparent(context),
        }

    def execute_callable(self) -> None:
        """
        Run the task.

        Raises
        ------
        TaskFailedError
            If it has failed.
        """
        # The installers and the task run in this folder, where no other user can place a file for them to read. An
        # empty uv.toml keeps uv from searching the parent folders for one.
        with tempfile.TemporaryDirectory(prefix="dkist-outcome-") as folder, chdir(folder):
            Path(folder, "uv.toml").touch()
            file = Path(folder, "outcome.json")
            self.op_kwargs = {**self.op_kwargs, "outcome": str(file)}
            # From the start of its process, so that /proc does not show them either.
            self.env_vars, self.inherit_env = cleaned(os.environ), False
            try:
                super().execute_callable()
            except Exception:
                self.outcome = _read(file)
                if self.outcome is None or self.outcome.is_success:
                    raise
                raise TaskFailedError(self.outcome) from None
            self.outcome = judged(_read(file), 0)
            if not self.outcome.is_success:
                raise TaskFailedError(self.outcome)


def _read(file: Path) -> Outcome | None:
    """Return the outcome that a task has written; None if there is none."""
    try:
        return Outcome.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

"""
The DAG factory, which is all that an exported DAG file imports.

Runs in: scheduler, DAG processor and worker, with Airflow and the standard library alone. An exported file contains
names and data. This module decides what they mean to Airflow, for every supported version of Airflow. So an upgrade of
this library makes every exported file work with a new version of Airflow, or gives it a bug fix.

`workflow_dag`, `TaskOperator` and `virtualenv.VirtualenvTaskOperator` with their parameters are part of the ABI. A
protocol is a promise: a file that states protocol 1 loads and runs under every later release. A new key, or a new
meaning of one, is a new protocol.

Every parse of every file pays for this module, in a process that Airflow has just forked, where each name that is
touched for the first time copies a page of memory. So it contains only what a parse needs, and of Airflow it imports
nothing that the DAG processor has not loaded: importing the BashOperator would take five times as long as importing
this module. The code that runs a task, and the code that says why a file is refused, are imported when they are needed.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

try:  # Airflow 3
    from airflow.sdk import DAG, BaseOperator, Param
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.models import BaseOperator
    from airflow.models.param import Param

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, ClassVar

    from dkist_processing_core.common.outcome import Outcome
    from dkist_processing_core.scheduling.output import TaskOutputHook

__all__ = ["TaskOperator", "workflow_dag"]

PROTOCOL = 1
# Airflow and the services that receive an id store it as a signed 64-bit integer. As a number, it must be a safe
# integer of JavaScript: Airflow's form would change a larger one such as 999999999999999999 to 10**18.
LARGEST_NUMBER = 2**53 - 1
# Matches positive integers without a sign or leading zeros, in the regular expressions of Python (for Airflow's API)
# and of JavaScript (for its forms). "$" would accept a newline at the end in Python, and "\\Z" is unknown to
# JavaScript, so a negative lookahead marks the end. A number with more digits could be too large.
RECIPE_RUN_ID_PATTERN = r"^[1-9][0-9]{0,17}(?![\s\S])"
# In this draft, 1.0 and 1e3 are not integers. In later drafts they are, and a task would get "1.0".
SCHEMA = "http://json-schema.org/draft-04/schema#"
# Airflow shows these as "Rendered Templates". None is a template: an operator renders itself, see `execution.render`.
TEMPLATE_FIELDS = ("task", "requirement", "workflow", "recipe_run_id")
# Arguments that Airflow itself adds to those of an operator.
OF_AIRFLOW = frozenset({"dag", "default_args", "params", "task_group"})


class workflow_dag:  # noqa: N801 - a context manager, in the manner of contextlib's
    """
    The DAG of one version of a workflow. Create its tasks in the ``with`` statement, which yields Airflow's DAG.

    Parameters
    ----------
    protocol
        The protocol of the file.
    exported_by
        The release of this library that wrote the file.
    name, version
        Name and version of the workflow; ``{name}_{version}`` is Airflow's DAG id.
    distribution
        Name of the distribution that the task environments install.
    tags
        Airflow's tags.
    requires_python
        Version specifier of the Python of the task environments; empty for the Python of the worker.

    Raises
    ------
    UnsupportedDagFileError
        If the file states a protocol or a key that this release does not know.
    """

    # The one in whose ``with`` statement tasks are being created.
    current: ClassVar[workflow_dag | None] = None

    def __init__(
        self,
        *,
        protocol: int,
        exported_by: str,
        name: str,
        version: str,
        distribution: str,
        tags: Sequence[str],
        requires_python: str = "",
        **unknown: object,
    ) -> None:
        if protocol != PROTOCOL or unknown:
            from dkist_processing_core.scheduling.refusal import refuse_workflow

            refuse_workflow(name, exported_by, (protocol, PROTOCOL), unknown)
        self.name = name
        self.version = version
        self.distribution = distribution
        self.exported_by = exported_by
        self.tags = tags
        self.requires_python = requires_python
        # Airflow takes the file that calls DAG(...), which is this module, for the DAG file.
        self.file = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - documented, and what inspect would do
        self._dag: Any = None

    def requirement(self, extras: Iterable[str]) -> str:
        """Return the requirement (:pep:`508`) from which the environment of a task is built."""
        return f"{self.distribution}[{','.join(extras)}]=={self.version}"

    def operator_arguments(
        self, task_id: str, *, queue: str, pool: str, retries: int, retry_delay_seconds: float
    ) -> dict[str, Any]:
        """Return the arguments of Airflow's operator for a task, the same for each operator."""
        return {
            "task_id": task_id,
            "owner": self.distribution,
            "queue": queue,
            "pool": pool or f"{queue}_pool",
            "retries": retries,
            "retry_delay": timedelta(seconds=retry_delay_seconds),
            "do_xcom_push": False,
            "on_failure_callback": partial(report_failure, self.name, self.version, task_id),
        }

    def __enter__(self) -> Any:
        self._dag = DAG(
            dag_id=f"{self.name}_{self.version}",
            tags=list(self.tags),
            description=f"{self.name} of {self.distribution} {self.version}",
            schedule=None,
            catchup=False,
            # A run of a paused DAG would stay queued forever. Without a schedule, nothing runs until it is triggered.
            is_paused_upon_creation=False,
            on_failure_callback=partial(report_failure, self.name, self.version, None),
        )
        self._dag.fileloc = self.file
        workflow_dag.current = self
        return self._dag.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        workflow_dag.current = None
        self._dag.__exit__(exc_type, exc_val, exc_tb)
        self._dag.doc_md = _doc(self._dag, self)
        # Added after the tasks: if a task inherits a required param, dag.test() of Airflow 3.2 and later fails.
        self._dag.params["recipe_run_id"] = Param(  # noqa: AIR311 - the path in Airflow 2
            type=["integer", "string"],
            minimum=1,
            maximum=LARGEST_NUMBER,
            pattern=RECIPE_RUN_ID_PATTERN,
            description="Id of the recipe run to process, a positive integer.",
            examples=[1],  # with these, Airflow's form has a number field; without, a text area of six lines
            **{"$schema": SCHEMA},
        )


def current_workflow(task_id: str, unknown: Mapping[str, object]) -> workflow_dag:
    """
    Return the workflow that a task belongs to.

    Parameters
    ----------
    task_id
        Airflow's id of the task.
    unknown
        Arguments of its operator that are not keys of the protocol.

    Raises
    ------
    UnsupportedDagFileError
        If there is no workflow, as outside of ``with workflow_dag(...)``, or a key that this release does not know.
    """
    workflow = workflow_dag.current
    if workflow is None or unknown.keys() - OF_AIRFLOW:
        from dkist_processing_core.scheduling.refusal import refuse_task

        known = None if workflow is None else (workflow.name, workflow.exported_by)
        refuse_task(task_id, known, unknown.keys() - OF_AIRFLOW)
    return workflow


def _doc(dag: Any, workflow: workflow_dag) -> str:
    """Return the documentation of the DAG on Airflow's pages (Markdown): the first line about each task."""
    release = f"`{workflow.distribution}=={workflow.version}`"
    rows = [f"| {task.task_id} | {_cell(task.doc_md or '')} |" for task in dag.tasks]
    head = [f"Workflow **{workflow.name}**, run from the release {release}.", ""]
    if ".zip/" in workflow.file:
        from dkist_processing_core.scheduling.archive import missing_callbacks

        if warning := missing_callbacks(workflow.file):
            head += [f"**Warning:** {warning}", ""]
    return "\n".join([*head, "| task | what it does |", "| --- | --- |", *rows, ""])


def _cell(doc: str) -> str:
    return doc.partition("\n")[0].replace("\\", "\\\\").replace("|", "\\|")


def report_failure(
    workflow_name: str, workflow_version: str, task_name: str | None, context: Mapping[str, Any]
) -> None:
    """Report a failure. A partial of this is the ``on_failure_callback`` of a task; without a task name, of the DAG."""
    from dkist_processing_core.failure_callback import chat_ops_notification, dag_run_failure_notification

    if task_name is None:
        dag_run_failure_notification(context, workflow_name, workflow_version)
    else:
        chat_ops_notification(context, workflow_name, workflow_version, task_name)


class TaskOperator(BaseOperator):
    """
    Run a task with the worker program, in a virtual environment of its release.

    It runs a constant bash command with the hook of Airflow's BashOperator, and passes everything about the task to the
    worker program in environment variables.

    Parameters
    ----------
    task_id
        Airflow's id of the task.
    task
        Import path of the task class, as ``module:Class``.
    extras
        Extras of the distribution that are installed in the environment.
    queue, pool
        Airflow's queue and pool; the pool is ``{queue}_pool`` by default.
    retries, retry_delay_seconds
        Number of retries after a failure, and the time between two tries in seconds.
    doc_md
        Documentation of the task on Airflow's pages (Markdown).
    constraints
        Constraints on the other distributions that are installed, one requirement per line; empty for none.

    Raises
    ------
    UnsupportedDagFileError
        If the file states a key that this release does not know.
    """

    template_fields: Sequence[str] = TEMPLATE_FIELDS
    template_fields_renderers: Mapping[str, str] = {}
    template_ext: Sequence[str] = ()
    ui_color = "#e8f0fa"
    bash_command = 'exec "$DKIST_WORKER_PYTHON" -P -m dkist_processing_core.worker'
    subprocess_hook: TaskOutputHook | None = None
    task: str
    requirement: str
    recipe_run_id = ""
    constraints: str
    requires_python: str
    workflow_version: str
    workflow_name: str
    outcome: Outcome | None = None

    def render_template_fields(self, context: Mapping[str, Any], jinja_env: object = None) -> None:  # noqa: ARG002
        """Set the recipe run id; nothing is a template."""
        from dkist_processing_core.scheduling.execution import render

        render(self, context)

    def execute(self, context: Mapping[str, Any]) -> None:
        """
        Run the task.

        Raises
        ------
        TaskFailedError
            If it has failed.
        """
        from dkist_processing_core.scheduling.execution import run_worker_program

        run_worker_program(self, context)

    def on_kill(self) -> None:
        """End the worker program, which ends the task."""
        if self.subprocess_hook:
            self.subprocess_hook.send_sigterm()


_init_operator: Any = BaseOperator.__init__


def _init(
    self: TaskOperator,
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
    """Construct a `TaskOperator`."""
    workflow = current_workflow(task_id, unknown)
    arguments = workflow.operator_arguments(
        task_id, queue=queue, pool=pool, retries=retries, retry_delay_seconds=retry_delay_seconds
    )
    _init_operator(self, doc_md=doc_md, **arguments, **unknown)
    # Directly, to skip Airflow's search for XComs in each attribute.
    self.__dict__.update(
        task=task,
        requirement=workflow.requirement(extras),
        workflow=f"{workflow.name} {workflow.version}",
        constraints=constraints,
        requires_python=workflow.requires_python,
        workflow_name=workflow.name,
        workflow_version=workflow.version,
    )


# Airflow wraps each constructor that a class defines, to add default arguments of the DAG. That of BaseOperator, called
# above, is wrapped. Another wrapper around ours would make a file of 25 tasks take 4 % longer to parse. So our
# constructor is set after Airflow has created the class. Its ``__wrapped__`` is that of the wrapper, since Airflow
# finishes an operator there.
_init.__wrapped__ = getattr(_init_operator, "__wrapped__", None)  # type: ignore[attr-defined]
_init.__qualname__ = "TaskOperator.__init__"  # for Python's error messages
TaskOperator.__init__ = _init  # type: ignore[assignment, method-assign]

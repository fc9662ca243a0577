"""
The DAG factory: all that an exported DAG file imports.

Runs in: scheduler, DAG processor and worker, with Airflow and the standard library alone. An exported file holds names
and data; what they mean to Airflow is decided here, for every version of Airflow that is supported. So an upgrade of
Airflow, or a mended fault, reaches every file that was ever exported by an upgrade of this library.

`workflow_dag`, `TaskOperator` and `VirtualenvTaskOperator` with their parameters are part of the ABI. A protocol is a
promise: a file that states protocol 1 loads and runs under every later release. A new key, or a new meaning of one, is
a new protocol.

All that a parse needs stands in this one module, and what only a running or failing task needs is imported by it: every
parse of every file pays for each module, about 0.4 ms in a process that Airflow has just forked.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

try:  # Airflow 3
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.models.param import Param

try:  # Airflow 3, or Airflow 2 with the standard provider
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:
    from airflow.operators.bash import BashOperator

if TYPE_CHECKING:
    from dkist_processing_core.common.outcome import Outcome
    from dkist_processing_core.scheduling.output import TaskOutputHook
    from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator

__all__ = ["TaskOperator", "VirtualenvTaskOperator", "workflow_dag"]

PROTOCOL = 1
# An id is kept as a signed integer of 64 bits by Airflow and by the services that it is sent to.
LARGEST_RECIPE_RUN_ID = 2**63 - 1
# Matches positive integers without a sign or leading zeros, in the regular expressions of Python (which Airflow's API
# uses) and of JavaScript (which its forms use). "$" would let a newline at the end pass in Python, and "\\Z" is unknown
# to JavaScript, so the end is where no character follows.
RECIPE_RUN_ID_PATTERN = r"^[1-9][0-9]{0,18}(?![\s\S])"
# Shown by Airflow as "Rendered Templates". Only the last one holds a text that Jinja expands.
TEMPLATE_FIELDS = ("task", "requirement", "workflow", "recipe_run_id")
RECIPE_RUN_ID = "{{ (dag_run.conf or {}).get('recipe_run_id', '') }}"
COMMAND = 'exec "$DKIST_WORKER_PYTHON" -P -m dkist_processing_core.worker'
# What Airflow adds to the arguments of an operator by itself.
OF_AIRFLOW = frozenset({"dag", "default_args", "params", "task_group"})


def __getattr__(name: str) -> object:
    if name != "VirtualenvTaskOperator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator

    return VirtualenvTaskOperator


class FileWorkflow:
    """
    The workflow that an exported file describes. It is no dataclass, since making one costs as much as ten tasks.

    Parameters
    ----------
    name, version
        Name and version of the workflow.
    distribution
        Name of the distribution that the task environments install.
    exported_by
        The release of this library that wrote the file.
    """

    __slots__ = ("distribution", "exported_by", "name", "title", "version")

    def __init__(self, *, name: str, version: str, distribution: str, exported_by: str) -> None:
        self.name = name
        self.version = version
        self.distribution = distribution
        self.exported_by = exported_by
        self.title = f"{name} {version}"

    def requirement(self, extras: Iterable[str]) -> str:
        """Return the requirement (:pep:`508`) that the environment of a task is built from."""
        return f"{self.distribution}[{','.join(extras)}]=={self.version}"

    def reject_unknown(self, subject: str, keys: Iterable[str]) -> None:
        """
        Do nothing if there is no key that this release does not know.

        Raises
        ------
        UnsupportedDagFileError
            If there is one.
        """
        if unknown := sorted(keys):
            shown = ", ".join(map(repr, unknown))
            _refuse(f"{subject} has {shown}, which this release does not know", self.exported_by)


_current: ContextVar[FileWorkflow] = ContextVar("dkist_workflow_of_dag_file")


@contextmanager
def in_workflow(workflow: FileWorkflow) -> Iterator[None]:
    """Let the operators that are made meanwhile belong to a workflow."""
    token = _current.set(workflow)
    try:
        yield
    finally:
        _current.reset(token)


def current_workflow() -> FileWorkflow:
    """
    Return the workflow whose tasks are being made.

    Raises
    ------
    UnsupportedDagFileError
        If there is none, as outside of ``with workflow_dag(...)``.
    """
    try:
        return _current.get()
    except LookupError:
        _refuse("A task operator was made outside of `with workflow_dag(...)`")


def _refuse(what: str, exported_by: str = "") -> NoReturn:
    from dkist_processing_core.exceptions import UnsupportedDagFileError

    raise UnsupportedDagFileError(what, exported_by) from None


def workflow_dag(
    *,
    protocol: int,
    exported_by: str,
    name: str,
    version: str,
    distribution: str,
    tags: Sequence[str],
    **unknown: object,
) -> AbstractContextManager[Any]:
    """
    Make the DAG of one version of a workflow; its tasks are made in the ``with`` statement.

    Parameters
    ----------
    protocol
        The protocol of the file.
    exported_by
        The release of this library that wrote the file.
    name, version
        Name and version of the workflow; ``{name}_{version}`` is Airflow's dag id.
    distribution
        Name of the distribution that the task environments install.
    tags
        Airflow's tags.

    Returns
    -------
    context manager
        It yields Airflow's DAG.

    Raises
    ------
    UnsupportedDagFileError
        If the file states a protocol or a key that this release does not know.
    """
    if protocol != PROTOCOL:
        _refuse(f"The file states protocol {protocol!r}; this release knows {PROTOCOL}", exported_by)
    workflow = FileWorkflow(name=name, version=version, distribution=distribution, exported_by=exported_by)
    workflow.reject_unknown(f"The workflow {name!r}", unknown)
    dag = DAG(
        dag_id=f"{name}_{version}",
        tags=list(tags),
        schedule=None,
        catchup=False,
        on_failure_callback=partial(_run_failed, name, version),
    )
    # Airflow takes the file that calls DAG(...) for the DAG's own.
    dag.fileloc = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - documented, and all that inspect would do
    return _entered(dag, workflow)


@contextmanager
def _entered(dag: Any, workflow: FileWorkflow) -> Iterator[Any]:
    with in_workflow(workflow), dag:
        yield dag
    dag.doc_md = _doc(dag, workflow)
    # Added after the tasks: a task that inherits a required param makes dag.test() of Airflow 3.2 and later fail.
    dag.params["recipe_run_id"] = Param(  # noqa: AIR311 - Airflow 2 has it in the place that this names
        type=["integer", "string"],
        minimum=1,
        maximum=LARGEST_RECIPE_RUN_ID,
        pattern=RECIPE_RUN_ID_PATTERN,
        description="Id of the recipe run to process, a positive integer.",
    )


def _doc(dag: Any, workflow: FileWorkflow) -> str:
    """Return what Airflow's pages say about the DAG, Markdown: the first line about each task."""
    release = f"`{workflow.distribution}=={workflow.version}`"
    rows = [f"| {task.task_id} | {_cell(task.doc_md or '')} |" for task in dag.tasks]
    head = [f"Workflow **{workflow.name}**, run from the release {release}.", ""]
    return "\n".join([*head, "| task | what it does |", "| --- | --- |", *rows, ""])


def _cell(doc: str) -> str:
    return doc.partition("\n")[0].replace("\\", "\\\\").replace("|", "\\|")


def task_failed(workflow_name: str, workflow_version: str, task_name: str, context: Mapping[str, Any]) -> None:
    """Report the failure of a task; partially applied, the ``on_failure_callback`` of the task."""
    from dkist_processing_core.failure_callback import chat_ops_notification

    chat_ops_notification(context, workflow_name, workflow_version, task_name)


def _run_failed(workflow_name: str, workflow_version: str, context: Mapping[str, Any]) -> None:
    """Report what the tasks of a run could not; partially applied, the ``on_failure_callback`` of the DAG."""
    from dkist_processing_core.failure_callback import dag_run_failure_notification

    dag_run_failure_notification(context, workflow_name, workflow_version)


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
        Airflow's queue and pool; the pool is ``{queue}_pool`` by default.
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
    # What BashOperator sets in its constructor and get_env reads.
    bash_command = COMMAND
    env: Mapping[str, str] | None = None
    append_env = False
    task: str
    requirement: str
    recipe_run_id: str
    constraints: str
    file_workflow: FileWorkflow
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
            workflow.reject_unknown(f"The task {task_id!r} of {workflow.name!r}", unknown.keys() - OF_AIRFLOW)
        # Not the constructor of BashOperator, whose values are those above. Airflow wraps each constructor on the way, so
        # a file of 25 tasks would take 3 % longer to parse.
        super(BashOperator, self).__init__(
            task_id=task_id,
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
        # Without Airflow's search for XComs in each attribute.
        self.__dict__.update(
            task=task,
            requirement=workflow.requirement(extras),
            workflow=workflow.title,
            recipe_run_id=RECIPE_RUN_ID,
            constraints=constraints,
            file_workflow=workflow,
        )

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

"""
One task in a workflow, as the author sees it.

Runs in: author and CI. Airflow is needed only for `Node.operator`.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from dkist_processing_core.authoring.constraints import read_constraints
from dkist_processing_core.authoring.distributions import derived_name, providing_distribution
from dkist_processing_core.authoring.names import check_name, check_requires_python, dag_name
from dkist_processing_core.authoring.spec import OPERATORS, NodeSpec, WorkflowSpec
from dkist_processing_core.common.lock_file import for_release
from dkist_processing_core.exceptions import NotATaskError, TaskSettingError, WorkflowError, did_you_mean
from dkist_processing_core.resource_queue import ResourceQueue
from dkist_processing_core.task import TaskBase

if TYPE_CHECKING:
    from dkist_processing_core.scheduling import TaskOperator
    from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator

__all__ = ["Node"]

BASE_EXTRA = "frozen"
MAXIMUM_RETRIES = 1_000_000  # Airflow adds tries to it, as a 32-bit integer
MAXIMUM_RETRY_DELAY = 365 * 86400  # a date beyond Python's range crashes Airflow's scheduler

Upstreams = type[TaskBase] | Iterable[type[TaskBase]] | None


def check_task(value: object, *, argument: str) -> type[TaskBase]:
    """Return the value if it is a task class, else raise a `NotATaskError`, which is also a `TypeError`."""
    if not (isinstance(value, type) and issubclass(value, TaskBase)):
        raise NotATaskError(value, argument=argument)
    return value


def check_operator(name: object, *, workflow: str) -> str:
    """Return the name of an operator if there is such an operator, else raise a `WorkflowError`."""
    if name not in OPERATORS:
        raise WorkflowError(
            f"there is no operator {name!r}{did_you_mean(str(name), OPERATORS)}",
            remedy=f"Use one of {', '.join(OPERATORS)}",
            workflow=workflow,
        )
    return str(name)


class Node:
    """
    A task in a workflow, with its upstreams and its queue.

    `Workflow.add_node` creates nodes. There is rarely a reason to create one yourself.

    Parameters
    ----------
    workflow_name, workflow_version, workflow_package
        Name, version and package of the workflow that the node belongs to.
    task
        The task class.
    resource_queue
        Queue of the workers that run the task.
    upstreams
        The task classes that must succeed first: one, several, or None.
    pip_extras
        Extras of the package that the task needs, in addition to ``frozen``.
    constraints
        A constraints file or ``pylock.toml`` for the environment of the task. It is read when the node is created.
    operator
        Airflow operator that runs the task: ``bash`` or ``python_virtualenv``.
    requires_python
        Python of the task environment, as a version specifier (:pep:`440`) such as ``>=3.12``.

    Attributes
    ----------
    name : str
        Name of the class, which is Airflow's task id.
    upstreams : list of type
        The task classes that must succeed first, without duplicates.
    pool : str
        Airflow pool in which the task takes a slot, ``{queue}_pool``.
    pip_extras : list of str
        All extras, ``frozen`` first.

    Raises
    ------
    NotATaskError
        If the task or an upstream is not a subclass of `TaskBase`. It is also a `TypeError`.
    WorkflowError
        If the name of the class, its ``retries`` or ``retry_delay_seconds``, or an argument cannot be used, or the
        operator does not support an argument. It is also a `ValueError`.
    """

    def __init__(
        self,
        workflow_name: str,
        workflow_version: str,
        workflow_package: str,
        task: type[TaskBase],
        resource_queue: ResourceQueue | str | None = None,
        upstreams: Upstreams = None,
        pip_extras: Iterable[str] | str | None = None,
        constraints: str | Path | None = None,
        operator: str = OPERATORS[0],
        requires_python: str | None = None,
    ) -> None:
        self.workflow_name = workflow_name
        self.workflow_version = workflow_version
        self.workflow_package = workflow_package
        self.task = check_task(task, argument="task")
        self.name = check_name("task name", task.__name__)
        check_name("path of the task in its module", task.__qualname__.replace(".<locals>", ""))
        self.upstreams = _upstream_list(upstreams)
        self.resource_queue = self._check_queue(resource_queue)
        self.pool = self.resource_queue.pool
        self.pip_extras = self._check_extras(pip_extras)
        self.constraints = read_constraints(constraints, workflow=workflow_name, task=self.name)
        self.operator_kind = check_operator(operator, workflow=workflow_name)
        self.requires_python = check_requires_python(requires_python, workflow=workflow_name)
        self._check_retries()
        if self.operator_kind != OPERATORS[0]:
            self._refuse_what_airflow_does_not_know()

    def _refuse_what_airflow_does_not_know(self) -> None:
        """Raise an error for an argument that Airflow's own operator does not support."""
        remedies = {
            "constraints": f"pin the versions in the extra {BASE_EXTRA!r}",
            "requires_python": "make sure that python on the worker's PATH is that Python",
        }
        for name, remedy in remedies.items():
            if getattr(self, name):
                what = f"the operator {self.operator_kind!r} does not support {name}"
                raise self._error(what, f"Use the operator {OPERATORS[0]!r}, or {remedy}")

    def _error(self, what: str, remedy: str, kind: type[WorkflowError] = WorkflowError) -> WorkflowError:
        return kind(what, remedy=remedy, workflow=self.workflow_name, task=self.name)

    def _check_queue(self, queue: ResourceQueue | str | None) -> ResourceQueue:
        try:
            return ResourceQueue.DEFAULT if queue is None else ResourceQueue(queue)
        except ValueError:
            remedy = f"Use one of {', '.join(map(str, ResourceQueue))}"
            raise self._error(f"there is no resource queue {queue!r}", remedy) from None

    def _check_extras(self, extras: Iterable[str] | str | None) -> list[str]:
        given = [extras] if isinstance(extras, str) else list(extras or ())
        for extra in given:
            try:
                canonicalize_name(extra, validate=True)
            except (ValueError, TypeError):
                remedy = "Use the names of extras that the package's pyproject.toml declares"
                raise self._error(f"{extra!r} cannot be the name of an extra", remedy) from None
        return list(dict.fromkeys([BASE_EXTRA, *given]))

    def _check_retries(self) -> None:
        retries, delay = self.task.retries, self.task.retry_delay_seconds
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MAXIMUM_RETRIES:
            what = f"{self.name}.retries is {retries!r}"
            raise self._error(what, f"Set it to an integer from 0 to {MAXIMUM_RETRIES}", TaskSettingError)
        if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= MAXIMUM_RETRY_DELAY:
            what = f"{self.name}.retry_delay_seconds is {delay!r}"
            remedy = f"Set it to a number of seconds from 0 to {MAXIMUM_RETRY_DELAY}, which is a year"
            raise self._error(what, remedy, TaskSettingError)

    @property
    def spec(self) -> NodeSpec:
        """Frozen description of the node, from which all outputs are made."""
        return NodeSpec(
            name=self.name,
            task=f"{self.task.__module__}:{self.task.__qualname__}",
            upstreams=tuple(sorted(each.__name__ for each in self.upstreams)),
            queue=self.resource_queue.value,
            pool=self.pool,
            extras=tuple(self.pip_extras),
            constraints=self._constraints,
            retries=self.task.retries,
            retry_delay_seconds=self.task.retry_delay_seconds,
            doc=inspect.cleandoc(self.task.__dict__.get("__doc__") or ""),
        )

    @property
    def _constraints(self) -> str:
        if not self.constraints:
            return ""
        return for_release(self.constraints, distribution_name(self.workflow_package), self.workflow_version)

    @property
    def _workflow_spec(self) -> WorkflowSpec:
        """The spec of a workflow that has only this node; renderers take a workflow."""
        return WorkflowSpec(
            name=self.workflow_name,
            version=self.workflow_version,
            dag_id=dag_name(self.workflow_name, self.workflow_version),
            package=self.workflow_package,
            distribution=distribution_name(self.workflow_package),
            tags=(),
            operator=self.operator_kind,
            requires_python=self.requires_python,
            nodes=(self.spec,),
        )

    @property
    def dependencies(self) -> list[tuple[str, str]]:
        """Edges from the upstreams to this node, as pairs ``(upstream name, task name)``."""
        return [(upstream.__name__, self.name) for upstream in self.upstreams]

    @property
    def bash_script(self) -> str:
        """
        The shell script that runs the task as a worker does.

        Run it with ``DKIST_RECIPE_RUN_ID=1 bash script.sh``.
        """
        from dkist_processing_core.rendering.script import runnable_script

        return runnable_script(self._workflow_spec, self.spec)

    @property
    def install_command(self) -> str:
        """Shell command that installs the package with the extras of the task, without its constraints."""
        return f"uv pip install {quote(self._workflow_spec.requirement(self.spec))}"

    @property
    def run_command(self) -> str:
        """Shell command that runs the task in its environment. It needs the variable ``DKIST_RECIPE_RUN_ID``."""
        words = [
            *["python", "-P", "-m", "dkist_processing_core.runtime", self.spec.task],
            *["--workflow-name", self.workflow_name, "--workflow-version", self.workflow_version],
        ]
        return " ".join(map(quote, words))

    @property
    def python(self) -> str:
        """Python statements that run the task in its environment. They need the variable ``DKIST_RECIPE_RUN_ID``."""
        return (
            "from dkist_processing_core.runtime.main import run_task\n"
            f"run_task({self.spec.task!r}, workflow_name={self.workflow_name!r}, "
            f"workflow_version={self.workflow_version!r})\n"
        )

    @property
    def notebook_cell(self) -> str:
        """Python statements that run the task in a notebook that has set ``recipe_run_id``."""
        from dkist_processing_core.rendering.notebook import task_code

        return task_code(self._workflow_spec, self.spec)

    @property
    def operator_definition(self) -> str:
        """Python expression in the DAG file that creates the operator of the node."""
        from dkist_processing_core.rendering.dag import node_call

        return node_call(self._workflow_spec, self.spec)

    @property
    def operator(self) -> "TaskOperator | VirtualenvTaskOperator":
        """
        Airflow operator of the node, which does not belong to a DAG yet.

        Raises
        ------
        MissingExtraError
            If Airflow is not installed.
        """
        from dkist_processing_core._version import __version__
        from dkist_processing_core.authoring.airflow import make_operator
        from dkist_processing_core.rendering.dag import operator_text

        workflow = self._workflow_spec
        made: TaskOperator = make_operator(
            operator_text(workflow, self.spec),
            name=workflow.name,
            version=workflow.version,
            distribution=workflow.distribution,
            requires_python=workflow.requires_python,
            exported_by=__version__,
        )
        return made

    def __repr__(self) -> str:
        upstreams = ", ".join(name for name, _ in self.dependencies)
        return f"Node({self.name}, upstreams=[{upstreams}], resource_queue={self.resource_queue.value!r})"


def distribution_name(package: str) -> str:
    """Return the distribution that provides a package, or the name it has by convention if none is installed."""
    return providing_distribution(package) or derived_name(package)


def _upstream_list(upstreams: Upstreams) -> list[type[TaskBase]]:
    if upstreams is None:
        given: list[Any] = []
    elif isinstance(upstreams, Iterable) and not isinstance(upstreams, (type, str)):
        given = list(upstreams)
    else:
        given = [upstreams]
    return list(dict.fromkeys(check_task(each, argument="upstreams") for each in given))

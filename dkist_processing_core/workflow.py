"""
What people write to declare a workflow.

Runs in: author and CI. Airflow is needed only for `Workflow.load`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dkist_processing_core.authoring.constraints import read_constraints
from dkist_processing_core.authoring.graph import order
from dkist_processing_core.authoring.names import check_name, check_workflow_name_length
from dkist_processing_core.authoring.naming import dag_name, dag_tags, workflow_name_from_details
from dkist_processing_core.authoring.spec import OPERATORS, WorkflowSpec
from dkist_processing_core.common import atomic
from dkist_processing_core.common.settings import build_version
from dkist_processing_core.exceptions import DuplicateTaskError, NamingSchemeError, WorkflowError
from dkist_processing_core.node import Node, Upstreams, check_operator, distribution_name
from dkist_processing_core.resource_queue import ResourceQueue
from dkist_processing_core.task import TaskBase

if TYPE_CHECKING:
    from airflow.sdk import DAG

__all__ = ["Workflow", "dag_name", "workflow_name_from_details"]

MAXIMUM_TAG_LENGTH = 100  # of the column in Airflow's database
SCHEMES = (
    "Name a workflow either by input_data, output_data, category (and detail, tags if wanted), "
    "or by process_category and process_name"
)


class Workflow:
    """
    Tasks and the order in which they run.

    A workflow is named by one of two schemes, which are not mixed: ``process_category`` and ``process_name``, or
    ``input_data``, ``output_data``, ``category`` and, if wanted, ``detail``.

    Parameters
    ----------
    input_data, output_data
        Kind of data that the workflow reads and writes, such as ``l0`` and ``l1``.
    category
        What it is for, such as the name of an instrument.
    detail
        What tells it from a similar workflow.
    tags
        Tags by which Airflow's UI finds it, besides the version and the parts of the name.
    process_category, process_name
        The two parts of the name in the other scheme.
    workflow_package
        Dotted name of the package that declares the workflow, ``__package__`` where the workflow is declared. The
        distribution that provides it is what the task environments install.
    workflow_version
        Version of the workflow, which is that of the release that its tasks run from; ``BUILD_VERSION`` by default, or
        ``dev`` without that.
    constraints
        A constraints file, read now, that decides which versions of other packages are installed with the package, in
        the environment of every node that has none of its own. The extra ``frozen`` does the same from within the
        release and is the usual way.
    operator
        Name of the Airflow operator that runs the nodes: ``bash``, which runs the task script of this library, or
        ``python_virtualenv``, Airflow's own. How they differ is in the documentation, "Operators".

    Attributes
    ----------
    nodes : list of Node
        The nodes in the order in which they were added.
    workflow_name, dag_name : str
        Name of the workflow, and that name followed by the version, which is Airflow's dag id.

    Raises
    ------
    TypeError
        If the two naming schemes are mixed, or a part of the name is missing.
    ValueError
        If the name has illegal characters or is too long.

    Examples
    --------
    >>> from dkist_processing_core import TaskBase, Workflow
    >>> class Calibrate(TaskBase):
    ...     def run(self): ...
    >>> class Publish(TaskBase):
    ...     def run(self): ...
    >>> level1 = Workflow(
    ...     input_data="l0", output_data="l1", category="cam", workflow_package="example", workflow_version="1.0"
    ... )
    >>> level1.add_node(Calibrate)
    >>> level1.add_node(Publish, upstreams=Calibrate)
    >>> level1.dag_name
    'l0_to_l1_cam_1.0'
    """

    def __init__(
        self,
        *,
        workflow_package: str,
        workflow_version: str | None = None,
        input_data: str | None = None,
        output_data: str | None = None,
        category: str | None = None,
        detail: str | None = None,
        tags: Iterable[str] | str | None = None,
        process_category: str | None = None,
        process_name: str | None = None,
        constraints: str | Path | None = None,
        operator: str = OPERATORS[0],
    ) -> None:
        details = {"input_data": input_data, "output_data": output_data, "category": category}
        process = {"process_category": process_category, "process_name": process_name}
        optional = {"detail": detail, "tags": tags}
        _check_scheme(details, process, optional)
        self.input_data = input_data
        self.output_data = output_data
        self.category = category
        self.detail = detail
        self.process_category = process_category
        self.process_name = process_name
        self._name_parts = [
            check_name(argument, value)
            for argument, value in (details | {"detail": detail} | process).items()
            if value is not None and not (argument == "detail" and value == "")
        ]
        self.tags = [tags] if isinstance(tags, str) else list(tags or ())
        self.workflow_version = workflow_version or build_version()
        self.workflow_name = self._compose_name()
        self.dag_name = dag_name(self.workflow_name, self.workflow_version)
        self.workflow_package = self._check_package(workflow_package)
        self._check_tags()
        self.constraints = constraints
        read_constraints(constraints, workflow=self.workflow_name)
        self.operator = check_operator(operator, workflow=self.workflow_name)
        self.nodes: list[Node] = []

    def _compose_name(self) -> str:
        if self.process_category is not None:
            return check_workflow_name_length(f"{self.process_category}_{self.process_name}")
        return workflow_name_from_details(str(self.input_data), str(self.output_data), str(self.category), self.detail)

    def _check_package(self, package: object) -> str:
        parts = package.split(".") if isinstance(package, str) else [""]
        if not all(part.isidentifier() for part in parts):
            raise WorkflowError(
                f"workflow_package is {package!r}",
                remedy="Give it the dotted name of the declaring package: workflow_package=__package__",
                workflow=self.workflow_name,
            )
        return str(package)

    def _check_tags(self) -> None:
        for tag in self.tags:
            if not isinstance(tag, str) or not 0 < len(tag) <= MAXIMUM_TAG_LENGTH:
                raise WorkflowError(
                    f"the tag {tag!r} is not a text of 1 to {MAXIMUM_TAG_LENGTH} characters",
                    remedy="Give tags as a list of such texts",
                    workflow=self.workflow_name,
                )

    @property
    def dag_tags(self) -> list[str]:
        """The tags in Airflow: those given, the version, and the parts of the name, each once, sorted."""
        return list(dag_tags(self.tags, [self.workflow_version], self._name_parts))

    def add_node(
        self,
        task: type[TaskBase],
        upstreams: Upstreams = None,
        resource_queue: ResourceQueue | str | None = None,
        pip_extras: Iterable[str] | str | None = None,
        constraints: str | Path | None = None,
    ) -> None:
        """
        Add a task.

        Parameters
        ----------
        task
            The task class. Its name is Airflow's task id.
        upstreams
            The task classes that must have succeeded before: one, several, or None. They may be added later.
        resource_queue
            Kind of worker that runs the task, `ResourceQueue.DEFAULT` by default.
        pip_extras
            Extras of the package that the task needs besides ``frozen``.
        constraints
            A constraints file for this task, in the place of the workflow's.

        Raises
        ------
        TypeError
            If the task or an upstream is no subclass of `TaskBase`.
        ValueError
            If a task of that name is in the workflow already, or a setting cannot be used.
        """
        node = Node(
            workflow_name=self.workflow_name,
            workflow_version=self.workflow_version,
            workflow_package=self.workflow_package,
            task=task,
            resource_queue=resource_queue,
            upstreams=upstreams,
            pip_extras=pip_extras,
            constraints=self.constraints if constraints is None else constraints,
            operator=self.operator,
        )
        for other in self.nodes:
            if other.name == node.name:
                what = (
                    "it is in the workflow already"
                    if other.task is task
                    else f"{other.task.__module__} has a task of that name, which is in the workflow already"
                )
                raise DuplicateTaskError(
                    f"the task {node.name!r} of {task.__module__} cannot be added: {what}",
                    remedy="Add each task once, and give different tasks different names",
                    workflow=self.workflow_name,
                    task=node.name,
                )
        self.nodes.append(node)

    def topological_sort(self) -> list[Node]:
        """
        Return the nodes, each after all of its upstreams, and by name where that leaves a choice.

        Raises
        ------
        ValueError
            If there are no nodes, an upstream was never added, or the tasks wait for each other in a circle.
        """
        by_name = {node.name: node for node in self.nodes}
        ordered = order(
            {name: [each.__name__ for each in node.upstreams] for name, node in by_name.items()},
            workflow=self.workflow_name,
        )
        return [by_name[name] for name in ordered]

    @property
    def spec(self) -> WorkflowSpec:
        """
        The frozen description that all outputs are made from.

        Raises
        ------
        ValueError
            As from `topological_sort`.
        """
        return WorkflowSpec(
            name=self.workflow_name,
            version=self.workflow_version,
            dag_id=self.dag_name,
            package=self.workflow_package,
            distribution=distribution_name(self.workflow_package),
            tags=tuple(self.dag_tags),
            category=self.category or str(self.process_category),
            operator=self.operator,
            nodes=tuple(node.spec for node in self.topological_sort()),
        )

    def load(self) -> "DAG":
        """
        Return the workflow as Airflow's own DAG, made by executing the text that `export_dag` writes.

        Raises
        ------
        MissingExtraError
            If Airflow is not installed.
        ValueError
            As from `topological_sort`.
        """
        from dkist_processing_core.rendering.dag import dag_file
        from dkist_processing_core.scheduling.loading import execute

        loaded: DAG = execute(dag_file(self.spec), self.dag_name)["dag"]
        return loaded

    def export_dag(self, path: str | Path | None = None) -> Path:
        """
        Write the DAG file that Airflow loads.

        Neither the version nor whether the classes can be imported is judged here; `build_utils` does that.

        Parameters
        ----------
        path
            The folder to write to, ``dags`` by default. It is made if it is not there.

        Returns
        -------
        Path
            The file, ``{dag_name}.py``.

        Raises
        ------
        ValueError
            As from `topological_sort`. Nothing is written then.
        OSError
            If the file cannot be written. What was there before is then untouched.
        """
        from dkist_processing_core.rendering.dag import dag_file

        text = dag_file(self.spec)
        folder = Path(path or "dags")
        folder.mkdir(parents=True, exist_ok=True)
        return atomic.write_text(folder / f"{self.dag_name}.py", text)

    def export(self, export_path: str | Path | None = None) -> Path:
        """Write the DAG file; the older spelling of `export_dag`, whose default folder is ``export``."""
        return self.export_dag(export_path or "export")

    def export_notebook(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """
        Write the Jupyter notebook in which a person runs the tasks one after another.

        Neither the version nor whether the classes can be imported is judged here; `build_utils` does that.

        Parameters
        ----------
        path
            The folder to write to, ``notebooks`` by default. It is made if it is not there.
        overwrite
            Whether a notebook that somebody has changed, by filling it in for instance, may be replaced.

        Returns
        -------
        Path
            The file, ``{dag_name}.ipynb``.

        Raises
        ------
        ValueError
            As from `topological_sort`. Nothing is written then.
        ChangedFileError
            If the file is there and not as it was exported. It is also an `OSError`.
        OSError
            If the file cannot be written. What was there before is then untouched.
        """
        from dkist_processing_core.export import overwrite as guard
        from dkist_processing_core.rendering.notebook import notebook

        file = Path(path or "notebooks") / f"{self.dag_name}.ipynb"
        guard.write(file.parent, {file.name: notebook(self.spec)}, overwrite=overwrite)
        return file

    def __repr__(self) -> str:
        return (
            f"Workflow({self.dag_name!r}, workflow_package={self.workflow_package!r}, "
            f"nodes=[{', '.join(node.name for node in self.nodes)}])"
        )


def _check_scheme(details: dict[str, Any], process: dict[str, Any], optional: dict[str, Any]) -> None:
    """
    Check that the arguments belong to one naming scheme and are complete.

    Raises
    ------
    NamingSchemeError
        If not.
    """

    def given(arguments: dict[str, Any]) -> list[str]:
        return [name for name, value in arguments.items() if value is not None]

    if given(process) and given(details | optional):
        raise NamingSchemeError(
            f"{', '.join(given(process))} and {', '.join(given(details | optional))} belong to different naming "
            f"schemes. {SCHEMES}."
        )
    scheme = process if given(process) else details
    missing = [name for name, value in scheme.items() if value is None]
    if missing:
        raise NamingSchemeError(f"a workflow without {', '.join(missing)} has no name. {SCHEMES}.")

"""
The class with which an author declares a workflow.

Runs in: author and CI. Airflow is needed only for `Workflow.load`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dkist_processing_core.authoring.constraints import read_constraints
from dkist_processing_core.authoring.graph import order
from dkist_processing_core.authoring.names import (
    check_name,
    check_naming_scheme,
    check_requires_python,
    check_workflow_name_length,
    dag_name,
    workflow_name_from_details,
)
from dkist_processing_core.authoring.spec import OPERATORS, WorkflowSpec
from dkist_processing_core.common.settings import build_version
from dkist_processing_core.exceptions import DuplicateTaskError, WorkflowError
from dkist_processing_core.node import Node, Upstreams, check_operator, distribution_name
from dkist_processing_core.resource_queue import ResourceQueue
from dkist_processing_core.task import TaskBase

if TYPE_CHECKING:
    from airflow.sdk import DAG

__all__ = ["Workflow", "dag_name", "workflow_name_from_details"]

MAXIMUM_TAG_LENGTH = 100  # length of the column in Airflow's database


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
        Purpose of the workflow, such as the name of an instrument.
    detail
        What distinguishes it from a similar workflow.
    tags
        Tags in Airflow's UI, in addition to the version and the parts of the name. Each has at most 100 characters.
    process_category, process_name
        The two parts of the name in the other scheme.
    workflow_package
        Dotted name of the package that declares the workflow, usually ``__package__``. The task environments install
        the distribution that provides it.
    workflow_version
        Version of the workflow, which is the version of the release that its tasks run from. The default is
        ``BUILD_VERSION``, or ``dev`` if that variable is not set.
    constraints
        A constraints file, which pins versions of other packages in the task environments, or a ``pylock.toml``
        (:pep:`751`), which lists every file to install with its hash. It applies to each node without constraints of
        its own. It is checked when the workflow is created, and read when a node is added. The usual way to pin
        versions is the extra ``frozen`` of the release.
    requires_python
        Python of the task environments, as a version specifier (:pep:`440`) such as ``>=3.12``. The default is the
        Python that runs Airflow on the worker, or the one that ``DKIST_PYTHON`` names.
    operator
        Airflow operator that runs the nodes: ``bash`` (the default), or ``python_virtualenv``, which is Airflow's own.
        :doc:`/explanation/operators` compares them.

    Attributes
    ----------
    nodes : list of Node
        The nodes in the order in which they were added.
    workflow_name : str
        Name of the workflow.
    dag_name : str
        Airflow's DAG id, ``{workflow_name}_{workflow_version}``.

    Raises
    ------
    TypeError
        If the two naming schemes are mixed, or a part of the name is missing.
    ValueError
        If the name has illegal characters or is too long, or another argument cannot be used.

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
        requires_python: str | None = None,
        operator: str = OPERATORS[0],
    ) -> None:
        details = {"input_data": input_data, "output_data": output_data, "category": category}
        process = {"process_category": process_category, "process_name": process_name}
        optional = {"detail": detail, "tags": tags}
        check_naming_scheme(details, process, optional)
        self.input_data = input_data
        self.output_data = output_data
        self.category = category
        self.detail = detail
        self.process_category = process_category
        self.process_name = process_name
        self._name_parts = [
            check_name(argument, value)
            for argument, value in (details | {"detail": detail or None} | process).items()
            if value is not None
        ]
        self.tags = [tags] if isinstance(tags, str) else list(tags or ())
        self.workflow_version = check_name("workflow version", workflow_version or build_version())
        if process_category is not None:
            self.workflow_name = check_workflow_name_length(f"{process_category}_{process_name}")
        else:
            self.workflow_name = workflow_name_from_details(str(input_data), str(output_data), str(category), detail)
        self.dag_name = dag_name(self.workflow_name, self.workflow_version)
        self.workflow_package = workflow_package
        self._check_package_and_tags()
        self.constraints = constraints
        read_constraints(constraints, workflow=self.workflow_name)
        self.requires_python = check_requires_python(requires_python, workflow=self.workflow_name)
        self.operator = check_operator(operator, workflow=self.workflow_name)
        self.nodes: list[Node] = []
        self._nodes_by_name: dict[str, Node] = {}

    def _check_package_and_tags(self) -> None:
        package = self.workflow_package
        if not isinstance(package, str) or not all(part.isidentifier() for part in package.split(".")):
            remedy = "Set it to the dotted name of the declaring package: workflow_package=__package__"
            raise WorkflowError(f"workflow_package is {package!r}", remedy=remedy, workflow=self.workflow_name)
        for tag in self.tags:
            if not isinstance(tag, str) or not 0 < len(tag) <= MAXIMUM_TAG_LENGTH:
                what = f"the tag {tag!r} is not a string of 1 to {MAXIMUM_TAG_LENGTH} characters"
                raise WorkflowError(what, remedy="Pass tags as a list of strings", workflow=self.workflow_name)

    @property
    def dag_tags(self) -> list[str]:
        """Tags in Airflow, sorted and without duplicates: the given tags, the version, and the parts of the name."""
        return sorted({*self.tags, self.workflow_version, *self._name_parts})

    def add_node(
        self,
        task: type[TaskBase],
        upstreams: Upstreams = None,
        resource_queue: ResourceQueue | str | None = None,
        pip_extras: Iterable[str] | str | None = None,
        constraints: str | Path | None = None,
    ) -> None:
        """
        Add a task to the workflow.

        Parameters
        ----------
        task
            The task class. Its name is Airflow's task id.
        upstreams
            The task classes that must succeed first: one, several, or None. They may be added to the workflow later.
        resource_queue
            Queue of the workers that run the task, a `ResourceQueue` or its value. The default is
            `ResourceQueue.DEFAULT`.
        pip_extras
            Extras of the package that the task needs, in addition to ``frozen``.
        constraints
            A constraints file or ``pylock.toml`` for this task, instead of the workflow's.

        Raises
        ------
        TypeError
            If the task or an upstream is not a subclass of `TaskBase`.
        ValueError
            If a task of that name is already in the workflow, or a setting of the task cannot be used.
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
            requires_python=self.requires_python,
        )
        if (other := self._node_named(node.name)) is not None:
            what = "it" if other.task is task else f"another task of that name, of {other.task.__module__},"
            raise DuplicateTaskError(
                f"the task {node.name!r} of {task.__module__} cannot be added: {what} is already in the workflow",
                remedy="Add each task once, and give different tasks different names",
                workflow=self.workflow_name,
                task=node.name,
            )
        self.nodes.append(node)
        self._nodes_by_name[node.name] = node

    def _node_named(self, name: str) -> Node | None:
        """Return the node with a name. The index spares `add_node` a search; it is rebuilt if ``nodes`` was changed."""
        if len(self._nodes_by_name) != len(self.nodes):
            self._nodes_by_name = {node.name: node for node in self.nodes}
        return self._nodes_by_name.get(name)

    def topological_sort(self) -> list[Node]:
        """
        Return the nodes in topological order: each after its upstreams, and otherwise by name.

        Raises
        ------
        ValueError
            If the workflow has no nodes, an upstream was never added, or the tasks depend on each other in a cycle.
        """
        by_name = {node.name: node for node in self.nodes}
        ordered = order(
            {name: [each.__name__ for each in node.upstreams] for name, node in by_name.items()},
            workflow=self.workflow_name,
        )
        return [by_name[name] for name in ordered]

    @property
    def spec(self) -> WorkflowSpec:
        """Frozen description of the workflow, from which all outputs are made; it raises as `topological_sort` does."""
        return WorkflowSpec(
            name=self.workflow_name,
            version=self.workflow_version,
            dag_id=self.dag_name,
            package=self.workflow_package,
            distribution=distribution_name(self.workflow_package),
            tags=tuple(self.dag_tags),
            category=self.category or self.process_category or "",
            operator=self.operator,
            requires_python=self.requires_python,
            nodes=tuple(node.spec for node in self.topological_sort()),
        )

    def load(self) -> "DAG":
        """
        Return the workflow as an Airflow DAG, made by executing the text that `export_dag` writes.

        Raises
        ------
        MissingExtraError
            If Airflow is not installed.
        ValueError
            As from `topological_sort`.
        """
        from dkist_processing_core.authoring.airflow import execute
        from dkist_processing_core.rendering.dag import dag_file

        loaded: DAG = execute(dag_file(self.spec), self.dag_name)["dag"]
        return loaded

    def export_dag(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """
        Write the DAG file that Airflow loads.

        It does not check the version, or whether a worker can import the task classes. `build_utils` does.

        Parameters
        ----------
        path
            The folder to write to, ``dags`` by default. It is created if it does not exist.
        overwrite
            Whether to replace a file of a released version, or one that no export wrote, if its content differs.

        Returns
        -------
        Path
            The file, ``{dag_name}.py``.

        Raises
        ------
        ValueError
            As from `topological_sort`, or if a task class is defined in ``__main__``.
        ReleasedFileError
            If the file of a released version exists with different content.
        ChangedFileError
            If a file exists that no export wrote.
        OSError
            If the file cannot be written. After any error, an existing file is unchanged.
        """
        from dkist_processing_core.export import bundle

        for node in self.nodes:
            if node.task.__module__ == "__main__":
                raise WorkflowError(
                    f"the class of {node.name} is defined in the program that is running, not in a module",
                    remedy="Define it in a module of the package, which a worker can import",
                    workflow=self.workflow_name,
                    task=node.name,
                )
        return bundle.write([self.spec], Path(path or "dags"), overwrite=overwrite, has_companions=False)[0]

    def export(self, export_path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Write the DAG file, by default to ``export``. This is the older name of `export_dag`."""
        return self.export_dag(export_path or "export", overwrite=overwrite)

    def export_notebook(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """
        Write the Jupyter notebook in which a person runs the tasks one after another.

        Parameters
        ----------
        path
            The folder to write to, ``notebooks`` by default. It is created if it does not exist.
        overwrite
            Whether to replace a notebook that was modified after export, or that no export wrote.

        Returns
        -------
        Path
            The file, ``{dag_name}.ipynb``.

        Raises
        ------
        ValueError
            As from `topological_sort`.
        ChangedFileError
            If the file was modified after export, or no export wrote it.
        OSError
            If the file cannot be written. After any error, an existing file is unchanged.
        """
        from dkist_processing_core.export import manual_processing

        return manual_processing.write_notebooks([self.spec], Path(path or "notebooks"), overwrite=overwrite)[0]

    def __repr__(self) -> str:
        return (
            f"Workflow({self.dag_name!r}, workflow_package={self.workflow_package!r}, "
            f"nodes=[{', '.join(node.name for node in self.nodes)}])"
        )

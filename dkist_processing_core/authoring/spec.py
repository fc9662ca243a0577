"""
The frozen, neutral description of a workflow that every output is made from.

Runs in: author and CI. People write a `Workflow`; checks, renderers and the local runner read a `WorkflowSpec` and
nothing else. It is plain data: ordered, comparable, serialisable, and independent of the order of `add_node` calls.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["OPERATORS", "NodeSpec", "WorkflowSpec"]

OPERATORS = ("bash", "python_virtualenv")


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """
    One task in a workflow.

    Attributes
    ----------
    name
        Name of the task class, which is Airflow's task id.
    task
        Where the class is, as ``module:Class``.
    upstreams
        Names of the tasks that must have succeeded before, sorted.
    queue, pool
        Airflow queue and pool.
    extras
        Extras of the distribution that the task environment is built with, ``frozen`` first.
    constraints
        Constraints on what else is installed with it, one requirement (:pep:`508`) a line; empty for none.
    retries
        How often Airflow tries again after a failure.
    retry_delay_seconds
        Time between two tries, in seconds.
    doc
        The docstring of the task class.
    """

    name: str
    task: str
    upstreams: tuple[str, ...]
    queue: str
    pool: str
    extras: tuple[str, ...]
    constraints: str = ""
    retries: int
    retry_delay_seconds: float
    doc: str


@dataclass(frozen=True, kw_only=True)
class WorkflowSpec:
    """
    One version of one workflow.

    Attributes
    ----------
    name, version
        Name and version of the workflow; the version is that of the release that its tasks run from.
    dag_id
        Airflow's dag id, ``{name}_{version}``.
    package
        Dotted name of the Python package that declares the workflow.
    distribution
        Name of the distribution that provides that package, which the task environments install.
    category
        What the workflow is for, such as the name of an instrument: its ``category`` or ``process_category``.
    tags
        Airflow's tags, sorted.
    category
        What the workflow is for, such as the name of an instrument.
    operator
        Name of the Airflow operator that runs the nodes, see `OPERATORS`.
    nodes
        The nodes, each after all of its upstreams, and by name where that leaves a choice.
    """

    name: str
    version: str
    dag_id: str
    package: str
    distribution: str
    tags: tuple[str, ...]
    category: str = ""
    operator: str = "bash"
    nodes: tuple[NodeSpec, ...]

    def requirement(self, node: NodeSpec) -> str:
        """Return the requirement (:pep:`508`) that the environment of a node is built from."""
        return f"{self.distribution}[{','.join(node.extras)}]=={self.version}"

    @property
    def extras(self) -> tuple[str, ...]:
        """The extras of all nodes, for an environment that they share: ``frozen`` first, the others by name."""
        return tuple(
            sorted({each for node in self.nodes for each in node.extras}, key=lambda each: (each != "frozen", each))
        )

    def edges(self) -> Iterator[tuple[str, str]]:
        """Yield each pair of an upstream's and a task's name, in the order of the nodes."""
        for node in self.nodes:
            for upstream in node.upstreams:
                yield upstream, node.name

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain data that `json.dumps` takes."""
        return asdict(self)

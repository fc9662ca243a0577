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
    """One task in a workflow."""

    name: str  # of the task class; Airflow's task id
    task: str  # import path of the class, as module:Class
    upstreams: tuple[str, ...]  # names of the tasks that must have succeeded before, sorted
    queue: str
    pool: str
    extras: tuple[str, ...]  # of the distribution, "frozen" first
    constraints: str = ""  # on what else is installed, one requirement (PEP 508) per line
    retries: int  # how often Airflow tries again after a failure
    retry_delay_seconds: float
    doc: str  # docstring of the class


@dataclass(frozen=True, kw_only=True)
class WorkflowSpec:
    """One version of one workflow."""

    name: str
    version: str  # of the release that its tasks run from
    dag_id: str
    package: str  # dotted name of the package that declares the workflow
    distribution: str  # provides that package; what the task environments install
    tags: tuple[str, ...]  # sorted
    category: str = ""  # what the workflow is for, such as the name of an instrument
    operator: str = "bash"  # one of OPERATORS
    requires_python: str = ""  # version specifier (PEP 440) of the Python of its environments
    nodes: tuple[NodeSpec, ...]  # each after all of its upstreams, and by name where that leaves a choice

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

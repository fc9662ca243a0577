"""
The frozen, neutral description of a workflow that every output is made from.

Runs in: author and CI. People write a `Workflow`; the checks, the DAG file, the notebook, the diagram and the local
runner read a `WorkflowSpec` and nothing else. It is plain data: ordered, comparable, serialisable, and the same
whatever the order in which the nodes were added.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from heapq import heapify, heappop, heappush
from typing import Any

from dkist_processing_core.exceptions import (
    CycleError,
    EmptyWorkflowError,
    UnknownUpstreamError,
    WorkflowError,
)

__all__ = ["OPERATORS", "NodeSpec", "WorkflowSpec", "graph_errors", "order"]

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
    tags
        Airflow's tags, sorted.
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


def order(upstreams: Mapping[str, Iterable[str]], *, workflow: str) -> list[str]:
    """
    Order names such that each comes after its upstreams, and by name where that leaves a choice.

    The result depends on nothing but the graph, so the same workflow gives the same file whatever the order in which
    its nodes were added.

    Parameters
    ----------
    upstreams
        The upstreams of each name.
    workflow
        Name of the workflow, for the errors.

    Raises
    ------
    WorkflowError
        The first of `graph_errors`, if there is one.
    """
    for error in graph_errors(upstreams, workflow=workflow):
        raise error
    return _sorted_as_far_as_possible({name: set(its) for name, its in upstreams.items()})


def graph_errors(upstreams: Mapping[str, Iterable[str]], *, workflow: str) -> list[WorkflowError]:
    """
    Find everything that keeps names from being ordered.

    Parameters
    ----------
    upstreams
        The upstreams of each name.
    workflow
        Name of the workflow, for the errors.

    Returns
    -------
    list of WorkflowError
        An `EmptyWorkflowError` if there is nothing to order; an `UnknownUpstreamError` for each upstream that is not
        itself one of the names; a `CycleError` for each circle, circles that share a name counting as one.
    """
    if not upstreams:
        return [EmptyWorkflowError("it has no nodes", remedy="Add at least one with add_node(...)", workflow=workflow)]
    errors: list[WorkflowError] = [
        UnknownUpstreamError(workflow=workflow, task=name, upstream=upstream, known=set(upstreams) - {name})
        for name in sorted(upstreams)
        for upstream in sorted(set(upstreams[name]) - set(upstreams))
    ]
    waits_for = {name: set(its) & set(upstreams) for name, its in upstreams.items()}
    while stuck := set(waits_for) - set(_sorted_as_far_as_possible(waits_for)):
        circle = _circle(waits_for, stuck)
        errors.append(CycleError(workflow=workflow, path=[*circle, circle[0]]))
        waits_for = {name: its - set(circle) for name, its in waits_for.items() if name not in circle}
    return errors


def _sorted_as_far_as_possible(upstreams: Mapping[str, set[str]]) -> list[str]:
    """Order the names that are in no circle and wait for none that is (Kahn's algorithm, with a heap for the ties)."""
    waits_for = {name: set(its) for name, its in upstreams.items()}
    unlocks: dict[str, list[str]] = {name: [] for name in waits_for}
    for name, its in waits_for.items():
        for upstream in its:
            unlocks[upstream].append(name)
    ready = [name for name, its in waits_for.items() if not its]
    heapify(ready)
    ordered = []
    while ready:
        name = heappop(ready)
        ordered.append(name)
        for unlocked in unlocks[name]:
            waits_for[unlocked].discard(name)
            if not waits_for[unlocked]:
                heappush(ready, unlocked)
    return ordered


def _circle(waits_for: Mapping[str, set[str]], stuck: set[str]) -> list[str]:
    """Find one circle among the names that never became ready, in the order in which they would run."""
    trail = [min(stuck)]
    while True:
        # Every stuck name waits for a stuck one, so walking upstream must come back to a name already met.
        upstream = min(waits_for[trail[-1]] & stuck)
        if upstream in trail:
            circle = trail[trail.index(upstream) :][::-1]
            start = circle.index(min(circle))
            return circle[start:] + circle[:start]
        trail.append(upstream)

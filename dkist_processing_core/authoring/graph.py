"""
The topological order of the tasks of a workflow, and the errors that prevent one.

Runs in: author and CI.
"""

import graphlib
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from dkist_processing_core.exceptions import CycleError, EmptyWorkflowError, UnknownUpstreamError, WorkflowError

__all__ = ["graph_errors", "order"]


def order(upstreams: Mapping[str, Iterable[str]], *, workflow: str) -> list[str]:
    """
    Order names such that each comes after its upstreams, and by name where that leaves a choice.

    The result depends only on the graph, not on the order of insertion. The first of the `graph_errors` is raised.
    """
    for error in graph_errors(upstreams, workflow=workflow):
        raise error
    sorter = graphlib.TopologicalSorter(upstreams)
    sorter.prepare()
    ready: list[str] = []
    ordered = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, name)
        ordered.append(heappop(ready))
        sorter.done(ordered[-1])
    return ordered


def graph_errors(upstreams: Mapping[str, Iterable[str]], *, workflow: str) -> list[WorkflowError]:
    """
    Find all errors that prevent names, given with their upstreams, from being ordered.

    That is an `EmptyWorkflowError` if there are no names, an `UnknownUpstreamError` for each upstream that is not one
    of the names, and a `CycleError` for each cycle, where cycles that share a name count as one.
    """
    if not upstreams:
        return [EmptyWorkflowError("it has no nodes", remedy="Add at least one with add_node(...)", workflow=workflow)]
    # Sorted, so that the cycle that is found does not depend on the order of insertion.
    graph = {name: sorted(set(upstreams[name])) for name in sorted(upstreams)}
    errors: list[WorkflowError] = [
        UnknownUpstreamError(workflow=workflow, task=name, upstream=upstream, known=set(upstreams) - {name})
        for name, its in graph.items()
        for upstream in its
        if upstream not in upstreams
    ]
    while cycle := _find_cycle(graph):
        first = cycle.index(min(cycle))
        cycle = [*cycle[first:], *cycle[:first]]
        errors.append(CycleError(workflow=workflow, path=[*cycle, cycle[0]]))
        found = set(cycle)
        graph = {name: [each for each in its if each not in found] for name, its in graph.items() if name not in found}
    return errors


def _find_cycle(upstreams: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names of one cycle in the order in which they would run, or an empty list."""
    try:
        graphlib.TopologicalSorter(upstreams).prepare()
    except graphlib.CycleError as error:
        path: list[str] = error.args[1]
        return path[:-1]
    return []

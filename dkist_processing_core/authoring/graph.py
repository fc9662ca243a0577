"""
The order of the tasks of a workflow, and what keeps them from having one.

Runs in: author and CI.
"""

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from dkist_processing_core.exceptions import CycleError, EmptyWorkflowError, UnknownUpstreamError, WorkflowError

__all__ = ["graph_errors", "order"]


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

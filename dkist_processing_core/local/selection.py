"""
Select the tasks of a workflow to run.

Runs in: author and CI.
"""

from collections.abc import Iterable

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.exceptions import SelectionError, did_you_mean

__all__ = ["selected"]


def selected(
    workflow: WorkflowSpec,
    *,
    start: Iterable[str] = (),
    until: Iterable[str] = (),
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
) -> list[str]:
    """
    Return the names of the tasks to run, in their order.

    Parameters
    ----------
    workflow
        The workflow.
    start
        Tasks to run together with all that depend on them; by default no restriction.
    until
        Tasks to run together with all that they depend on; by default no restriction.
    only
        The tasks to run; by default all.
    skip
        Tasks not to run.

    Raises
    ------
    SelectionError
        If a name is not that of a task, or no task is left.
    """
    names = [node.name for node in workflow.nodes]
    start, until, only, skip = map(tuple, (start, until, only, skip))
    for name in (*start, *until, *only, *skip):
        if name not in names:
            raise SelectionError(f"there is no task {name!r} in {workflow.name}{did_you_mean(name, names)}")
    upstreams = {node.name: set(node.upstreams) for node in workflow.nodes}
    behind, before = set(start), set(until)
    for name in names:
        if upstreams[name] & behind:
            behind.add(name)
    for name in reversed(names):
        if name in before:
            before |= upstreams[name]
    chosen = [
        name
        for name in names
        if (not start or name in behind)
        and (not until or name in before)
        and (not only or name in only)
        and name not in skip
    ]
    if not chosen:
        raise SelectionError(f"no task of {workflow.name} is left to run")
    return chosen

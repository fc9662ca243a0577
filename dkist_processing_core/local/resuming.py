"""
Resume a local run, unless tasks that have succeeded in it have changed in the workflow.

Runs in: author and CI.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.exceptions import ResumeError
from dkist_processing_core.local import runs
from dkist_processing_core.local.scheduler import remaining
from dkist_processing_core.local.state import SUCCESS, RunState

__all__ = ["remaining_tasks", "resumed", "selection_of"]

# After a runner was killed, the forkserver still holds the journal until it has ended the tasks.
RESUME_PATIENCE_SECONDS = 20.0


def resumed(spec: WorkflowSpec, number: int, stack: ExitStack, *, allow_changes: bool) -> tuple[runs.Journal, RunState]:
    """Return the journal and the state of the last run, or raise a `ResumeError` if it cannot be resumed."""
    folder = runs.latest(spec.name, number)
    if folder is None:
        raise ResumeError(
            f"there is no run of {spec.name} for recipe run {number} in {runs.runs_folder()}",
            remedy="Run it without --resume",
        )
    journal = stack.enter_context(closing(runs.Journal(folder, patience=RESUME_PATIENCE_SECONDS)))
    before = runs.state(folder)
    nodes = {node.name: node for node in spec.nodes}
    done = [name for name, task in before.current.items() if task.state == SUCCESS]
    changes = [f"{name} {what}" for name in done if (what := _change(before.nodes[name], nodes.get(name)))]
    if done and (version := before.started["workflow"]["version"]) != spec.version:
        changes.insert(0, f"the version of the workflow was {version} and is now {spec.version}")
    if changes and not allow_changes:
        listed = "".join(f"\n    {each}" for each in changes)
        raise ResumeError(
            f"the run {folder.name} cannot be resumed, because tasks that have succeeded in it have changed:{listed}",
            remedy="Start a new run, or use --allow-changes to keep the results of these tasks",
        )
    return journal, before


def selection_of(before: RunState, names: Sequence[str]) -> list[str]:
    """Return those of the present tasks of the workflow that were chosen for a run."""
    chosen = before.started["selection"]
    return [name for name in names if chosen is None or name in chosen]


def remaining_tasks(spec: WorkflowSpec, number: int, chosen: Sequence[str] | None) -> list[str]:
    """Return the tasks that would run if the last run was resumed. ``chosen`` is None for those chosen before."""
    folder = runs.latest(spec.name, number)
    before = runs.state(folder) if folder else RunState()
    names = [node.name for node in spec.nodes]
    if chosen is None:
        chosen = selection_of(before, names) if before.started else names
    return remaining(spec, chosen, before)


def _change(old: Mapping[str, Any], node: NodeSpec | None) -> str:
    """Return how the class or the upstreams of a task have changed; empty if they have not."""
    if node is None:
        return "is no longer in the workflow"
    if old["task"] != node.task:
        return f"was {old['task']} and is now {node.task}"
    if tuple(old["upstreams"]) != node.upstreams:
        return (
            f"had the upstreams {', '.join(old['upstreams']) or 'none'} and now has "
            f"{', '.join(node.upstreams) or 'none'}"
        )
    return ""

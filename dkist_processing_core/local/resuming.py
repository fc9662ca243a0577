"""
Take up a local run again, if what was done in it is still what the workflow says.

Runs in: author and CI.
"""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.exceptions import ResumeError
from dkist_processing_core.local import runs
from dkist_processing_core.local.state import SUCCESS, RunState

__all__ = ["resumed"]

# A killed runner leaves the process whose children the tasks are, which ends them first.
RESUME_PATIENCE_SECONDS = 20.0


def resumed(spec: WorkflowSpec, number: int, stack: ExitStack, *, allow_changes: bool) -> tuple[runs.Journal, RunState]:
    """Return the journal of the last run, and its state, if it can be resumed."""
    folder = runs.latest(spec.name, number)
    if folder is None:
        raise ResumeError(
            f"there is no run of {spec.name} for recipe run {number} in {runs.runs_folder()}",
            remedy="Run it without --resume",
        )
    journal = stack.enter_context(closing(runs.Journal(folder, patience=RESUME_PATIENCE_SECONDS)))
    before = runs.state(folder)
    nodes = {node.name: node for node in spec.nodes}
    # A run that was killed at its very beginning has nothing to say yet.
    old = {each["name"]: each for each in before.started["workflow"]["nodes"]} if before.started else {}
    changes = [
        f"{name} {what}"
        for name, task in before.tasks.items()
        if task.state == SUCCESS and (what := _change(old[name], nodes.get(name)))
    ]
    if changes and not allow_changes:
        listed = "".join(f"\n    {each}" for each in changes)
        raise ResumeError(
            f"the run {folder.name} cannot be resumed, since what has succeeded in it has changed:{listed}",
            remedy="Run it anew, or use --allow-changes to keep what has succeeded nevertheless",
        )
    return journal, before


def _change(old: Mapping[str, Any], node: NodeSpec | None) -> str:
    """Return what has changed in a task that has succeeded, as to what it does and what it needs; empty if nothing."""
    if node is None:
        return "is no longer in the workflow"
    if old["task"] != node.task:
        return f"was {old['task']} and is {node.task}"
    if tuple(old["upstreams"]) != node.upstreams:
        return (
            f"had the upstreams {', '.join(old['upstreams']) or 'none'} and has {', '.join(node.upstreams) or 'none'}"
        )
    return ""

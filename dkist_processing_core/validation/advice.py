"""
Advice on what is legal in a workflow but probably not intended.

Runs in: author and CI.
"""

import os
from collections.abc import Iterable, Iterator

from dkist_processing_core.node import Node
from dkist_processing_core.resource_queue import ResourceQueue
from dkist_processing_core.validation.discovery import Declaration
from dkist_processing_core.validation.report import Fault

__all__ = ["advice", "missing_pools"]


def advice(declaration: Declaration) -> Iterator[Fault]:
    """Yield each advice on the tasks of a workflow once, with the names of all tasks that it concerns."""
    nodes = sorted(declaration.workflow.nodes, key=lambda node: node.name)
    connected = {name for node in nodes for pair in node.dependencies for name in pair}
    for tasks, what, remedy in (
        (
            [node.name for node in nodes if len(nodes) > 1 and node.name not in connected],
            "not connected to any other task of the workflow",
            "Give them upstreams, or make them upstreams of other tasks, unless they are meant to run by themselves",
        ),
        (
            [node.name for node in nodes if not _docstring(node)],
            "without a docstring, so Airflow's pages do not describe them",
            "Write one line that says what each task does",
        ),
        (
            [node.name for node in nodes if node.task.retries > 0 and node.task.retry_delay_seconds == 0],
            "retried without a delay, so the cause of the failure will probably still exist",
            "Set retry_delay_seconds to a time in which a service can recover",
        ),
    ):
        if tasks:
            count = "1 task is" if len(tasks) == 1 else f"{len(tasks)} tasks are"
            yield declaration.fault(
                f"{count} {what}: {', '.join(tasks)}", remedy=remedy, task=tasks[0] if len(tasks) == 1 else None
            )


def _docstring(node: Node) -> str:
    """Return the docstring of the class itself; an inherited one describes another task."""
    return (node.task.__dict__.get("__doc__") or "").strip()


def missing_pools(declarations: Iterable[Declaration], *, known: Iterable[str] = ()) -> Iterator[Fault]:
    """Yield an advice for each pool that may not exist in Airflow, for the first task that needs it."""
    seen = {ResourceQueue.DEFAULT.pool, *known, *os.environ.get("DKIST_EXPECTED_POOLS", "").split()}
    for declaration in declarations:
        for node in declaration.workflow.nodes:
            if node.pool not in seen:
                seen.add(node.pool)
                yield declaration.fault(
                    f"the pool {node.pool!r} must exist in Airflow; without it the task stays in the state scheduled",
                    remedy="Create it once: airflow pools import pools.json (an export writes this file)",
                    task=node.name,
                )

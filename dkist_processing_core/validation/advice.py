"""
What is legal in a workflow and probably not meant.

Runs in: author and CI.
"""

from collections.abc import Iterable, Iterator

from dkist_processing_core.node import Node
from dkist_processing_core.validation.discovery import Declaration
from dkist_processing_core.validation.report import Fault

__all__ = ["missing_pools", "traps"]

DEFAULT_POOL = "default_pool"


def traps(declaration: Declaration) -> Iterator[Fault]:
    """Yield what a workflow's author should look at."""
    nodes = declaration.workflow.nodes
    connected = {name for node in nodes for pair in node.dependencies for name in pair}
    for node in nodes:
        for what, remedy in _of_node(node, is_alone=len(nodes) > 1 and node.name not in connected):
            yield Fault(
                where=declaration.where,
                workflow=declaration.workflow.workflow_name,
                task=node.name,
                what=what,
                remedy=remedy,
            )


def _of_node(node: Node, *, is_alone: bool) -> Iterator[tuple[str, str]]:
    if is_alone:
        yield (
            "nothing connects it to the other tasks of the workflow",
            "Give it upstreams, or name it as an upstream of another task, unless it is meant to run by itself",
        )
    if not (node.task.__dict__.get("__doc__") or "").strip():
        yield (
            "its class has no docstring, so Airflow's pages say nothing about it",
            "Write one line that says what the task does",
        )
    if node.task.retries > 0 and node.task.retry_delay_seconds == 0:
        yield (
            f"it is tried again {node.task.retries} time(s) without a delay, while what made it fail lasts",
            "Set retry_delay_seconds to a time in which a service may come back",
        )


def missing_pools(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield each pool that Airflow does not have by itself, at the first task that needs it."""
    seen = {DEFAULT_POOL}
    for declaration in declarations:
        for node in declaration.workflow.nodes:
            if node.pool not in seen:
                seen.add(node.pool)
                yield Fault(
                    where=declaration.where,
                    workflow=declaration.workflow.workflow_name,
                    task=node.name,
                    what=f"the pool {node.pool!r} must be there in Airflow; without it the task waits for ever",
                    remedy="Make it once: airflow pools import pools.json, which an export writes",
                )

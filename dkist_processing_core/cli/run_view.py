"""
Show the progress of a run, on a terminal or in a pipe.

Runs in: author and CI.
"""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.cli.tables import plain, say, table
from dkist_processing_core.common.quantities import seconds, size
from dkist_processing_core.common.redaction import redact_urls

if TYPE_CHECKING:
    from rich.table import Table

    from dkist_processing_core.local import RunResult, TaskState

__all__ = ["LiveView", "PlainView", "show_plan", "show_result"]

LAST_LINES = 10
TAIL_BYTES = 4096
REFRESHES_A_SECOND = 4
MOMENT = re.compile(r"^\d{4}-\S+ \S+ ")  # before each record of a log
STYLES = {
    "running": "cyan",
    "success": "green",
    "failed": "bold red",
    "up_for_retry": "yellow",
    "upstream_failed": "dim red",
    "interrupted": "yellow",
}


def show_plan(spec: WorkflowSpec, tasks: Sequence[str]) -> None:
    """Show what would run."""
    nodes = {node.name: node for node in spec.nodes}
    rows = [
        (name, ", ".join(nodes[name].upstreams) or "-", nodes[name].queue, str(nodes[name].retries)) for name in tasks
    ]
    say(f"{spec.name} {spec.version}: {len(tasks)} of {len(spec.nodes)} tasks")
    table(("task", "upstreams", "queue", "retries"), rows)


def show_result(result: "RunResult") -> None:
    """Show how a run has ended: the errors of its tasks, where their logs are, and what to do next."""
    for task in result.tasks.values():
        if task.state != "failed" or result.is_success:  # it was skipped when the run was resumed
            continue
        last = task.tries[-1]
        log = result.folder / last.log
        say(plain(f"\nError: {task.name} failed with exit status {last.exit_status}: {last.summary}"))
        text = last.error if last.error and "\n" in last.error else tail(log, LAST_LINES)
        for line in plain(text).split("\n"):
            click.echo(f"    {line}")
        if log.exists():  # not if it ran in this process
            click.echo(f"    log: {log}")
    counts: dict[str, int] = {}
    for task in result.tasks.values():
        counts[task.state or "not run"] = counts.get(task.state or "not run", 0) + 1
    left_out = [task.name for task in result.tasks.values() if task.state != "success"] if result.is_success else []
    outcome = "success of the selected tasks only" if left_out else result.state
    say(f"\n{outcome}: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    if left_out:
        say(f"The workflow is not complete. Tasks that were left out: {', '.join(left_out)}")
    click.echo(f"run {result.folder.name} in {result.folder}")
    if result.report:
        click.echo(f"report: {result.report.as_uri()}")
    if not result.is_success:
        click.echo("Use --resume to continue with the tasks that have not succeeded.")


def tail(file: Path, lines: int) -> str:
    """Return the last lines of a log; empty if there is none."""
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(0, 2)
        opened.seek(max(0, opened.tell() - TAIL_BYTES * lines))
        text = opened.read().decode(errors="replace").rstrip("\n")
        return redact_urls("\n".join(text.split("\n")[-lines:]))
    return ""


class PlainView:
    """One line for each event."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self._spec = spec

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show an event."""
        moment = event["time"][11:19]
        kind = event["event"]
        if kind == "run_started":
            how = "resumed" if event["is_resumed"] else "started"
            text = f"{self._spec.name} {self._spec.version}, recipe run {event['recipe_run_id']}, {how}"
            if not event["tasks"]:
                text += "; all its tasks have already succeeded"
        elif kind == "task_started":
            text = f"{event['task']} started" + (f", try {event['try']}" if event["try"] > 1 else "")
        elif kind == "task_ended":
            text = f"{event['task']} {event['state']} after {seconds(event['seconds'])}"
            if event.get("summary"):
                text += f": {event['summary']}"
            if "retry_in_seconds" in event:
                text += f"; next try in {seconds(event['retry_in_seconds'])}"
        elif kind == "task_skipped":
            text = f"{event['task']} {event['state']}, since {event['upstream']} failed"
        else:
            text = f"{event['state']} after {seconds(event['seconds'])}"
        click.echo(plain(f"{moment} {text}"))


class LiveView:
    """A table of the tasks that is redrawn while they run."""

    def __init__(self, spec: WorkflowSpec) -> None:
        from rich.console import Console
        from rich.live import Live

        from dkist_processing_core.local.runs import runs_folder
        from dkist_processing_core.local.state import RunState

        self._spec = spec
        self._state = RunState()
        self._began: dict[str, float] = {}
        self._runs = runs_folder()
        self._console = Console(highlight=False)
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=REFRESHES_A_SECOND)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the table in its last state."""
        self._live.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show an event."""
        self._state.apply(event)
        if event["event"] == "task_started":
            self._began[event["task"]] = time.monotonic()

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
        for name in ("task", "state", "try", "elapsed", "memory"):
            shown.add_column(name, no_wrap=True)
        shown.add_column("last line", no_wrap=True, overflow="ellipsis", ratio=1)
        tasks = list(self._state.tasks.values())
        room = max(5, self._console.height - 4)
        if len(tasks) > room:
            tasks = self._most_telling(tasks, room)
        for task in tasks:
            last = task.tries[-1] if task.tries else None
            elapsed = last.seconds if last else None
            line = last.summary or "" if last else ""
            if last and task.state == "running":
                elapsed = time.monotonic() - self._began[task.name]
                line = MOMENT.sub("", tail(self._runs / self._state.started["run_id"] / last.log, 1))
            shown.add_row(
                task.name,
                Text(task.state or "-", style=STYLES.get(task.state, "dim")),
                str(last.number) if last else "",
                seconds(elapsed) if elapsed is not None else "",
                size(last.peak_memory_bytes) if last and last.peak_memory_bytes else "",
                Text(plain(line)),
            )
        return shown

    def _most_telling(self, tasks: "list[TaskState]", room: int) -> "list[TaskState]":
        """Return the tasks that fit: running and failed ones first, then interrupted and succeeded ones."""
        order = {"running": 0, "failed": 1, "up_for_retry": 1, "interrupted": 2, "success": 3}
        ranked = sorted(enumerate(tasks), key=lambda each: (order.get(each[1].state, 4), -each[0]))
        return [task for _, task in sorted(ranked[:room], key=lambda each: each[0])]

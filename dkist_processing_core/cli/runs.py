"""
``dkist-processing-core runs``: list, show, report and remove local runs.

Runs in: author and CI.
"""

import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import age, named, say, table
from dkist_processing_core.common.quantities import seconds, size
from dkist_processing_core.exceptions import did_you_mean

__all__ = ["runs"]


@click.group()
def runs() -> None:
    """List, show, report and remove the runs on this machine."""


def _chosen(beginning: str, *, takes_latest: bool = False) -> Path:
    """Return the only run whose name begins so; if wanted, the latest of several, whose name is then printed."""
    from dkist_processing_core.local.runs import folders

    found = folders()
    # A number must match as a whole: "flow-1" does not match a run of the recipe run 11.
    end = r"(?!\d)" if beginning[-1:].isdigit() else ""
    matches = [each for each in found if beginning and re.match(re.escape(beginning) + end, each.name)]
    if takes_latest and len(matches) > 1:  # the latest is the first
        click.echo(f"{len(matches)} runs begin with {beginning!r}; this is the latest, {matches[0].name}.", err=True)
    elif len(matches) != 1:
        names = [each.name for each in matches or found]
        what = f"no run{did_you_mean(beginning, names)} begins with {beginning!r}"
        if matches:
            what = f"{len(matches)} runs begin with {beginning!r}: {', '.join(names)}"
        raise click.UsageError(f'{what}. See "dkist-processing-core runs list".')
    return matches[0]


def _as_data(folder: Path) -> dict[str, Any]:
    from dkist_processing_core.exceptions import DamagedRunError
    from dkist_processing_core.local.runs import state
    from dkist_processing_core.local.state import RunState

    try:
        run = state(folder)
    except DamagedRunError:
        run = RunState(state="damaged")
    workflow, recipe_run_id, *_ = folder.name.rsplit("-", 3)
    return {
        "run": folder.name,
        "workflow": workflow,
        "version": run.started["workflow"]["version"] if run.started else None,
        "recipe_run_id": int(recipe_run_id),
        "state": run.state or "interrupted",
        "started": run.started["time"] if run.started else None,
        "seconds": run.seconds,
        "tasks": {task.name: task.state for task in run.current.values()},
        "folder": str(folder),
    }


@runs.command("list", short_help="List the runs, the latest first.")
@json_option
def list_runs(is_json: bool) -> None:
    """List the runs that are kept, the latest first."""
    from dkist_processing_core.local.runs import folders, runs_folder

    data = [_as_data(each) for each in folders()]
    if is_json:
        click.echo(json.dumps(data, indent=2))
    elif not data:
        click.echo(f"There are no runs in {named(runs_folder())}.")
    else:
        rows = [
            (
                each["run"],
                each["state"],
                f"{sum(state == 'success' for state in each['tasks'].values())}/{len(each['tasks'])}",
                age(datetime.fromisoformat(each["started"])) if each["started"] else "",
            )
            for each in data
        ]
        table(("run", "state", "succeeded", "started"), rows)


@runs.command(short_help="Show the tasks of a run.")
@click.argument("run", metavar="RUN")
@json_option
def show(run: str, is_json: bool) -> None:
    """Show the tasks of one run. The beginning of its name is enough; the latest of several runs is shown."""
    from dataclasses import asdict

    from dkist_processing_core.local.runs import state

    folder = _chosen(run, takes_latest=True)
    found = state(folder)
    if is_json:
        click.echo(json.dumps({**_as_data(folder), "tasks": [asdict(each) for each in found.tasks.values()]}, indent=2))
        return
    say(f"{folder.name}: {found.state}, in {folder}")
    rows = [
        (
            task.name,
            task.state or "-",
            str(len(task.tries)),
            seconds(task.tries[-1].seconds) if task.tries and task.tries[-1].seconds is not None else "",
            size(task.tries[-1].peak_memory_bytes) if task.tries and task.tries[-1].peak_memory_bytes else "",
            (task.tries[-1].summary or "") if task.tries else "",
        )
        for task in found.tasks.values()
    ]
    table(("task", "state", "tries", "time", "memory", "error"), rows)


@runs.command(short_help="Write the report of a run, or its figures.")
@click.argument("run", metavar="RUN")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "csv", "json"]),
    default="html",
    show_default=True,
    help="A page, or the figures of each try.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write; - for standard output, which is the default for csv and json. [html: report.html of the run]",
)
def report(run: str, form: str, output: Path | None) -> None:
    """
    Write the report of a run: one page, which needs no server and no network.

    The beginning of its name is enough; of several runs, the latest is taken.

    Each run writes it at its end, so this is for a run that was killed or is still active. As csv and json it has one
    row for each try: task, try, state, started, seconds, cpu_seconds, peak_memory_bytes, exit_status.
    """
    from dkist_processing_core.local.report import REPORT, render, write

    folder = _chosen(run, takes_latest=True)
    target = output or (folder / REPORT if form == "html" else Path("-"))
    if target == Path("-"):
        click.echo(render(folder, form), nl=False)
    else:
        click.echo(f"wrote: {write(folder, target.absolute(), form)}")


@runs.command(short_help="Remove runs.")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """
    Remove runs, with their journals and logs.

    The beginning of a name is enough if no other name begins with it. A run that is active is not removed.
    """
    from dkist_processing_core.local.runs import Journal

    for folder in dict.fromkeys(_chosen(each) for each in names):
        Journal(folder).close()
        shutil.rmtree(folder)
        click.echo(f"removed: {folder.name}")

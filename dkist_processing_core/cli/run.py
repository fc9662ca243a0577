"""
``dkist-processing-core run``: run a workflow on this machine, without Airflow.

Runs in: author and CI.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from dkist_processing_core.cli.options import json_option, workflow_argument
from dkist_processing_core.cli.packages import chosen_workflow
from dkist_processing_core.cli.run_view import LiveView, PlainView, show_plan, show_result
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION

__all__ = ["run"]

INTERRUPTED_STATUS = 130  # 128 and the number of SIGINT


def _limits(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    limits = {}
    for value in values:
        queue, _, number = value.partition("=")
        if not queue or not number.isdecimal() or not int(number):
            raise click.BadParameter(f"{value!r} must read QUEUE=N, such as high_memory=1.")
        limits[queue] = int(number)
    return limits


@click.command(short_help="Run a workflow on this machine, without Airflow.")
@workflow_argument
@click.option(
    "--recipe-run-id", type=click.IntRange(min=1), required=True, metavar="N", help="The recipe run to process."
)
@click.option("--from", "start", multiple=True, metavar="TASK", help="Run this task and all that depends on it.")
@click.option("--until", multiple=True, metavar="TASK", help="Run this task and all that it depends on.")
@click.option("--only", multiple=True, metavar="TASK", help="Run this task alone.")
@click.option("--skip", multiple=True, metavar="TASK", help="Do not run this task, as if it had succeeded.")
@click.option("--resume", is_flag=True, help="Continue the last run with the tasks that have not succeeded.")
@click.option("--allow-changes", is_flag=True, help="Resume even if tasks that have succeeded have changed.")
@click.option(
    "--parallel", type=click.IntRange(min=1), metavar="N", help="Run N tasks at once; by default one per processor."
)
@click.option(
    "--limit",
    "queue_limits",
    multiple=True,
    callback=_limits,
    metavar="QUEUE=N",
    help="Run N tasks of a queue at once.",
)
@click.option("--fail-fast", is_flag=True, help="Start no more tasks once one has failed.")
@click.option(
    "--environments", is_flag=True, help="Run tasks as a worker does, in cached environments of their release."
)
@click.option("--in-process", is_flag=True, help="Run tasks in this process, one after the other, for a debugger.")
@click.option("--pdb", "debug", is_flag=True, help="Start pdb where a task fails; implies --in-process.")
@click.option(
    "--bus",
    "with_bus",
    is_flag=True,
    help="Publish failures on the interservice bus, and logs if DKIST_ISB_LOGGING is set.",
)
@click.option(
    "--telemetry",
    "with_telemetry",
    is_flag=True,
    help="Record telemetry as the variables of Elastic APM and OpenTelemetry configure it.",
)
@click.option("--dry-run", is_flag=True, help="Show what would run, and run nothing.")
@json_option
@click.pass_context
def run(context: click.Context, /, workflow: str, is_json: bool, dry_run: bool, **options: Any) -> None:
    """
    Run the tasks of a workflow in their order, with their retries, each in a process of its own.

    WORKFLOW is the name of a workflow or its DAG id, and can be omitted if PACKAGE has only one. The options --from,
    --until, --only and --skip can be given several times. A task that fails does not stop what does not depend on it.

    Ctrl-C ends the tasks in an orderly way, a second Ctrl-C ends them at once. Afterwards, and after a failure,
    --resume continues the run. With --json each event of the run is one line. Exit status: 0 if all tasks have
    succeeded, 1 if one has failed, 130 after Ctrl-C.
    """
    is_worker, is_here = options.pop("environments"), options.pop("in_process") or options["debug"]
    if is_worker and is_here:
        raise click.UsageError("--environments runs tasks in other processes, so it excludes --in-process and --pdb.")
    executor = "environments" if is_worker else "in_process" if is_here else "processes"
    _prefer_current_folder(workflow)
    if not is_here and not dry_run:
        from dkist_processing_core.local.executors import ForkserverProcess

        options["forkserver"] = context.with_resource(ForkserverProcess())
    from dkist_processing_core.exceptions import SelectionError
    from dkist_processing_core.local import run_workflow
    from dkist_processing_core.local.resuming import remaining_tasks
    from dkist_processing_core.local.selection import selected

    spec = chosen_workflow(workflow).spec
    chosen = {name: options[name] for name in ("start", "until", "only", "skip")}
    try:
        tasks = selected(spec, **chosen)
    except SelectionError as error:
        raise click.UsageError(f"{error}.") from error
    unknown = options["queue_limits"].keys() - {node.queue for node in spec.nodes}
    if unknown:
        raise click.UsageError(f"no task of {spec.name} has the queue {min(unknown)!r}.")
    if dry_run:
        if options["resume"]:
            tasks = remaining_tasks(spec, options["recipe_run_id"], tasks if any(chosen.values()) else None)
        show_plan(spec, tasks)
        return
    if executor == "environments" and spec.version == DEFAULT_BUILD_VERSION:
        _choose_checkout()
    if is_here:
        from dkist_processing_core.runtime.logging import show_log_records

        show_log_records()
    if is_json:
        # The output of a task in this process must not mix with the events.
        output = sys.stdout
        with contextlib.redirect_stdout(sys.stderr) if is_here else contextlib.nullcontext():
            result = run_workflow(spec, executor=executor, listener=lambda event: _print(event, output), **options)
    else:
        can_draw = sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
        view = LiveView(spec) if can_draw and not is_here else PlainView(spec)
        with view:
            result = run_workflow(spec, executor=executor, listener=view, **options)
        show_result(result)
    context.exit({"success": 0, "interrupted": INTERRUPTED_STATUS}.get(result.state, 1))


def _prefer_current_folder(workflow: str) -> None:
    """Prefer a package in the current folder to an installed copy of it."""
    top_level = workflow.partition(":")[0].partition(".")[0]
    with contextlib.suppress(OSError):  # the folder may be gone
        folder = Path.cwd()
        if (folder / top_level / "__init__.py").is_file():
            sys.path.insert(0, str(folder))


def _choose_checkout() -> None:
    """For the version dev, which is not a release, use the checkout in the current folder unless another one is set."""
    if os.environ.get("DKIST_DEV_PROJECT"):
        return
    if not Path("pyproject.toml").is_file():
        raise click.UsageError(
            "the version of the workflow is dev, which is not a release. Set BUILD_VERSION to the version of a "
            "release, set DKIST_DEV_PROJECT to a checkout, or run this command in a checkout."
        )
    os.environ["DKIST_DEV_PROJECT"] = str(Path.cwd())


def _print(event: Mapping[str, Any], output: TextIO) -> None:
    click.echo(json.dumps(event), file=output)
    output.flush()

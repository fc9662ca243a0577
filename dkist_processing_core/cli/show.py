"""
``dkist-processing-core list`` and ``show``: what a package declares, and what a worker would run.

Runs in: author and CI.
"""

import json
from typing import TYPE_CHECKING

import click

from dkist_processing_core.cli.packages import chosen_workflow, discovered, package_argument
from dkist_processing_core.cli.tables import paragraph, say, table
from dkist_processing_core.exceptions import did_you_mean

if TYPE_CHECKING:
    from dkist_processing_core.validation.discovery import Declaration

__all__ = ["list_command", "show"]

json_option = click.option("--json", "is_json", is_flag=True, help="Write JSON, for a program to read.")


@click.command("list", short_help="List the workflows of a package.")
@package_argument
@json_option
@click.pass_context
def list_command(context: click.Context, package: str, is_json: bool) -> None:
    """
    List the workflows that PACKAGE declares.

    A module that does not import hides none of the others; what is wrong with it is told, and the exit status is 1.
    """
    from dkist_processing_core.validation.report import Report

    found = discovered(package)
    if is_json:
        click.echo(json.dumps([_as_data(each) for each in found.declarations], indent=2))
    elif found.declarations:
        rows = [
            (each.workflow.workflow_name, each.workflow.workflow_version, str(len(each.workflow.nodes)), each.where)
            for each in found.declarations
        ]
        table(("workflow", "version", "tasks", "where"), rows)
    elif not found.faults:
        click.echo(f"There is no workflow in {package}.")
    if found.faults:
        say(f"Error: {Report(found.package, faults=found.faults)}", err=True)
    context.exit(1 if found.faults else 0)


def _as_data(declaration: "Declaration") -> dict[str, object]:
    workflow = declaration.workflow
    return {
        "where": declaration.where,
        "workflow": workflow.workflow_name,
        "version": workflow.workflow_version,
        "dagId": workflow.dag_name,
        "tasks": [node.name for node in workflow.nodes],
    }


@click.command(short_help="Show the tasks of a workflow, or the script of one.")
@click.argument("workflow", metavar="PACKAGE[:WORKFLOW]")
@click.option("--node", "task", metavar="TASK", help="Print the script that runs this task, to be pasted into a shell.")
@json_option
def show(workflow: str, task: str | None, is_json: bool) -> None:
    """
    Show one workflow: its tasks in order, with what each waits for and where it runs.

    WORKFLOW is the name of a workflow or its dag id, and can be left out if PACKAGE has one only. With --node the
    script of one task is printed, for example to run it by hand:

    \b
      dkist-processing-core show PACKAGE:WORKFLOW --node TASK > task.sh
      DKIST_RECIPE_RUN_ID=1 bash task.sh
    """  # noqa: D301 - a backspace is how click is told not to fill the lines
    from dkist_processing_core.rendering.script import runnable_script

    spec = chosen_workflow(workflow).spec
    if task is not None:
        nodes = {node.name: node for node in spec.nodes}
        if task not in nodes:
            raise click.UsageError(f"there is no task {task!r} in {spec.name}{did_you_mean(task, nodes)}.")
        click.echo(runnable_script(spec, nodes[task]))
        return
    if is_json:
        click.echo(json.dumps(spec.to_dict(), indent=2))
        return
    click.echo(paragraph(f"{spec.name}, version {spec.version}, from {spec.distribution}, operator {spec.operator}"))
    rows = [
        (node.name, ", ".join(node.upstreams) or "-", node.queue, str(node.retries), node.task) for node in spec.nodes
    ]
    table(("task", "waits for", "queue", "retries", "class"), rows)

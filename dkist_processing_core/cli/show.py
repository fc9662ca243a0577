"""
``dkist-processing-core list``, ``show`` and ``graph``: the workflows of a package, and the tasks of a workflow.

Runs in: author and CI.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dkist_processing_core.cli.options import json_option, package_argument, workflow_argument
from dkist_processing_core.cli.packages import chosen_workflow, chosen_workflows, discovered
from dkist_processing_core.cli.tables import say, table
from dkist_processing_core.exceptions import did_you_mean

if TYPE_CHECKING:
    from dkist_processing_core.validation.discovery import Declaration

__all__ = ["graph", "list_command", "show"]


@click.command("list", short_help="List the workflows of a package.")
@package_argument
@json_option
@click.pass_context
def list_command(context: click.Context, package: str, is_json: bool) -> None:
    """
    List the workflows that PACKAGE declares.

    A module that cannot be imported is reported, and the exit status is 1; the workflows of the others are listed.
    """
    from dkist_processing_core.validation.report import Report

    found = discovered(package)
    if is_json:
        click.echo(json.dumps([_as_data(each) for each in found.declarations], indent=2))
    elif found.declarations:
        data = [_as_data(each) for each in found.declarations]
        rows = [(each["workflow"], each["version"], str(len(each["tasks"])), each["where"]) for each in data]
        table(("workflow", "version", "tasks", "where"), rows)
    elif not found.faults:
        click.echo(f"There are no workflows in {package}.")
    if found.faults:
        say(f"Error: {Report(found.package, faults=found.faults)}", err=True)
    context.exit(1 if found.faults else 0)


def _as_data(declaration: "Declaration") -> dict[str, Any]:
    workflow = declaration.workflow
    return {
        "where": declaration.where,
        "workflow": workflow.workflow_name,
        "version": workflow.workflow_version,
        "dag_id": workflow.dag_name,
        "tasks": [node.name for node in workflow.nodes],
    }


@click.command(short_help="Show the tasks of a workflow, or a script that runs one.")
@workflow_argument
@click.option("--node", "task", metavar="TASK", help="Print the script that runs this task in a shell.")
@json_option
def show(workflow: str, task: str | None, is_json: bool) -> None:
    """
    Show one workflow: its tasks in order, with their upstreams, queues and classes.

    WORKFLOW is the name of a workflow or its DAG id, and can be omitted if PACKAGE has only one. With --node the script
    of one task is printed, for example to run it by hand:

    \b
      dkist-processing-core show PACKAGE:WORKFLOW --node TASK > task.sh
      DKIST_RECIPE_RUN_ID=1 bash task.sh
    """  # noqa: D301 - click does not fill the lines after a backspace
    chosen = chosen_workflow(workflow)
    spec = chosen.spec
    if task is not None:
        nodes = {node.name: node for node in chosen.nodes}
        if task not in nodes:
            raise click.UsageError(f"there is no task {task!r} in {spec.name}{did_you_mean(task, nodes)}.")
        click.echo(nodes[task].bash_script)
    elif is_json:
        click.echo(json.dumps(spec.to_dict(), indent=2))
    else:
        python = f", Python {spec.requires_python}" if spec.requires_python else ""
        say(f"{spec.name}, version {spec.version}, from {spec.distribution}, operator {spec.operator}{python}")
        rows = [
            (
                node.name,
                ", ".join(node.upstreams) or "-",
                node.queue,
                f"{node.retries} after {node.retry_delay_seconds:g} s" if node.retries else "0",
                ", ".join(each for each in node.extras if each != "frozen") or "-",
                f"{len(node.constraints.splitlines())} lines" if node.constraints else "-",
                node.task,
            )
            for node in spec.nodes
        ]
        table(("task", "upstreams", "queue", "retries", "extras", "constraints", "class"), rows)


@click.command(short_help="Draw the order of the tasks of a workflow.")
@workflow_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "mermaid", "dot"]),
    default="text",
    show_default=True,
    help="Text for a terminal, Mermaid for Markdown, or dot for Graphviz.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write; standard output by default."
)
def graph(workflow: str, kind: str, output: Path | None) -> None:
    """
    Draw the tasks of a workflow and their upstreams.

    WORKFLOW is the name of a workflow or its DAG id; without it, all workflows of PACKAGE are drawn.
    """
    from dkist_processing_core.common import atomic
    from dkist_processing_core.rendering import diagram

    draw = {"text": diagram.text, "mermaid": diagram.mermaid, "dot": diagram.dot}[kind]
    drawn = "\n".join(draw(each.spec) for each in chosen_workflows(workflow))
    if output is None:
        click.echo(drawn, nl=False)
    else:
        atomic.write_text(output, drawn)
        click.echo(str(output))

"""
``dkist-processing-core graph``: the order of the tasks of a workflow as a diagram.

Runs in: author and CI.
"""

from pathlib import Path

import click

from dkist_processing_core.cli.options import workflow_argument
from dkist_processing_core.cli.packages import chosen_workflows

__all__ = ["graph"]


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

    WORKFLOW is the name of a workflow or its dag id; without it, all workflows of PACKAGE are drawn.
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

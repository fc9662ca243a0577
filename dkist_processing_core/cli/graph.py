"""
``dkist-processing-core graph``: the order of the tasks of a workflow, as a picture or as text.

Runs in: author and CI.
"""

from pathlib import Path

import click

from dkist_processing_core.cli.packages import chosen_workflows

__all__ = ["graph"]


@click.command(short_help="Draw the order of the tasks of a workflow.")
@click.argument("workflow", metavar="PACKAGE[:WORKFLOW]")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "mermaid", "dot", "svg"]),
    default="text",
    show_default=True,
    help="Text for a terminal, Mermaid for Markdown, dot for Graphviz, or a picture for a browser.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write; the terminal by default."
)
def graph(workflow: str, kind: str, output: Path | None) -> None:
    """
    Draw which task of a workflow waits for which.

    WORKFLOW is the name of a workflow or its dag id; without it all workflows of PACKAGE are drawn, except as svg,
    which holds one.
    """
    from dkist_processing_core.common import atomic
    from dkist_processing_core.rendering import diagram

    specs = [each.spec for each in chosen_workflows(workflow)]
    if kind == "svg" and len(specs) != 1:
        names = ", ".join(spec.name for spec in specs) or "none"
        raise click.UsageError(f"an svg picture holds one workflow; name one of them: {names}.")
    draw = {"text": diagram.text, "mermaid": diagram.mermaid, "dot": diagram.dot, "svg": diagram.svg}[kind]
    drawn = "\n".join(draw(spec) for spec in specs)
    if output is None:
        click.echo(drawn, nl=False)
    else:
        atomic.write_text(output, drawn)
        click.echo(str(output))

"""
``dkist-processing-core doctor``: check how this machine is set up.

Runs in: worker, the machine of the DAG processor, CI.
"""

import json
import textwrap
from pathlib import Path

import click

from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import progress, say

__all__ = ["doctor"]

STATUS_WIDTH, NAME_WIDTH = 11, 10


@click.command(short_help="Check that this machine is set up correctly.")
@click.option(
    "--on",
    "place",
    type=click.Choice(["worker", "dag-processor", "ci"]),
    default="worker",
    show_default=True,
    help="What this machine is for.",
)
@click.option(
    "--dags",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder with manifest.json and pools.json; by default Airflow's DAG folder.",
)
@json_option
@click.pass_context
def doctor(context: click.Context, place: str, folder: Path | None, is_json: bool) -> None:
    """
    Check that this machine is set up correctly.

    Run it as the user of the worker or of the DAG processor, with its environment variables and with the Python that
    runs Airflow. There is one line for each check, and one more with the remedy if something is wrong. Nothing is
    changed, nothing is published, and no secret is shown. The exit status is 1 if a check has failed.
    """
    from dkist_processing_core.doctor.checks import CHECKS
    from dkist_processing_core.doctor.examination import examine
    from dkist_processing_core.doctor.machine import Machine, Place

    with progress("checking"):
        report = examine(Machine(Place(place), folder and folder.absolute()), CHECKS)
    if is_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        for line in report.lines:
            say(f"{line.status:<{STATUS_WIDTH}}  {line.check:<{NAME_WIDTH}}  {line.found}")
            if line.remedy:
                say(textwrap.indent(f"Remedy: {line.remedy}", " " * (STATUS_WIDTH + NAME_WIDTH + 4)))
    context.exit(0 if report.is_sound else 1)

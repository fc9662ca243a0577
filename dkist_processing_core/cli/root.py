"""
The root of the command line.

Runs in: author and CI, worker.
"""

import click

from dkist_processing_core._version import __version__
from dkist_processing_core.cli.environments import environments
from dkist_processing_core.cli.export import dockerfile, export, notebooks
from dkist_processing_core.cli.freeze import freeze
from dkist_processing_core.cli.messages import messages
from dkist_processing_core.cli.rollback import rollback
from dkist_processing_core.cli.run import run
from dkist_processing_core.cli.runs import runs
from dkist_processing_core.cli.show import graph, list_command, show
from dkist_processing_core.cli.validate import validate

__all__ = ["root"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dkist-processing-core")
def root() -> None:
    """Check, export and operate workflows of processing tasks for Apache Airflow."""


for command in (
    run,
    runs,
    validate,
    export,
    list_command,
    show,
    graph,
    notebooks,
    dockerfile,
    freeze,
    rollback,
    environments,
    messages,
):
    root.add_command(command)

"""
The root of the command line, from which the nouns hang.

Runs in: author and CI, worker.
"""

import click

from dkist_processing_core._version import __version__
from dkist_processing_core.cli.environments import environments
from dkist_processing_core.cli.messages import messages

__all__ = ["root"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dkist-processing-core")
def root() -> None:
    """Write processing tasks in plain Python, run them on Apache Airflow."""


root.add_command(environments)
root.add_command(messages)

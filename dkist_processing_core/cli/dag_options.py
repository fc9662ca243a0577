"""
The options that the commands for a DAG folder share.

Runs in: terminal of the scheduler's machine.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dkist_processing_core.deployment.airflow_api import AirflowApi
    from dkist_processing_core.worker.collector import Environment

__all__ = [
    "AIRFLOW_HELP",
    "airflow_option",
    "archive_option",
    "connected",
    "dags_option",
    "in_state",
    "release_arguments",
]

release_arguments = click.argument("names", nargs=-1, required=True, metavar="RELEASE...")
dags_option = click.option(
    "--dags",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="FOLDER",
    help="Airflow's DAG folder.",
)
AIRFLOW_HELP = "Airflow's API server. Credentials are read from AIRFLOW_CLI_TOKEN or DKIST_AIRFLOW_CREDENTIALS_FILE."
airflow_option = click.option("--airflow", "address", metavar="URL", help=AIRFLOW_HELP)
archive_option = click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Archive of retired releases, outside the DAG folder. [default: the DAG folder's name followed by -retired]",
)


def connected(address: str | None) -> "AirflowApi | None":
    """Return a client of Airflow's API at an address; None without an address."""
    if not address:
        return None
    from dkist_processing_core.deployment.airflow_api import AirflowApi

    return AirflowApi(address)


def in_state(environment: "Environment") -> str:
    """Return whether an environment is in use."""
    return "in use" if environment.is_in_use else "not in use"

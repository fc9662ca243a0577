"""
``dkist-processing-core validate``: check the workflows of a package.

Runs in: author and CI.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dkist_processing_core.cli.options import json_option, package_argument
from dkist_processing_core.cli.packages import checked
from dkist_processing_core.cli.tables import say

if TYPE_CHECKING:
    from dkist_processing_core.validation.report import Report

__all__ = ["validate"]


@click.command(short_help="Check every workflow of a package.")
@package_argument
@click.option("--require-airflow", is_flag=True, help="Fail if Airflow is not installed, as it should be in CI.")
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Check this wheel of the package as well.",
)
@click.option(
    "--expect-pool", "pools", multiple=True, metavar="POOL", help="Do not warn about this pool; it exists in Airflow."
)
@json_option
@click.pass_context
def validate(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context,
    package: str,
    require_airflow: bool,
    wheel: Path | None,
    pools: tuple[str, ...],
    is_json: bool,
) -> None:
    """
    Check every workflow that PACKAGE declares, such as dkist_processing_example.workflows.

    The report contains all faults of all workflows, and warnings about what is legal but probably not meant. If Airflow
    is installed, it loads and serialises each file that an export would write. With --wheel, each task must be in the
    wheel, of the same version and with the extras that it needs. The exit status is 1 if there is a fault.
    """
    from dkist_processing_core.authoring import airflow
    from dkist_processing_core.exceptions import WorkflowValidationError

    if require_airflow:
        airflow.require_airflow("Validation by Airflow")
    try:
        report = checked(package, wheel=wheel, pools=pools)
    except WorkflowValidationError as error:
        report = error.report
    if is_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        say(f"{report}\n{_summary(report)}")
    context.exit(1 if report.faults else 0)


def _summary(report: "Report") -> str:
    checks = (
        "checked by this library, then loaded and serialised by Airflow."
        if report.loaded_by_airflow
        else "checked by this library only. If Airflow is installed, it loads them as well: "
        "pip install 'dkist-processing-core[airflow]'"
    )
    return f"{len(report.workflows)} valid workflow{'' if len(report.workflows) == 1 else 's'}, {checks}"

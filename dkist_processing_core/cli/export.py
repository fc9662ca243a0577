"""
``dkist-processing-core export``: write the DAG files of a package.

Runs in: author and CI.
"""

import json
from pathlib import Path

import click

from dkist_processing_core.cli.notices import waiting
from dkist_processing_core.cli.packages import imported, package_argument, told_on_stderr

__all__ = ["export"]


@click.command(short_help="Write the DAG file of every workflow of a package.")
@package_argument
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="dags",
    show_default=True,
    help="The folder to write to; it is made if it is not there.",
)
@click.option("--zip", "is_zip", is_flag=True, help="Write one zip archive, which Airflow loads as it is.")
@click.option("--overwrite", is_flag=True, help="Replace files of a released version even if their content differs.")
@click.option("--json", "is_json", is_flag=True, help="Write JSON, for a program to read.")
def export(package: str, folder: Path, is_zip: bool, overwrite: bool, is_json: bool) -> None:
    """
    Write the DAG file of every workflow that PACKAGE declares, all or nothing.

    Everything is checked first, as by "validate". Beside the DAG files go manifest.json, which says what each is made
    from and needs, and pools.json for "airflow pools import". The version is that of BUILD_VERSION unless a workflow
    states its own.
    """
    from dkist_processing_core.build_utils import export_archive, export_dags

    module = imported(package)
    write = export_archive if is_zip else export_dags
    with waiting(f"Checking {package}"), told_on_stderr():
        written = write(module, folder, overwrite=overwrite)
    files = [written] if isinstance(written, Path) else written
    if is_json:
        click.echo(json.dumps([str(each) for each in files], indent=2))
        return
    for each in files:
        click.echo(str(each))
    if not is_zip:
        click.echo(f"{len(files)} DAG file(s), beside them manifest.json and pools.json, in {folder}", err=True)

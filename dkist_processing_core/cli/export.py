"""
``dkist-processing-core export``: write the DAG files of a package.

Runs in: author and CI.
"""

from pathlib import Path

import click

from dkist_processing_core.cli import options
from dkist_processing_core.cli.packages import validated

__all__ = ["export"]


@click.command(short_help="Write the DAG file of every workflow of a package.")
@options.package_argument
@options.folder_option("dags")
@click.option("--zip", "is_zip", is_flag=True, help="Write one zip archive, which Airflow loads without unpacking.")
@options.overwrite_option("files of a released version that have different content")
@options.json_option
def export(package: str, folder: Path, is_zip: bool, overwrite: bool, is_json: bool) -> None:
    """
    Write the DAG file of every workflow that PACKAGE declares, all or nothing.

    Everything is checked first, as by "validate". The folder also gets manifest.json, which describes each file, and
    pools.json for "airflow pools import". The version is that of BUILD_VERSION unless a workflow states its own.
    """
    from dkist_processing_core.export import bundle

    workflows = validated(package)
    if is_zip:
        files = [bundle.write_archive(workflows, folder, overwrite=overwrite)]
        summary = f"1 archive with {len(workflows)} DAG file(s) in {folder}"
    else:
        files = bundle.write(workflows, folder, overwrite=overwrite)
        summary = f"{len(files)} DAG file(s), manifest.json and pools.json in {folder}"
    options.print_files(files, is_json=is_json, summary=summary)

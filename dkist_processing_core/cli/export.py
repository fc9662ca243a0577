"""
``dkist-processing-core export``, ``notebooks`` and ``dockerfile``: write the files of a package.

Runs in: author and CI.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import click

from dkist_processing_core.cli.options import json_option, package_argument
from dkist_processing_core.cli.packages import validated

__all__ = ["dockerfile", "export", "notebooks"]


NO_CALLBACKS = (
    "warning: the DAG processor of Airflow 3.3 does not report killed tasks of DAGs in an archive, unless its setting "
    "dag_version_inflation_check_level is off; --one-file has no such limitation"
)


def folder_option(default: str) -> Callable[..., Any]:
    """Return the option for the folder to write to."""
    return click.option(
        "--to",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        show_default=True,
        help="The folder to write to; it is created if it does not exist.",
    )


def overwrite_option(files: str) -> Callable[..., Any]:
    """Return the option that replaces files which are otherwise kept."""
    return click.option("--overwrite", is_flag=True, help=f"Also replace {files}.")


@click.command(short_help="Write the DAG file of every workflow of a package.")
@package_argument
@folder_option("dags")
@click.option("--one-file", "is_one_file", is_flag=True, help="Write one DAG file with all workflows.")
@click.option("--zip", "is_zip", is_flag=True, help="Write one zip archive, which Airflow loads without unpacking.")
@overwrite_option("files of a released version that have different content")
@json_option
def export(  # noqa: PLR0913 - one for each option
    package: str, folder: Path, *, is_one_file: bool, is_zip: bool, overwrite: bool, is_json: bool
) -> None:
    """
    Write the DAG file of every workflow that PACKAGE declares, all or nothing.

    Everything is checked first, as by "validate". The folder also gets manifest.json, which describes each file, and
    pools.json for "airflow pools import". The version is that of BUILD_VERSION unless a workflow states its own.
    """
    from dkist_processing_core.export import bundle

    if is_one_file and is_zip:
        raise click.UsageError("--one-file and --zip are mutually exclusive")
    workflows = validated(package)
    if is_zip:
        click.echo(NO_CALLBACKS, err=True)
        files = [bundle.write_archive(workflows, folder, overwrite=overwrite)]
        summary = f"1 archive with {len(workflows)} DAG file(s) in {folder}"
    else:
        files = bundle.write(workflows, folder, overwrite=overwrite, one_file=is_one_file)
        summary = f"{len(files)} DAG file(s), manifest.json and pools.json in {folder}"
    _print_files(files, is_json=is_json, summary=summary)


@click.command(short_help="Write a Jupyter notebook for every workflow of a package.")
@package_argument
@folder_option("notebooks")
@overwrite_option("notebooks that were modified after export")
@json_option
def notebooks(package: str, folder: Path, overwrite: bool, is_json: bool) -> None:
    """
    Write a Jupyter notebook for every workflow that PACKAGE declares, all or nothing.

    A person uses it to process a recipe run task by task. Everything is checked first, as by "validate". A notebook
    that was modified after export, such as by filling it in or running it, is not replaced.
    """
    from dkist_processing_core.export import manual_processing

    files = manual_processing.write_notebooks(validated(package), folder, overwrite=overwrite)
    _print_files(files, is_json=is_json, summary=f"{len(files)} notebook(s) in {folder}")


@click.command(short_help="Write the Dockerfile of a worker for manual processing.")
@package_argument
@folder_option(".")
@overwrite_option("files that were modified after export")
@json_option
def dockerfile(package: str, folder: Path, overwrite: bool, is_json: bool) -> None:
    """
    Write the Dockerfile of a worker for manual processing, and the notebooks that it serves.

    The image contains JupyterLab and the release of PACKAGE whose version is in BUILD_VERSION. All workflows must have
    the same category. The notebooks are written to the folder "notebooks" next to the Dockerfile.
    """
    from dkist_processing_core.export import manual_processing

    file = manual_processing.write_dockerfile(validated(package), context=folder, overwrite=overwrite)
    _print_files([file], is_json=is_json, summary=f"Build the image: docker build {quote(str(folder))}")


def _print_files(files: Sequence[Path], *, is_json: bool, summary: str) -> None:
    """Print the names of written files to the standard output, and a summary to the standard error stream."""
    if is_json:
        click.echo(json.dumps([str(each) for each in files], indent=2))
        return
    for each in files:
        click.echo(str(each))
    click.echo(summary, err=True)

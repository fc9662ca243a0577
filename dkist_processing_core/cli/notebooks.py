"""
``dkist-processing-core notebooks`` and ``dockerfile``: what manual processing needs.

Runs in: author and CI.
"""

import json
from pathlib import Path
from shlex import quote

import click

from dkist_processing_core.cli.notices import waiting
from dkist_processing_core.cli.packages import imported, package_argument, told_on_stderr

__all__ = ["dockerfile", "notebooks"]

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that somebody has changed as well.")
json_option = click.option("--json", "is_json", is_flag=True, help="Write JSON, for a program to read.")


@click.command(short_help="Write a Jupyter notebook for every workflow of a package.")
@package_argument
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="notebooks",
    show_default=True,
    help="The folder to write to; it is made if it is not there.",
)
@overwrite_option
@json_option
def notebooks(package: str, folder: Path, overwrite: bool, is_json: bool) -> None:
    """
    Write a Jupyter notebook for every workflow that PACKAGE declares, all or nothing.

    With it a person processes a recipe run task by task. Everything is checked first, as by "validate". A notebook that
    somebody has changed, by filling it in or running it, is not replaced.
    """
    from dkist_processing_core.build_utils import export_notebooks

    module = imported(package)
    with waiting(f"Checking {package}"), told_on_stderr():
        files = export_notebooks(module, folder, overwrite=overwrite)
    if is_json:
        click.echo(json.dumps([str(each) for each in files], indent=2))
        return
    for each in files:
        click.echo(str(each))
    click.echo(f"{len(files)} notebook(s) in {folder}", err=True)


@click.command(short_help="Write the Dockerfile of a worker for manual processing.")
@package_argument
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The folder that the image is to be built in, the current one by default.",
)
@overwrite_option
@json_option
def dockerfile(package: str, folder: Path, overwrite: bool, is_json: bool) -> None:
    """
    Write the Dockerfile of a worker for manual processing, and the notebooks that it serves.

    The image holds JupyterLab and exactly the release of PACKAGE whose version is in BUILD_VERSION. All workflows must
    have the same category. The notebooks are written to the folder "notebooks" beside the Dockerfile.
    """
    from dkist_processing_core.build_utils import export_notebook_dockerfile

    module = imported(package)
    with waiting(f"Checking {package}"), told_on_stderr():
        file = export_notebook_dockerfile(module, context=folder, overwrite=overwrite)
    if is_json:
        click.echo(json.dumps([str(file)], indent=2))
        return
    click.echo(str(file))
    click.echo(f"Build the image: docker build {quote(str(folder))}", err=True)

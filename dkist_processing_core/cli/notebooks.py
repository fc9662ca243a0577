"""
``dkist-processing-core notebooks`` and ``dockerfile``: write the files for manual processing.

Runs in: author and CI.
"""

from pathlib import Path
from shlex import quote

import click

from dkist_processing_core.cli import options
from dkist_processing_core.cli.packages import validated

__all__ = ["dockerfile", "notebooks"]


@click.command(short_help="Write a Jupyter notebook for every workflow of a package.")
@options.package_argument
@options.folder_option("notebooks")
@options.overwrite_option("notebooks that were modified after export")
@options.json_option
def notebooks(package: str, folder: Path, overwrite: bool, is_json: bool) -> None:
    """
    Write a Jupyter notebook for every workflow that PACKAGE declares, all or nothing.

    A person uses it to process a recipe run task by task. Everything is checked first, as by "validate". A notebook
    that was modified after export, such as by filling it in or running it, is not replaced.
    """
    from dkist_processing_core.export import manual_processing

    files = manual_processing.write_notebooks(validated(package), folder, overwrite=overwrite)
    options.print_files(files, is_json=is_json, summary=f"{len(files)} notebook(s) in {folder}")


@click.command(short_help="Write the Dockerfile of a worker for manual processing.")
@options.package_argument
@options.folder_option(".")
@options.overwrite_option("files that were modified after export")
@options.json_option
def dockerfile(package: str, folder: Path, overwrite: bool, is_json: bool) -> None:
    """
    Write the Dockerfile of a worker for manual processing, and the notebooks that it serves.

    The image contains JupyterLab and the release of PACKAGE whose version is in BUILD_VERSION. All workflows must have
    the same category. The notebooks are written to the folder "notebooks" next to the Dockerfile.
    """
    from dkist_processing_core.export import manual_processing

    file = manual_processing.write_dockerfile(validated(package), context=folder, overwrite=overwrite)
    options.print_files([file], is_json=is_json, summary=f"Build the image: docker build {quote(str(folder))}")

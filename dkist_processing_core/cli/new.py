"""
``dkist-processing-core new``: create a package of tasks and workflows.

Runs in: author and CI.
"""

import os
from pathlib import Path
from shlex import quote

import click

from dkist_processing_core.exceptions import IllegalNameError, NewPackageNameError

__all__ = ["new"]


@click.command(short_help="Create a package of tasks and workflows.")
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--category",
    "--instrument",
    "category",
    metavar="TEXT",
    help='Category of the workflows; by default NAME without "dkist-processing-".',
)
@click.option("--description", metavar="TEXT", help="Purpose of the package, in one line.")
@click.option("--author", metavar="TEXT", help="Author of the package.")
def new(name: str, folder: Path | None, category: str | None, description: str | None, author: str | None) -> None:
    """
    Create a package that is ready to work in: tasks, workflows, tests and the files for CI.

    NAME is the name of its distribution, such as dkist-processing-cam. FOLDER, by default NAME, must be empty or must
    not exist. Either all files are written or none.
    """
    from dkist_processing_core.project.new import make_package

    try:
        made = make_package(name, folder, category=category, description=description, author=author)
    except (IllegalNameError, NewPackageNameError) as error:
        raise click.UsageError(str(error)) from error
    where = os.path.relpath(made.folder)
    click.echo(f"{len(made.files)} files in {where}. Next:", err=True)
    click.echo(f"cd {quote(where)}")
    click.echo(f"dkist-processing-core run {made.module}.workflows:l0_to_l1 --recipe-run-id 1")
    click.echo("python -m pip install --editable '.[report,test]' && pytest")

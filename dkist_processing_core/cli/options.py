"""
The arguments and options that several commands share, and the output of those that write files.

Runs in: author and CI.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["folder_option", "json_option", "overwrite_option", "package_argument", "print_files", "workflow_argument"]

Decorator = Callable[..., Any]

package_argument: Decorator = click.argument("package", metavar="PACKAGE")
workflow_argument: Decorator = click.argument("workflow", metavar="PACKAGE[:WORKFLOW]")
json_option: Decorator = click.option("--json", "is_json", is_flag=True, help="Write JSON, for a program to read.")


def folder_option(default: str) -> Decorator:
    """Return the option for the folder to write to."""
    return click.option(
        "--to",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        show_default=True,
        help="The folder to write to; it is created if it does not exist.",
    )


def overwrite_option(files: str) -> Decorator:
    """Return the option that replaces files which are otherwise kept."""
    return click.option("--overwrite", is_flag=True, help=f"Also replace {files}.")


def print_files(files: Sequence[Path], *, is_json: bool, summary: str) -> None:
    """Print the names of written files to the standard output, and a summary to the standard error stream."""
    if is_json:
        click.echo(json.dumps([str(each) for each in files], indent=2))
        return
    for each in files:
        click.echo(str(each))
    click.echo(summary, err=True)

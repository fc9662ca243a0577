"""
Find the environments that a command line names.

Runs in: worker.
"""

from pathlib import Path

import click

from dkist_processing_core.cli.tables import named
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.exceptions import did_you_mean
from dkist_processing_core.worker import collector

__all__ = ["by_name", "folder_option", "label", "name_strangers"]

NAMED = 20

folder_option = click.option(
    "--cache",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The cache folder; by default DKIST_ENVIRONMENT_CACHE.",
)


def by_name(name: str, known: list[collector.Environment], folder: Path | None) -> collector.Environment:
    """Return the environment with this name, or the only one whose name begins so, or raise a `click.UsageError`."""
    if not name:
        raise click.UsageError("the name of an environment is empty.")
    found = [each for each in known if each.name.startswith(name)]
    exact = [each for each in found if each.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise click.UsageError(f"{name!r} is the beginning of {len(found)} names; give more characters of the name.")
    if not known:
        raise click.UsageError(
            f"there is no environment {name!r}, nor any other, in {named(folder or cache_folder())}."
        )
    raise click.UsageError(
        f"there is no environment {name!r}{did_you_mean(name, [each.name for each in known])}. "
        'See "dkist-processing-core environments list".'
    )


def label(environment: collector.Environment) -> str:
    """Return a short name that distinguishes environments: the release, and the beginning of the hash."""
    release, _, digest = environment.name.rpartition("-")
    return f"{release}-{digest[:12]}"


def name_strangers(folder: Path | None) -> None:
    """Print the names in the cache that are not environments; these are never removed."""
    found = collector.strangers(folder)
    for each in found[:NAMED]:
        click.echo(f"not built by this program, ignored: {each}", err=True)
    if len(found) > NAMED:
        click.echo(f"and {len(found) - NAMED} more in {found[0].parent}", err=True)

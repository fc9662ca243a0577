"""
``dkist-processing-core freeze``: pin what a package depends on.

Runs in: author and CI.
"""

from pathlib import Path

import click

from dkist_processing_core.cli.tables import progress
from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.exceptions import UnknownExtraError

__all__ = ["freeze"]


@click.command(short_help="Pin the dependencies of a package in its pyproject.toml.")
@click.argument(
    "folder", metavar="[PROJECT]", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option("--extra", "extras", multiple=True, metavar="NAME", help="Pin this extra too, now and in later runs.")
@click.option("-U", "--upgrade", is_flag=True, help="Upgrade all pins to the newest releases that the ranges allow.")
@click.option(
    "-P",
    "--upgrade-package",
    "upgrade_packages",
    multiple=True,
    metavar="NAME",
    help="Upgrade this distribution to the newest release that the ranges allow.",
)
@click.option("-f", "--find-links", multiple=True, metavar="FOLDER", help="Folder or page with more wheels.")
@click.option("-c", "--constraint", "constraints", multiple=True, metavar="FILE", help="File with more constraints.")
@click.option("--check", "is_check", is_flag=True, help="Show what would change; write nothing.")
@click.pass_context
def freeze(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context,
    folder: Path,
    extras: tuple[str, ...],
    upgrade: bool,
    upgrade_packages: tuple[str, ...],
    find_links: tuple[str, ...],
    constraints: tuple[str, ...],
    is_check: bool,
) -> None:
    """
    Pin the dependencies of the package in the folder PROJECT, by default the current folder.

    The pins are written to the extra "frozen" in its pyproject.toml. Other extras are pinned with --extra, and from
    then on each time: the pins of their further dependencies are written below what they declare. All can be installed
    together, on any Python and platform. Pins within the ranges stay, unless you upgrade them. The options --extra,
    --upgrade-package, --find-links and --constraint can be given several times.

    The package index is that of pip's and uv's settings. With --check the exit status is 1 if the pins do not satisfy
    the ranges; newer releases do not matter.
    """
    from dkist_processing_core.project.freeze import freeze as compute

    try:
        with progress("Resolving the dependencies"):
            result = compute(
                folder,
                extras=extras,
                upgrade=upgrade,
                upgrade_packages=upgrade_packages,
                find_links=find_links,
                constraints=constraints,
            )
    except UnknownExtraError as error:
        raise click.UsageError(str(error)) from error
    path, counts = result.project.path, {name: len(pins) for name, pins in result.pins.items()}
    if is_check and result.is_change:
        click.echo(redact_urls(result.diff))
        click.echo(f"{path} is out of date. Run the command without --check to update it.", err=True)
        context.exit(1)
    result.write()
    for line in result.changes:
        click.echo(line)
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    click.echo(
        f"{sum(counts.values())} requirements frozen in {path} ({each}){'' if result.is_change else ', as before'}"
    )

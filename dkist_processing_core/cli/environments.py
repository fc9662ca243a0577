"""
``dkist-processing-core environments``: the task environments of this worker.

Runs in: worker.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

from dkist_processing_core.cli.environment_builds import build
from dkist_processing_core.cli.environment_contents import compare, lock, show, verify
from dkist_processing_core.cli.environment_names import by_name, folder_option, label, name_strangers
from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import age, named, table
from dkist_processing_core.common.quantities import size
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.worker import collector
from dkist_processing_core.worker.limits import parse_age, parse_size

__all__ = ["environments"]


class Limit(click.ParamType):  # type: ignore[type-arg]
    """An age such as 30d, or a size such as 50G, read by a function that raises `ConfigurationError`."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Return the value of the text."""
        try:
            return self.parse(str(value))
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")


@click.group(short_help="Build, list, compare, verify, lock and remove the task environments of a worker.")
def environments() -> None:
    """Build, list, compare, verify, lock and remove the task environments of this worker."""


for each in (build, show, compare, verify, lock):
    environments.add_command(each)


@environments.command("list")
@folder_option
@json_option
def list_command(folder: Path | None, is_json: bool) -> None:
    """List all environments, least recently used first."""
    known = collector.environments(folder)
    name_strangers(folder)
    if is_json:
        click.echo(json.dumps([_as_data(each) for each in known], indent=2))
        return
    if not known:
        click.echo(f"There are no environments in {named(folder or cache_folder())}.")
        return
    rows = [(size(each.size), age(each.last_used), _state(each), label(each)) for each in known]
    table(("size", "last used", "state", "environment"), rows)
    click.echo(f"{len(known)} in {folder or cache_folder()}, {size(sum(each.size for each in known))} in all")


@environments.command()
@folder_option
@click.option(
    "--older-than",
    type=Limit("age", parse_age),
    metavar="AGE",
    help="Remove environments that have not been used for this long, such as 30d.",
)
@click.option(
    "--max-size",
    type=Limit("size", parse_size),
    metavar="SIZE",
    help="Remove the least recently used environments until the cache is no larger than this, such as 50G.",
)
@dry_run_option
@json_option
def prune(
    folder: Path | None, older_than: timedelta | None, max_size: int | None, dry_run: bool, is_json: bool
) -> None:
    """
    Remove old environments.

    Without a limit, only the remains of interrupted builds and removals are removed. An environment in use is never
    removed.
    """
    name_strangers(folder)
    removed = collector.prune(folder, older_than=older_than, max_size=max_size, is_dry_run=dry_run)
    if is_json:
        click.echo(json.dumps([_as_data(each) for each in removed], indent=2))
        return
    verb = "would be removed" if dry_run else "removed"
    for each in removed:
        click.echo(f"{verb}: {label(each)} ({size(each.size)}, last used {age(each.last_used)})")
    if not (folder or cache_folder()).exists():
        click.echo(f"There are no environments in {named(folder or cache_folder())}.")
        return
    click.echo(f"{len(removed)} {verb}, {size(sum(each.size for each in removed))}")


@environments.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@folder_option
@dry_run_option
@click.pass_context
def remove(context: click.Context, names: tuple[str, ...], folder: Path | None, dry_run: bool) -> None:
    """
    Remove environments by name, as shown by "list".

    The beginning of a name is enough if no other name begins with it.
    """
    name_strangers(folder)
    known = collector.environments(folder)
    chosen = {each.path: each for name in names for each in [by_name(name, known, folder)]}
    in_use = 0
    for each in chosen.values():
        if each.is_in_use or not (dry_run or collector.remove(each)):
            click.echo(f"in use, not removed: {each.name}", err=True)
            in_use += 1
        else:
            click.echo(f"{'would be removed' if dry_run else 'removed'}: {each.name}")
    context.exit(1 if in_use else 0)


def _as_data(environment: collector.Environment) -> dict[str, object]:
    return {
        "name": environment.name,
        "path": str(environment.path),
        "requirement": environment.requirement,
        "size": environment.size,
        "last_used": environment.last_used.isoformat(timespec="seconds"),
        "is_in_use": environment.is_in_use,
        "is_ready": environment.is_ready,
    }


def _state(environment: collector.Environment) -> str:
    if environment.is_in_use:
        return "in use"
    return "ready" if environment.is_ready else "unfinished"

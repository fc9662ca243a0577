"""
``dkist-processing-core messages``: the pending messages of this machine.

Runs in: worker, and the machine of the DAG processor.
"""

import json
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.reconcile import reconcile
from dkist_processing_core.cli.tables import age, named
from dkist_processing_core.exceptions import ConfigurationError, did_you_mean
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.spool import Contents, SpooledMessage

__all__ = ["messages"]

BUSY_SECONDS = 60
AGE_WIDTH, NAME_WIDTH = 11, 58
LONGEST_SUMMARY = 1000
COMPARED = 1000  # number of names that are searched for the closest one

folder_option = click.option(
    "--spool",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The spool folder; by default that of DKIST_ISB_SPOOL.",
)
names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group(short_help="List, send and drop pending messages; report lost failures.")
def messages() -> None:
    """List, send and drop the messages that could not be sent to the interservice bus."""


messages.add_command(reconcile)


@messages.command("list")
@folder_option
@json_option
def list_command(folder: Path | None, is_json: bool) -> None:
    """
    List the pending messages, the oldest first.

    Each is printed as soon as it is read, so that a large folder needs little memory.
    """
    folder, found = _contents(folder)
    shown = filter(None, map(spool.read, found.paths(folder)))
    if is_json:
        separator = "["
        for each in shown:
            text = json.dumps(_as_data(each), indent=2)
            click.echo(separator + textwrap.indent("\n" + text, "  "), nl=False)
            separator = ","
        click.echo("[]" if separator == "[" else "\n]")
    else:
        _print(folder, shown)
    _name_foreign(folder, found)


def _print(folder: Path, shown: Iterator[SpooledMessage]) -> None:
    count = damaged = set_aside = 0
    for each in shown:
        if not count:
            click.echo(f"{'spooled':<{AGE_WIDTH}}  {'message':<{NAME_WIDTH}}  summary")
        click.echo(f"{age(each.spooled_at):<{AGE_WIDTH}}  {each.file.name:<{NAME_WIDTH}}  {_summary(each)}")
        count += 1
        damaged += each.envelope is None
        set_aside += each.is_set_aside
    if count:
        aside = f", {set_aside} set aside" if set_aside else ""
        click.echo(f"{count} pending in {folder}, {damaged} of them damaged{aside}")
    else:
        _say_empty(folder)


@messages.command()
@names_argument
@folder_option
@json_option
@click.pass_context
def send(context: click.Context, names: tuple[str, ...], folder: Path | None, is_json: bool) -> None:
    """
    Send the pending messages, the oldest first.

    Without names, all of them are sent, including those that are set aside. A message is deleted as soon as the broker
    has confirmed it. One that the broker refuses stays and does not delay the others. The exit status is 1 if any
    message stays.
    """
    from dkist_processing_core.isb.pending import send_pending

    folder, found = _contents(folder)
    only = frozenset(each.name for each in _chosen(names, folder, found)) if names else None
    try:
        report = send_pending(folder, lock_seconds=BUSY_SECONDS, only=only, is_complete=True)
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if report.is_busy:
        click.echo(f"Error: another process is sending the messages in {folder}; try again later.", err=True)
        context.exit(1)
    remaining = report.pending
    if is_json:
        pending = [{"name": name, "reason": reason} for name, reason in remaining]
        click.echo(json.dumps({"sent": report.sent, "pending": pending}, indent=2))
    elif not (report.sent or remaining):
        _say_empty(folder)
    else:
        for name in report.sent:
            click.echo(f"sent: {name}")
        for name, reason in remaining:
            click.echo(f"not sent: {name}: {_line(reason)}", err=True)
        click.echo(f"{len(report.sent)} sent, {len(remaining)} not sent")
    _name_foreign(folder, found)
    context.exit(1 if remaining else 0)


@messages.command()
@names_argument
@click.option("--all", "is_all", is_flag=True, help="Drop every message.")
@folder_option
@click.option("--dry-run", is_flag=True, help="Show what would be dropped, and drop nothing.")
@click.pass_context
def drop(context: click.Context, names: tuple[str, ...], is_all: bool, folder: Path | None, dry_run: bool) -> None:
    """
    Delete pending messages without sending them.

    Files that are not messages of this library are ignored and listed. The exit status is 1 if any file cannot be
    removed.
    """
    if is_all == bool(names):
        raise click.UsageError('give the names of messages, as shown by "list", or --all.')
    folder, found = _contents(folder)
    status, is_empty = 0, True
    for each in filter(None, map(spool.read, found.paths(folder) if is_all else _chosen(names, folder, found))):
        is_empty = False
        try:
            if not dry_run:
                spool.remove(each)
        except OSError as error:
            click.echo(f"not dropped: {each.file.name}: {error}", err=True)
            status = 1
        else:
            click.echo(f"{'would be dropped' if dry_run else 'dropped'}: {each.file.name}: {_summary(each)}")
    if is_empty:
        _say_empty(folder)
    _name_foreign(folder, found)
    context.exit(status)


def _say_empty(folder: Path) -> None:
    click.echo(f"There are no pending messages in {named(folder)}.")


def _contents(folder: Path | None) -> tuple[Path, Contents]:
    try:
        folder = folder or spool.spool_folder()
        return folder, spool.contents(folder)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"the spool folder cannot be read: {error}") from error


def _name_foreign(folder: Path, found: Contents) -> None:
    """Print the names in the folder that are not messages; they are ignored."""
    if found.foreign_count:
        names = ", ".join(map(ascii, found.foreign)) + (", ..." if found.foreign_count > len(found.foreign) else "")
        click.echo(
            f"Warning: ignored in {folder}, since they are not messages of this library: "
            f"{found.foreign_count} ({names})",
            err=True,
        )


def _chosen(names: tuple[str, ...], folder: Path, found: Contents) -> list[Path]:
    by_name = {path.name: path for path in found.paths(folder) if path.name in names}
    for name in names:
        if name not in by_name:
            known = [path.name for path in islice(found.paths(folder), COMPARED)]
            raise click.UsageError(
                f'there is no message {name!r}{did_you_mean(name, known)}. See "dkist-processing-core messages list".'
            )
    return [by_name[name] for name in dict.fromkeys(names)]


def _as_data(message: SpooledMessage) -> dict[str, object]:
    envelope = message.envelope
    return {
        "name": message.file.name,
        "path": str(message.file),
        "spooled_at": message.spooled_at.isoformat(timespec="seconds"),
        "damage": message.damage or None,
        "set_aside": message.is_set_aside,
        "refusals": list(message.refusals),
        "message_id": envelope and envelope.message_id,
        "routing_key": envelope and envelope.routing_key,
        "body": envelope and _body(envelope.body),
    }


def _body(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _summary(message: SpooledMessage) -> str:
    """Return one line about a message."""
    refusal = f" (refused: {message.refusals[-1]})" if message.refusals else ""
    if message.envelope is None:
        return _line(f"damaged: {message.damage}{refusal}")
    body = _body(message.envelope.body)
    keys = ("workflowName", "workflowVersion", "taskName", "dagRunId")
    if not isinstance(body, dict) or not all(key in body for key in keys[:3]):
        return _line(message.envelope.routing_key + refusal)
    what = " ".join(str(body[key]) for key in keys if body.get(key))
    recipe_run = body.get("recipeRunId")
    if recipe_run is not None:
        what += f" recipe run {recipe_run}"
    error = str(body.get("error") or "").strip().splitlines()
    reason = f": {error[-1]}" if error else ""
    return _line(f"{what} failed{_moment(message.envelope.timestamp)}{reason}{refusal}")


def _line(text: str) -> str:
    """Return a text as one line that every terminal can show."""
    shown = text if len(text) <= LONGEST_SUMMARY else f"{text[:LONGEST_SUMMARY]}..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def _moment(timestamp: int) -> str:
    """Return a time as text; empty for a number that is not a valid time."""
    try:
        return f" at {datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC" if timestamp else ""
    except (ValueError, OverflowError, OSError):
        return ""

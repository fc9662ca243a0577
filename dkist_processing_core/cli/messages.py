"""
``dkist-processing-core messages``: the pending messages of this machine.

Runs in: worker, and the machine of the DAG processor.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import age, table
from dkist_processing_core.exceptions import ConfigurationError, did_you_mean
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.spool import SpooledMessage

__all__ = ["messages"]

BUSY_SECONDS = 60

folder_option = click.option(
    "--spool",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The spool folder; by default that of DKIST_ISB_SPOOL.",
)
names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group(short_help="List, send and drop the messages that could not be sent.")
def messages() -> None:
    """List, send and drop the messages that could not be sent to the interservice bus."""


@messages.command("list")
@folder_option
@json_option
def list_command(folder: Path | None, is_json: bool) -> None:
    """List the pending messages, the oldest first."""
    known = list(spool.pending(folder))
    if is_json:
        click.echo(json.dumps([_as_data(each) for each in known], indent=2))
        return
    if not known:
        click.echo(f"There are no pending messages in {folder or spool.spool_folder()}.")
        return
    rows = [(age(each.spooled_at), each.file.name, _summary(each)) for each in known]
    table(("spooled", "message", "summary"), rows)
    damaged = sum(each.envelope is None for each in known)
    click.echo(f"{len(known)} pending in {folder or spool.spool_folder()}, {damaged} of them damaged")


@messages.command()
@names_argument
@folder_option
@json_option
@click.pass_context
def send(context: click.Context, names: tuple[str, ...], folder: Path | None, is_json: bool) -> None:
    """
    Send the pending messages, the oldest first.

    Without names, all of them are sent. A message is deleted as soon as the broker has confirmed it. One that the
    broker refuses remains and does not hold up the others. The exit status is 1 if any remains.
    """
    from dkist_processing_core.isb.spool import send_pending

    only = frozenset(each.file for each in _chosen(names, list(spool.pending(folder)))) if names else None
    try:
        report = send_pending(folder, lock_seconds=BUSY_SECONDS, only=only)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    if report.is_busy:
        click.echo(
            f"Error: another process is sending the messages in {folder or spool.spool_folder()}; try again later.",
            err=True,
        )
        context.exit(1)
    if is_json:
        pending = [{"name": file.name, "reason": reason} for file, reason in report.pending]
        click.echo(json.dumps({"sent": [file.name for file in report.sent], "pending": pending}, indent=2))
    else:
        for file in report.sent:
            click.echo(f"sent: {file.name}")
        for file, reason in report.pending:
            click.echo(f"not sent: {file.name}: {reason}", err=True)
        click.echo(f"{len(report.sent)} sent, {len(report.pending)} not sent")
    context.exit(1 if report.pending else 0)


@messages.command()
@names_argument
@click.option("--all", "is_all", is_flag=True, help="Drop every message.")
@folder_option
@click.option("--dry-run", is_flag=True, help="Show what would be dropped, and drop nothing.")
@click.pass_context
def drop(context: click.Context, names: tuple[str, ...], is_all: bool, folder: Path | None, dry_run: bool) -> None:
    """
    Delete pending messages without sending them.

    The exit status is 1 if any file cannot be removed.
    """
    if is_all == bool(names):
        raise click.UsageError('give the names of messages, as shown by "list", or --all.')
    known = list(spool.pending(folder))
    status = 0
    for each in known if is_all else _chosen(names, known):
        try:
            if not dry_run:
                each.file.unlink(missing_ok=True)
        except OSError as error:
            click.echo(f"not dropped: {each.file.name}: {error}", err=True)
            status = 1
        else:
            click.echo(f"{'would be dropped' if dry_run else 'dropped'}: {each.file.name}: {_summary(each)}")
    context.exit(status)


def _chosen(names: tuple[str, ...], known: list[SpooledMessage]) -> list[SpooledMessage]:
    by_name = {each.file.name: each for each in known}
    for name in names:
        if name not in by_name:
            raise click.UsageError(
                f'there is no message {name!r}{did_you_mean(name, by_name)}. See "dkist-processing-core messages list".'
            )
    return [by_name[name] for name in dict.fromkeys(names)]


def _as_data(message: SpooledMessage) -> dict[str, object]:
    envelope = message.envelope
    return {
        "name": message.file.name,
        "path": str(message.file),
        "spooled_at": message.spooled_at.isoformat(timespec="seconds"),
        "damage": message.damage or None,
        "message_id": envelope and envelope.message_id,
        "routing_key": envelope and envelope.routing_key,
        "body": envelope and _body(envelope.body),
    }


def _body(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _summary(message: SpooledMessage) -> str:
    """Return one line about a message."""
    if message.envelope is None:
        return f"damaged: {message.damage}"
    body = _body(message.envelope.body)
    keys = ("workflowName", "workflowVersion", "taskName", "dagRunId")
    if not isinstance(body, dict) or not all(key in body for key in keys[:3]):
        return message.envelope.routing_key
    return " ".join(str(body[key]) for key in keys if body.get(key)) + " failed" + _moment(message.envelope.timestamp)


def _moment(timestamp: int) -> str:
    """Return when something happened; empty for a number that is not a time in our calendar."""
    try:
        return f" at {datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC" if timestamp else ""
    except (ValueError, OverflowError, OSError):
        return ""

"""
``dkist-processing-core messages reconcile``: report failed tasks that were never reported.

Runs in: the machine of the DAG processor.
"""

from datetime import UTC, datetime, timedelta

import click

from dkist_processing_core.cli.dag_options import AIRFLOW_HELP
from dkist_processing_core.cli.tables import plain, say
from dkist_processing_core.common.settings import isb_enabled

__all__ = ["reconcile"]

MOST_HOURS = 6 * 24  # the records of reported failures are kept for a week
BUSY_SECONDS = 60


@click.command(short_help="Report failed tasks that were never reported.")
@click.option("--airflow", "address", metavar="URL", required=True, help=AIRFLOW_HELP)
@click.option(
    "--hours", type=click.IntRange(1, MOST_HOURS), default=24, show_default=True, help="How far to look back."
)
@click.option(
    "--settle",
    type=click.IntRange(0, MOST_HOURS * 60),
    default=10,
    show_default=True,
    help="Ignore runs that ended less than this many minutes ago; their callbacks may still be running.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be reported, and report nothing.")
def reconcile(address: str, hours: float, settle: float, dry_run: bool) -> None:
    """
    Report failed tasks that Airflow knows and that were never reported.

    Airflow loses the callback that reports a killed task if its scheduler or DAG processor is killed at that moment.
    Run this from time to time on the machine of the DAG processor, as its user and with its variables. A failure that
    was reported is recognised by its XCom and by the spool folder. The exit status is 1 if Airflow does not answer, or
    if a message cannot be spooled. Messages are spooled first; those that cannot be sent then stay in the spool folder.
    """
    from dkist_processing_core.deployment.airflow_api import AirflowApi
    from dkist_processing_core.deployment.reconciliation import unreported
    from dkist_processing_core.isb import spool
    from dkist_processing_core.isb.failures.message import message_of
    from dkist_processing_core.isb.failures.reported import remember

    if not isb_enabled():
        raise click.ClickException("DKIST_ISB_ENABLED is false, so no failure is reported")
    now, count = datetime.now(UTC), 0
    what = "would be reported" if dry_run else "reported"
    since, until = now - timedelta(hours=hours), now - timedelta(minutes=settle)
    for failure in unreported(AirflowApi(address), since=since, until=until):
        message = message_of(failure)
        if not dry_run:
            try:
                # Sent one by one, each of them would wait if the bus is down.
                spool.write(message.envelope())
            except OSError as error:
                raise click.ClickException(
                    f"the spool folder cannot be written, see DKIST_ISB_SPOOL: {error}"
                ) from error
            remember(failure)
        name = f"{failure.workflow_name} {failure.workflow_version} {failure.task_name} {failure.run_id}"
        click.echo(plain(f"{what}: {message.message_id} {name}"))
        count += 1
    click.echo(f"{count} {what}")
    if count and not dry_run:
        _send()


def _send() -> None:
    from dkist_processing_core.isb.pending import send_pending

    report = send_pending(lock_seconds=BUSY_SECONDS)
    if report.is_busy or report.pending:
        reason = "another process is sending" if report.is_busy else report.pending[0][1]
        text = (
            f"Warning: not all messages were sent: {reason}. They are sent after the next message that the broker "
            "confirms, or by: dkist-processing-core messages send"
        )
        say(plain(text), err=True)

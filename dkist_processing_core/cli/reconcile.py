"""
``dkist-processing-core messages reconcile``: report the failures that nobody has reported.

Runs in: the machine of the DAG processor.
"""

from datetime import UTC, datetime, timedelta

import click

from dkist_processing_core.cli.dag_options import AIRFLOW_HELP
from dkist_processing_core.cli.tables import plain

__all__ = ["reconcile"]


@click.command(short_help="Report failed tasks that nobody has reported.")
@click.option("--airflow", "address", metavar="URL", required=True, help=AIRFLOW_HELP)
@click.option("--hours", type=click.FloatRange(min=0), default=24.0, show_default=True, help="How far to look back.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Minutes since the end of a run before which its callbacks may still be under way.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be reported, and report nothing.")
@click.pass_context
def reconcile(context: click.Context, address: str, hours: float, settle: float, dry_run: bool) -> None:
    """
    Report failed tasks that Airflow knows and nobody has reported.

    Airflow loses the callback that reports a killed task if its scheduler or DAG processor is killed at that moment.
    Run this from time to time on the machine of the DAG processor, as its user and with its variables. What was
    reported is recognised by its XCom, and by the spool folder. The exit status is 1 if Airflow does not answer, or if
    a message can neither be sent nor spooled.
    """
    from dkist_processing_core.deployment.airflow_api import AirflowApi
    from dkist_processing_core.deployment.reconciliation import unreported
    from dkist_processing_core.failure_callback import recipe_run_failure_message_producer_factory
    from dkist_processing_core.isb.failures.message import message_of, report

    now = datetime.now(UTC)
    count = status = 0
    since, until = now - timedelta(hours=hours), now - timedelta(minutes=settle)
    for failure in unreported(AirflowApi(address), since=since, until=until):
        message = message_of(failure)
        done = dry_run or report(failure, message, recipe_run_failure_message_producer_factory)
        what = "would be reported" if dry_run else "reported" if done else "not reported"
        name = f"{failure.workflow_name} {failure.workflow_version} {failure.task_name} {failure.run_id}"
        click.echo(plain(f"{what}: {message.message_id} {name}"))
        count += bool(done)
        status = status or int(not done)
    click.echo(f"{count} {'would be reported' if dry_run else 'reported'}")
    context.exit(status)

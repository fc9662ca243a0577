"""
``dkist-processing-core rollback``: undo what a task did for one recipe run.

Runs in: task environment.
"""

import logging
import sys

import click

from dkist_processing_core.cli.packages import imported
from dkist_processing_core.exceptions import RecipeRunIdError, TaskImportError

__all__ = ["rollback"]

logger = logging.getLogger(__name__)


@click.command(short_help="Undo what a task did for one recipe run.")
@click.argument("task", metavar="MODULE:CLASS")
@click.option("--recipe-run-id", required=True, metavar="N", help="The recipe run for which to undo the task.")
@click.option("--workflow-name", required=True, metavar="NAME", help="The workflow in which the task ran.")
@click.option("--workflow-version", required=True, metavar="VERSION", help="The version of that workflow.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_context
def rollback(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context, task: str, recipe_run_id: str, workflow_name: str, workflow_version: str, yes: bool
) -> None:
    """
    Undo what a task did to persistent stores for one recipe run.

    MODULE:CLASS is the class of the task, as "show" lists it; its rollback method decides what is undone. Run this in
    an environment of the release that ran the task. It asks for confirmation first; if the standard input is not a
    terminal, it requires --yes.
    """
    from dkist_processing_core.runtime.logging import show_log_records
    from dkist_processing_core.runtime.main import load_task
    from dkist_processing_core.runtime.task import TaskBase, as_recipe_run_id

    try:
        number = as_recipe_run_id(recipe_run_id)
    except RecipeRunIdError:
        raise click.UsageError(f"--recipe-run-id must be an integer, not {recipe_run_id!r}.") from None
    imported(task.partition(":")[0])
    try:
        task_class = load_task(task)
    except TaskImportError as error:
        raise click.UsageError(str(error)) from error
    what = f"{task_class.__name__} of recipe run {number}, workflow {workflow_name} {workflow_version}"
    if task_class.rollback is TaskBase.rollback:
        click.echo(f"{task_class.__name__} does not override rollback, so there is nothing to undo.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("the standard input is not a terminal, so confirm with --yes.")
        click.confirm(f"Roll back {what}?", abort=True)
    show_log_records()
    try:
        with task_class(number, workflow_name, workflow_version) as made:
            made.rollback()
    except Exception:
        logger.exception("The rollback of %s failed; a part may have been undone", what)
        context.exit(1)
    click.echo(f"rolled back: {what}")

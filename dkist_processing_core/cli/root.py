"""
The root of the command line.

Runs in: author and CI, worker.
"""

from importlib import import_module

import click

from dkist_processing_core._version import __version__

__all__ = ["root"]

# The module and the variable of each command, in the order of the help.
COMMANDS = {
    "new": "new:new",
    "run": "run:run",
    "runs": "runs:runs",
    "validate": "validate:validate",
    "export": "export:export",
    "list": "show:list_command",
    "show": "show:show",
    "graph": "show:graph",
    "notebooks": "export:notebooks",
    "dockerfile": "export:dockerfile",
    "freeze": "freeze:freeze",
    "rollback": "rollback:rollback",
    "dags": "dags:dags",
    "environments": "environments:environments",
    "messages": "messages:messages",
    "doctor": "doctor:doctor",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use, so that none waits for the imports of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"dkist_processing_core.cli.{module}"), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dkist-processing-core")
def root() -> None:
    """Check, export and operate workflows of processing tasks for Apache Airflow."""

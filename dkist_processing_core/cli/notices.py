"""
What the commands say on the standard error stream, so that the standard output stays what was asked for.

Runs in: author and CI.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator

import click

from dkist_processing_core.cli.tables import say

__all__ = ["show_warnings", "waiting"]

ERASED = "\r\033[K"


class _Handler(logging.Handler):
    """Show what the library logs to the person at the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, where something may be waited for."""
        if sys.stderr.isatty():
            click.echo(ERASED, err=True, nl=False)
        say(f"Warning: {record.getMessage()}", err=True)


def show_warnings() -> None:
    """Show the warnings of the checks, which the library logs, in the way in which the commands show things."""
    logger = logging.getLogger("dkist_processing_core.build_utils")
    logger.addHandler(_Handler())
    # A module of theirs may have set up logging, so that they would come twice.
    logger.propagate = False


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal, and nowhere else, what is being done until it is done."""
    is_shown = sys.stderr.isatty()
    if is_shown:
        click.echo(f"{what} ...", err=True, nl=False)
    try:
        yield
    finally:
        if is_shown:
            click.echo(ERASED, err=True, nl=False)

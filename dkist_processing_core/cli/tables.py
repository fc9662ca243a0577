"""
What the commands have in common when they show things to a person.

Runs in: author and CI, worker.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

__all__ = ["age", "size", "table"]


def size(number: float) -> str:
    """Return a number of bytes such that four characters and a unit are enough."""
    for unit in ("B", "K", "M", "G"):
        if number < 1000:  # noqa: PLR2004 - so that four characters are enough
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"  # noqa: PLR2004
        number /= 1024
    return f"{number:.1f} T"


def age(moment: datetime) -> str:
    """Return how long ago a moment was, such as ``3 d ago``."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a header, in columns."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

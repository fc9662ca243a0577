"""
What the commands have in common when they show things to a person.

Runs in: author and CI, worker. On a terminal, lines are broken where it ends and colours are used, unless NO_COLOR is
set; a file or another program gets each line as it is, without colours.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest

import click

__all__ = ["age", "coloured", "paragraph", "say", "size", "table"]

# How lines begin that are to be seen first.
BEGINNING = re.compile(r"^(?:(?P<red>Error|fault \d+)|(?P<yellow>Warning|warning \d+)):")

NARROWEST = 12


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


def coloured(text: str, colour: str) -> str:
    """Return a text in a colour; `click.echo` takes it away again where there is no terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)


def paragraph(line: str, *, err: bool = False) -> str:
    """Return a line that, on a terminal, is broken between words and goes on a little to the right of its beginning."""
    if not (columns := _columns(err=err)):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    further = f"{indent}  "
    broken = textwrap.wrap(line, columns, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    return "\n".join(broken)


def say(text: str, *, err: bool = False) -> None:
    """Print a text line by line, each as a paragraph; what begins with an error, a fault or a warning is coloured."""
    for line in text.split("\n"):
        shown = paragraph(line, err=err)
        click.echo(BEGINNING.sub(lambda found: coloured(found[0], str(found.lastgroup)), shown), err=err)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a header, in columns; on a terminal a cell takes several lines if the row is too long."""
    widths = _narrowed([max(len(row[column]) for row in [header, *rows]) for column in range(len(header))])
    for row in [header, *rows]:
        cells = [
            textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(row, widths, strict=True)
        ]
        for line in zip_longest(*cells, fillvalue=""):
            click.echo("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())


def _narrowed(widths: list[int]) -> list[int]:
    """Take from the widest columns what does not fit into the terminal."""
    widths = [max(width, 1) for width in widths]
    columns = _columns()
    while columns and sum(widths) + 2 * (len(widths) - 1) > columns and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _columns(*, err: bool = False) -> int:
    """Return the width of the terminal; 0 if there is none, so that nothing is broken."""
    return shutil.get_terminal_size().columns if (sys.stderr if err else sys.stdout).isatty() else 0

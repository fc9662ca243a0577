"""
Output for people: messages, tables and progress.

Runs in: author and CI, worker. On a terminal, lines are wrapped at its width, and coloured unless NO_COLOR is set. A
file or another program gets each line complete and plain, and rich is imported for a terminal or a table only.
"""

import re
import sys
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["age", "named", "plain", "progress", "say", "table"]

# The names of the groups are colours.
COLOURED = re.compile(
    r"^(?:(?P<red>(?:Error:|fault \d+:|failed  ))|(?P<yellow>(?:Warning:|warning \d+:|warning  ))|(?P<green>ok  ))"
)
UNLIMITED = 1_000_000
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all except the line break and the tab


def age(moment: datetime) -> str:
    """Return how long ago a moment was, such as ``3 d ago``."""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def named(folder: Path) -> str:
    """Return a folder for a message that it contains nothing; say so if it does not exist, which may be a mistake."""
    return str(folder) if folder.exists() else f"{folder}, which does not exist"


def say(text: str, *, err: bool = False) -> None:
    """Print a text; on a terminal, wrapped lines are indented, and the words "Error", "fault" etc. are coloured."""
    if not _is_terminal(err=err):
        click.echo(text, err=err)
        return
    from rich.text import Text

    console = _console(err=err)
    for line in text.split("\n"):
        indent = " " * (2 + len(line) - len(line.lstrip()))
        wrapped = textwrap.fill(
            line, console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        shown = Text(wrapped)
        shown.highlight_regex(COLOURED, style_prefix="bold ")
        console.print(shown, soft_wrap=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a header, in columns; on a terminal, long cells are wrapped."""
    from rich.table import Table
    from rich.text import Text

    columns = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in header:
        columns.add_column(Text(name), overflow="fold")
    for row in rows:
        columns.add_row(*map(Text, row))
    console = _console()
    with console.capture() as captured:
        console.print(columns)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def progress(what: str) -> AbstractContextManager[object]:
    """Show on a terminal, and nowhere else, what the program is doing until it is done."""
    return _console(err=True).status(what) if _is_terminal(err=True) else nullcontext()


def plain(text: str) -> str:
    """Return a text of a task without control characters, since the terminal would act on them."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _is_terminal(*, err: bool = False) -> bool:
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


def _console(*, err: bool = False) -> "Console":
    from rich.console import Console

    # Otherwise FORCE_COLOR, which some CI systems set, would wrap the lines in a pipe.
    is_terminal = _is_terminal(err=err)
    console = Console(stderr=err, force_terminal=is_terminal, highlight=False, markup=False, emoji=False)
    if not is_terminal:
        console.width = UNLIMITED
    return console

"""The output of the demo: plain text for 80 columns and more, with colours on a terminal only."""

import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Console", "shown"]

STYLES = {"bold": "1", "faint": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
STATE_STYLES = {"success": "green", "failed": "red", "upstream_failed": "yellow"}
SILENCE_SECONDS = 10.0


def shown(path: Path) -> str:
    """Return a path as a person types it: relative, if it lies below the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class Console:
    """
    Writes to the standard output, each line at once.

    Parameters
    ----------
    steps
        How many steps there will be.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._said = time.monotonic()
        self._lock = threading.Lock()
        self.width = max(80, min(100, shutil.get_terminal_size((96, 24)).columns))
        self._has_colours = (
            sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        )
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]

    def styled(self, text: str, *styles: str) -> str:
        """Return the text in colour, if there are colours."""
        if not (self._has_colours and styles):
            return text
        return f"\x1b[{';'.join(STYLES[style] for style in styles)}m{text}\x1b[0m"

    def say(self, text: str = "", *styles: str) -> None:
        """Write one line."""
        with self._lock:
            sys.stdout.write(self.styled(text, *styles) + "\n")
            sys.stdout.flush()
            self._said = time.monotonic()

    def paragraph(self, text: str, *styles: str, indent: str = "") -> None:
        """Write a text, broken into lines that fit."""
        for line in textwrap.wrap(
            text,
            width=self.width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self.say(line, *styles)

    def heading(self, text: str) -> None:
        """Begin a part of the summary."""
        self.say()
        self.say(text, "bold")

    def detail(self, text: str) -> None:
        """Write a detail of the current step."""
        self.paragraph(text, "faint", indent="      ")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and print its duration when it has succeeded."""
        self._step += 1
        self.say(f"\n{self.styled(f'[{self._step}/{self._steps}]', 'cyan')} {self.styled(title, 'bold')}")
        started = time.monotonic()
        over = threading.Event()
        threading.Thread(target=self._break_silence, args=(started, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()
        self.say(f"      done in {time.monotonic() - started:.1f} s", "green")

    def _break_silence(self, started: float, over: threading.Event) -> None:
        """Print that the step is still running if there was no other output for a while."""
        while not over.wait(0.5):
            if time.monotonic() - self._said >= SILENCE_SECONDS:
                self.detail(f"... still at it after {time.monotonic() - started:.0f} s")

    def table(self, header: Sequence[str], groups: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> None:
        """
        Write a table.

        Parameters
        ----------
        header
            The names of the columns.
        groups
            Titles, and the rows below each. A cell that names a state gets the colour of that state.
        """
        every = [header, *(row for _, rows in groups for row in rows)]
        widths = [max(len(row[column]) for row in every) for column in range(len(header))]
        self.say(self._row(header, widths), "bold")
        self.say("  " + "-" * (sum(widths) + 3 * (len(widths) - 1)), "faint")
        for title, rows in groups:
            self.say(f"  {title}", "cyan")
            for row in rows:
                self.say(self._row(row, widths))

    def _row(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = (
            self.styled(cell.ljust(width), *filter(None, [STATE_STYLES.get(cell)]))
            for cell, width in zip(cells, widths, strict=True)
        )
        return "  " + "   ".join(padded).rstrip()

r"""
Log records as lines that keep their level on their way from a task to Airflow's log.

Runs in: task environment and worker program, which write the lines, and the process of Airflow's operator, which reads
them. They share one pipe, to which the task also prints. So a log record is marked: the operator sets
``DKIST_LOG_MARK`` to a random text, and each marked line reads ``\x1e``, the mark, ``:``, a kind, ``:``, and the text,
in which ``\x1f`` stands for a line break. A kind is the number of a level, or `OUTCOME`.

Several processes write to the pipe at the same time. A write is atomic only if it has at most 4096 bytes
(``PIPE_BUF``). So a longer record is split into several lines. Each of them has ``/`` and the number of the writing
thread after its kind, and after its text ``+`` if another line follows, or ``.`` if it is the last one.

If the variable is not set, as on a terminal, nothing is marked. This format is part of the ABI, see "Compatibility
across releases" in the documentation.
"""

import os
import re
import select
from contextlib import suppress
from typing import NamedTuple

__all__ = ["MARK_VARIABLE", "OUTCOME", "PIPE_BUFFER", "Line", "Reader", "mark", "marked_lines", "parse", "write_all"]

MARK_VARIABLE = "DKIST_LOG_MARK"
# The kind of the line in which the worker program reports the outcome of the task, see `common.outcome`.
OUTCOME = "outcome"
BEGINNING = "\x1e"
LINE_BREAK = "\x1f"
LINE_END = "\n"
KIND = re.compile(rf"({OUTCOME}|[0-9]{{1,4}})(/[0-9]{{1,20}})?")
PIPE_BUFFER = 4096  # bytes that a pipe that is ready takes in one write, without blocking (PIPE_BUF on Linux)
# Even with the mark, and with ten bytes for each character that is not ASCII ("\\U0001f52d"), a line is shorter.
LONGEST_PIECE, LONGEST_OTHER_PIECE = 3900, 390


class Line(NamedTuple):
    """
    One line of the output of a task.

    Attributes
    ----------
    kind
        Number of the level, or `OUTCOME`; empty for printed text. For a piece of a record, `parse` keeps ``/`` and the
        number of the thread.
    text
        The text, with its line breaks.
    """

    kind: str
    text: str


def mark() -> str | None:
    """Return the mark that this process uses (``DKIST_LOG_MARK``); None if it does not mark lines."""
    return os.environ.get(MARK_VARIABLE) or None


def marked_lines(kind: int | str, text: str, *, mark: str) -> list[str]:
    """Return a text as one marked line with its line end, or as several ones if it is long."""
    text = text.rstrip(LINE_END).replace(LINE_END, LINE_BREAK)
    size = LONGEST_PIECE if text.isascii() else LONGEST_OTHER_PIECE
    if len(text) <= size:
        return [f"{BEGINNING}{mark}:{kind}:{text}\n"]
    from threading import get_native_id

    beginning = f"{BEGINNING}{mark}:{kind}/{get_native_id()}:"
    *pieces, last = (text[start : start + size] for start in range(0, len(text), size))
    return [*(f"{beginning}{piece}+\n" for piece in pieces), f"{beginning}{last}.\n"]


def parse(line: str, *, mark: str) -> list[Line]:
    """
    Split a line of output: at most one marked line, and before it text that was printed without a line end.

    A record begins at its mark, wherever that is in the line: the task, its child processes and the worker program
    write to one pipe, and none of them knows whether the line of another one is complete.
    """
    printed, beginning, rest = line.partition(f"{BEGINNING}{mark}:")
    kind, colon, text = rest.partition(":")
    if beginning and colon and KIND.fullmatch(kind):
        marked = Line(kind, text.replace(LINE_BREAK, LINE_END))
        return [Line("", printed), marked] if printed else [marked]
    return [Line("", line)]


class Reader:
    """Reads lines of output with one mark, and joins the pieces of a record."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._pieces: dict[str, list[str]] = {}

    def read(self, line: str) -> list[Line]:
        """Return the lines and records that are complete with this line."""
        complete = []
        for kind, text in parse(line, mark=self._mark):
            if "/" not in kind:
                complete.append(Line(kind, text))
                continue
            pieces = self._pieces.setdefault(kind, [])
            pieces.append(text[:-1])
            if not text.endswith("+"):
                del self._pieces[kind]
                complete.append(Line(kind.partition("/")[0], "".join(pieces)))
        return complete

    def rest(self) -> list[Line]:
        """Return the records that are incomplete because a process was killed while it wrote them."""
        pieces, self._pieces = self._pieces, {}
        return [Line(kind.partition("/")[0], "".join(texts)) for kind, texts in pieces.items()]


def write_all(descriptor: int, data: bytes, *, milliseconds: int) -> None:
    """Write to a pipe whose reader may be gone or slow; give up if the pipe takes nothing for that time."""
    target = select.poll()
    target.register(descriptor, select.POLLOUT)
    with suppress(OSError):
        while data and target.poll(milliseconds):
            data = data[os.write(descriptor, data[:PIPE_BUFFER]) :]

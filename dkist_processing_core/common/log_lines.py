r"""
Log records as lines that keep their level, on their way from a task to Airflow's log.

Runs in: task environment and worker program, which write such lines, and the process of Airflow's operator, which reads
them. All that they have in common is one pipe, into which the task prints as well. So a record is marked: the operator
sets ``DKIST_LOG_MARK`` to a text that nobody else knows, and each marked line reads ``\x1e``, the mark, ``:``, a kind,
``:``, and the text, in which ``\x1f`` stands for a line break. A kind is the number of a level, or `OUTCOME`. Where the
variable is not set, as at a terminal, nothing is marked. This format is part of the ABI, see "What outlives a release"
in the documentation.
"""

import os
import re
from typing import NamedTuple

__all__ = ["MARK_VARIABLE", "OUTCOME", "Line", "mark", "parse", "write_marked"]

MARK_VARIABLE = "DKIST_LOG_MARK"
# The kind of the line in which the worker program tells how the task has ended, see `common.outcome`.
OUTCOME = "outcome"
BEGINNING = "\x1e"
LINE_BREAK = "\x1f"
LINE_END = "\n"
LEVEL = re.compile("[0-9]{1,4}")


class Line(NamedTuple):
    """
    One line of the output of a task.

    Attributes
    ----------
    kind
        Number of the level, or `OUTCOME`; empty for what was merely printed.
    text
        The text, with its line breaks.
    """

    kind: str
    text: str


def mark() -> str | None:
    """Return the mark that this process uses (``DKIST_LOG_MARK``); None if lines are not to be marked."""
    return os.environ.get(MARK_VARIABLE) or None


def write_marked(kind: int | str, text: str, *, mark: str) -> str:
    """Return a text as one marked line, its end included."""
    return f"{BEGINNING}{mark}:{kind}:{text.rstrip(LINE_END).replace(LINE_END, LINE_BREAK)}\n"


def parse(line: str, *, mark: str) -> list[Line]:
    """
    Return what a line of output says: at most one marked line, and before it what was printed without a line end.

    A record begins where its mark is, since the task, its child processes and the worker program write to one pipe and
    do not know whether the line of another one is complete.
    """
    printed, beginning, rest = line.partition(f"{BEGINNING}{mark}:")
    kind, colon, text = rest.partition(":")
    if beginning and colon and (kind == OUTCOME or LEVEL.fullmatch(kind)):
        marked = Line(kind, text.replace(LINE_BREAK, LINE_END))
        return [Line("", printed), marked] if printed else [marked]
    return [Line("", line)]

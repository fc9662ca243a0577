"""
The end of a log as records with their levels.

Runs in: author and CI. A log contains text of a task, of the worker program, and of whatever these start. So the level
of a line is taken from its beginning. A line without a level belongs to the previous record, or was printed.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["PRINTED", "Log", "end_of_log", "records"]

PRINTED = "printed"
LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
TIME = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S*"
# The formats of `runtime.logging` and `worker.log` at a terminal, and of `logging.basicConfig`.
RECORD = re.compile(
    rf"{TIME} (?P<own>[A-Z]+) \S+: |{TIME} dkist: (?:(?P<worker>WARNING|ERROR): )?|(?P<basic>{LEVELS}):"
)
TRACEBACK = "Traceback (most recent call last):"
PARTS_OF_TRACEBACK = (
    TRACEBACK,
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
MARGIN_BYTES = 4096  # also read, so that a URL is not cut before its password


class Log(NamedTuple):
    """The end of a log: pairs of level and text, and the number of bytes before it."""

    records: list[tuple[str, str]]
    left_out_bytes: int


def end_of_log(file: Path, most_bytes: int, redact: Callable[[str], str]) -> Log | None:
    """Return the end of a log, without secrets and control characters; None if it cannot be read."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, 2)
            start = opened.seek(max(0, size - most_bytes - MARGIN_BYTES))
            data = opened.read(most_bytes + MARGIN_BYTES)
    except OSError:
        return None
    text = redact(data.decode(errors="replace"))
    left_out = 0
    if start or len(text) > most_bytes:
        text = text[-most_bytes:]
        text = text[text.find("\n", 0, -1) + 1 :]  # everything if it is a single line
        left_out = max(0, size - len(text.encode()))
    text = ESCAPE.sub("", text).replace("\r\n", "\n")
    return Log(list(records(CONTROL.sub("\ufffd", text))), left_out)


def records(text: str) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each record; other lines have the level `PRINTED`."""
    level, lines = PRINTED, list[str]()
    in_traceback = False
    for line in text.splitlines():
        found = RECORD.match(line)
        if found:
            new = found["own"] or found["basic"] or found["worker"] or "INFO"
            in_traceback = False
        elif lines and (in_traceback or not line or line[0].isspace() or line in PARTS_OF_TRACEBACK):
            # A traceback ends with the line that names the exception, which is not indented.
            in_traceback = line == TRACEBACK or (in_traceback and (not line or line[0].isspace()))
            lines.append(line)
            continue
        else:
            new = PRINTED
        if lines:
            yield level, "\n".join(lines)
        level, lines = new, [line]
    if lines:
        yield level, "\n".join(lines)

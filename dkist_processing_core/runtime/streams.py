"""
The standard streams of a task whose log Airflow's operator reads.

Runs in: task environment. What a handler writes while it handles a log record is marked with the level of the record,
whichever handler it is. What the task merely prints stays unchanged. See `common.log_lines`.
"""

import io
import os
import select
import sys
import threading

from dkist_processing_core.common.log_lines import mark, marked_lines
from dkist_processing_core.common.log_records import current_level, keep_level_of_each_handler
from dkist_processing_core.common.redaction import redactor

__all__ = ["forget_unread_outputs", "mark_log_records"]

# Keep a reference: a garbage-collected stream closes its file, and the task may replace these streams.
_kept: list[io.TextIOWrapper] = []


class MarkedStream(io.TextIOWrapper):
    """
    A text stream that marks the lines of log records, and redacts the URLs in them, whichever handler writes them.

    Parameters
    ----------
    stream
        The stream that is replaced.
    mark
        The mark.
    """

    def __init__(self, stream: io.TextIOWrapper, mark: str) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            newline="\n",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._mark = mark
        self._redact = redactor()
        self._pending = threading.local()

    def write(self, text: str) -> int:
        """Write a text; return its number of characters."""
        level = current_level()
        if level is None:
            return self._write(text)
        # A handler may write a record in pieces. The record is complete at a line end, or when the handler flushes.
        pieces = self._pending.__dict__.setdefault(str(level), [])
        pieces.append(text)
        if text.endswith("\n"):
            self._write_record(level)
        return len(text)

    def flush(self) -> None:
        """Write a record without a line end that a handler has written, and all buffered text."""
        if (level := current_level()) is not None:
            self._write_record(level)
        try:
            super().flush()
        except BrokenPipeError:
            forget_unread_outputs()

    def _write_record(self, level: int) -> None:
        text = "".join(self._pending.__dict__.pop(str(level), ()))
        if text.strip("\n"):
            for line in marked_lines(level, self._redact(text), mark=self._mark):
                self._write(line)

    def _write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            # Airflow's process has died. The task will soon be ended, and its teardown may print.
            forget_unread_outputs()
            return len(text)


def forget_unread_outputs() -> None:
    """From now on, discard output to a pipe without a reader."""
    for descriptor in (1, 2):
        outputs = select.poll()
        outputs.register(descriptor, 0)
        if any(event & select.POLLERR for _, event in outputs.poll(0)):
            with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device, not a file
                os.dup2(nowhere.fileno(), descriptor)


def mark_log_records() -> None:
    """From now on, mark log records in the standard streams, if ``DKIST_LOG_MARK`` is set."""
    its = mark()
    if its is None:
        return
    keep_level_of_each_handler()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            marked = MarkedStream(stream, its)
            _kept.append(marked)
            setattr(sys, name, marked)

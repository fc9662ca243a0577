"""
The standard streams of a task whose log is read by Airflow's operator.

Runs in: task environment. What a handler writes while it handles a log record is marked with the level of the record,
whichever handler that is; what the task merely prints stays as it is. See `common.log_lines`.
"""

import io
import sys

from dkist_processing_core.common.log_lines import mark, write_marked
from dkist_processing_core.common.log_records import current_level

__all__ = ["mark_log_records"]

# A stream that is collected closes its file, and the task may put other streams in the place of these.
_kept: list[io.TextIOWrapper] = []


class MarkedStream(io.TextIOWrapper):
    """
    A text stream that marks the lines of log records.

    Parameters
    ----------
    stream
        The stream that it takes the place of.
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
        self._is_at_line_start = True

    def write(self, text: str) -> int:
        """Write a text; return how many characters that were."""
        level = current_level()
        if level is None or not isinstance(text, str):
            if text:
                self._is_at_line_start = text.endswith("\n")
            return super().write(text)
        if text.strip("\n"):
            line = write_marked(level, text, mark=self._mark)
            super().write(line if self._is_at_line_start else f"\n{line}")
            self._is_at_line_start = True
        return len(text)


def mark_log_records() -> None:
    """Let the standard streams mark log records from now on, if ``DKIST_LOG_MARK`` says how."""
    its = mark()
    if its is None:
        return
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            marked = MarkedStream(stream, its)
            _kept.append(marked)
            setattr(sys, name, marked)

"""
Format the error of a task for a person.

Runs in: task environment.
"""

import sys
import sysconfig
import traceback
from pathlib import Path

from dkist_processing_core.common.redaction import redact_urls

__all__ = ["format_error", "last_lines", "summarize"]

LIBRARY = str(Path(__file__).parent.parent) + "/"
LINES = 20
CHARACTERS = 4000
SUMMARY_CHARACTERS = 500
LOG_CHARACTERS = 50_000
LOG_FRAMES = 100


def format_error(error: BaseException) -> str:
    """
    Return the traceback of an error with short paths, without frames of this library and passwords in URLs.

    Parameters
    ----------
    error
        The error. Even if its ``__str__`` raises, this function does not.
    """
    try:
        details = traceback.TracebackException.from_exception(error, limit=-LOG_FRAMES, compact=True)
        _remove_own_frames(details)
        text = _short_paths("".join(details.format())).rstrip("\n")
    except BaseException as problem:  # for example, no memory is left, or the task is being ended
        text = f"The traceback cannot be shown: {type(problem).__name__}\n{summarize(error)}"
    return _truncate(redact_urls(text), LOG_CHARACTERS)


def _remove_own_frames(details: traceback.TracebackException) -> None:
    known: set[int] = set()
    pending = [details]
    while pending:
        each = pending.pop()
        if id(each) not in known:
            known.add(id(each))
            each.stack[:] = [frame for frame in each.stack if not frame.filename.startswith(LIBRARY)]
            causes = (each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ()))
            pending += filter(None, causes)


def _short_paths(text: str) -> str:
    """Return the text with paths relative to the module folders of the environment and the interpreter."""
    for name in ("purelib", "platlib", "stdlib"):
        text = text.replace(f'File "{sysconfig.get_path(name)}/', 'File "')
    return text.replace(f'File "{sys.base_prefix}/', 'File "')


def summarize(error: BaseException) -> str:
    """Return an error in one line, such as ``ValueError: the flat is missing``, without raising."""
    try:
        details = traceback.TracebackException(type(error), error, None, compact=True)
        lines = "".join(details.format_exception_only()).strip().splitlines()
    except BaseException:
        lines = []
    # A syntax error begins with its source line, and an exception may have notes at its end.
    name = type(error).__name__
    line = next(
        (each for each in lines if each.partition(":")[0].rpartition(".")[2] == name), lines[0] if lines else name
    )
    return _truncate(redact_urls(line), SUMMARY_CHARACTERS)


def last_lines(text: str) -> str:
    """Return the end of an error, short enough for a message."""
    return _truncate("\n".join(text.splitlines()[-LINES:]), CHARACTERS)


def _truncate(text: str, limit: int) -> str:
    """Return a redacted text; if it exceeds the limit, only its beginning and end."""
    if len(text) <= limit:
        return text
    mark = f" [... {len(text) - limit} characters removed ...] "
    return f"{text[: limit // 2]}{mark}{text[-(limit // 2) :]}"

"""
The text of an array of requirements: the entries of its author, a comment as the mark, and the pins below it.

Runs in: author and CI. Everything above the mark stays unchanged, including comments.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from dkist_processing_core.exceptions import MissingExtraError

__all__ = ["MARK", "author_entries", "editor", "is_marked", "with_pins"]

MARK = '# Pinned by "dkist-processing-core freeze"; do not edit below.'
MARK_LINE = re.compile(r'^[ \t]*# Pinned by "dkist-processing-core freeze"', re.MULTILINE)
# The end of the last value, if it is followed only by white space and comments, not by a comma.
LAST_VALUE = re.compile(r"""(?<=["'])(?=(?:\s|#[^\n]*)*\Z)""")
INDENT = re.compile(r"""\n([ \t]+)["'#]""")
CLOSING = re.compile(r"\n([ \t]*)\]\Z")
DEFAULT_INDENT = "    "


def editor() -> Any:
    """Return the module that edits TOML without changing its formatting."""
    try:
        import tomlkit
    except ImportError:
        raise MissingExtraError("To freeze dependencies", extra="build") from None
    return tomlkit


def is_marked(array: str) -> bool:
    """Return whether an array has pins that were generated."""
    return MARK_LINE.search(array) is not None


def author_entries(array: str) -> list[str]:
    """Return the entries of an array above the mark; all of them if there is no mark."""
    mark = MARK_LINE.search(array)
    entries: list[str] = tomllib.loads(f"x = {array[: mark.start()]}]" if mark else f"x = {array}")["x"]
    return entries


def with_pins(array: str, pins: Sequence[str], newline: str) -> str:
    """Return the text of an array with the given pins below the mark."""
    indent = found[1] if (found := INDENT.search(array)) else DEFAULT_INDENT
    closing = found[1] if (found := CLOSING.search(array)) else ""
    if mark := MARK_LINE.search(array):
        above = array[: mark.start()].removesuffix("\n").removesuffix("\r")
    elif "\n" in array:
        above = array[:-1].rstrip()
    else:
        above = "[" + "".join(f"{newline}{indent}{each.as_string()}," for each in editor().parse(f"x = {array}")["x"])
    if not _takes_another(above):
        above = LAST_VALUE.sub(",", above, count=1)
    lines = [MARK, *(f"{editor().item(pin).as_string()}," for pin in pins)]
    return above + "".join(f"{newline}{indent}{line}" for line in lines) + f"{newline}{closing}]"


def _takes_another(above: str) -> bool:
    """Return whether another value may follow in an array without its closing bracket."""
    try:
        tomllib.loads(f'x = {above}\n"" ]')
    except tomllib.TOMLDecodeError:
        return False
    return True

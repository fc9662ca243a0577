"""
Values as Python source that a person can read.

Runs in: author and CI.
"""

import ast
from collections.abc import Iterator

__all__ = ["argument", "multiline_literal"]


def multiline_literal(text: str) -> str:
    """Return a literal of the text that shows its lines as they are, if there is one, else its `repr`."""
    literal = f"r'''{text}'''"
    try:
        if ast.literal_eval(literal) == text:
            return literal
    except (SyntaxError, ValueError):
        pass
    return repr(text)


def argument(name: str, value: str, *, indent: int) -> Iterator[str]:
    """Yield the lines of a keyword argument, one source line for each line of its value."""
    space = " " * indent
    lines = value.splitlines(keepends=True)
    if len(lines) <= 1:
        yield f"{space}{name}={value!r},"
        return
    yield f"{space}{name}=("
    yield from (f"{space}    {line!r}" for line in lines)
    yield f"{space}),"

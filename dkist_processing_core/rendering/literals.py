"""
Values as Python source that a person can read.

Runs in: author and CI.
"""

import ast
from collections.abc import Iterator

__all__ = ["argument", "literal", "multiline_literal"]


def literal(value: object) -> str:
    """Return the `repr` of a text, a number or a list of texts, with double quotes where Python has the choice."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str) and '"' not in value:
        # Python shows a text in double quotes if there is a single one in it, and no double one.
        return f'"{repr(chr(39) + value)[2:]}'
    # The repr of a derived type, as of an enum or of NumPy, may be no literal.
    return next(kind for kind in (str, int, float) if isinstance(value, kind)).__repr__(value)


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
        yield f"{space}{name}={literal(value)},"
        return
    yield f"{space}{name}=("
    yield from (f"{space}    {literal(line)}" for line in lines)
    yield f"{space}),"

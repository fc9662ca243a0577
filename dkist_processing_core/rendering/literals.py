"""
Values as Python source that a person can read.

Runs in: author and CI.
"""

import ast
from collections.abc import Iterator

__all__ = ["argument", "literal", "multiline_literal"]


def literal(value: object) -> str:
    """Return the `repr` of a text, a number or a list of texts, with double quotes if both kinds are possible."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str) and '"' not in value:
        # `repr` uses double quotes for a text with a single quote and without a double quote.
        return f'"{repr(chr(39) + value)[2:]}'
    # The repr of a derived type, such as an enum or one of NumPy's, may not be a literal.
    return next(kind for kind in (str, int, float) if isinstance(value, kind)).__repr__(value)


def multiline_literal(text: str) -> str:
    """Return a triple-quoted literal with the lines of the text if possible, otherwise its `repr`."""
    literal = f"r'''{text}'''"
    try:
        if ast.literal_eval(literal) == text:
            return literal
    except (SyntaxError, ValueError):
        pass
    return repr(text)


def argument(name: str, value: str, *, indent: int) -> Iterator[str]:
    """Yield the source lines of a keyword argument, one for each line of its value."""
    space = " " * indent
    lines = value.splitlines(keepends=True)
    if len(lines) <= 1:
        yield f"{space}{name}={literal(value)},"
        return
    yield f"{space}{name}=("
    yield from (f"{space}    {literal(line)}" for line in lines)
    yield f"{space}),"

"""
A notebook as a Markdown document, made of the standard library alone.

Runs in: task environment, inside of a notebook, where nbconvert is not installed. It shows the texts of outputs and
names the pictures and the like that it leaves out. The format of the file is nbformat 4.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["markdown_document"]

FORMAT = 4
TERMINAL_CODE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
TEXTS = ("text/markdown", "text/latex", "text/plain")


def markdown_document(text: str) -> str:
    """
    Return the document.

    Parameters
    ----------
    text
        What the file of the notebook holds.

    Raises
    ------
    ValueError
        If that is no notebook of format 4.
    """
    try:
        notebook = json.loads(text)
        if notebook["nbformat"] != FORMAT:
            raise ValueError(f"it is a notebook of format {notebook['nbformat']}, not {FORMAT}")
        return "\n\n".join(_blocks(notebook)) + "\n"
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it is no notebook: {type(error).__name__}: {error}") from error


def _blocks(notebook: Mapping[str, Any]) -> Iterator[str]:
    language = notebook.get("metadata", {}).get("language_info", {}).get("name", "python")
    for cell in notebook["cells"]:
        source = _joined(cell["source"])
        if cell["cell_type"] != "code":
            yield source.rstrip("\n")
            continue
        if source.strip():
            yield _fenced(source, language)
        for output in cell.get("outputs", ()):
            yield from _output(output)


def _output(output: Mapping[str, Any]) -> Iterator[str]:
    kind = output["output_type"]
    if kind == "stream":
        yield _indented(_joined(output["text"]))
        return
    if kind == "error":
        yield _indented("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}")
        return
    data = output["data"]
    shown = next((each for each in TEXTS if each in data), None)
    if shown == "text/plain":
        yield _indented(_joined(data[shown]))
    elif shown:
        yield _joined(data[shown]).rstrip("\n")
    left_out = sorted(each for each in data if each not in TEXTS)
    if left_out:
        yield f"*Not shown: {', '.join(left_out)}*"


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def _fenced(code: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code.rstrip(chr(10))}\n{fence}"


def _indented(text: str) -> str:
    lines = TERMINAL_CODE.sub("", text).rstrip("\n").split("\n")
    return "\n".join(f"    {line}".rstrip() for line in lines)

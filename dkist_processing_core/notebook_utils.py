"""
Wait, inside a notebook, until it is saved, and export it as a Markdown document.

Runs in: task environment, inside a notebook. nbconvert is imported when it is used. The extra ``build`` installs it.
"""

import sys
import time
from pathlib import Path
from uuid import uuid4

from dkist_processing_core.exceptions import MissingExtraError

__all__ = ["export_notebook_by_path", "wait_for_notebook_save"]


def wait_for_notebook_save(
    notebook_path: str | Path, sentinel: str | None = None, attempts: int = 120, delay_s: float = 1
) -> None:
    """
    Wait until the file of a running notebook contains its output so far.

    The front end of a notebook saves the file from time to time. This function prints a unique text into the output of
    the running cell. Once the file contains this text, it contains everything that was printed before.

    Parameters
    ----------
    notebook_path
        The file of the notebook.
    sentinel
        The text to print and to wait for. The default is a random one.
    attempts
        Maximum number of checks of the file.
    delay_s
        Time between two checks, in seconds.

    Raises
    ------
    TimeoutError
        If the file does not contain the text at the last check.
    """
    sentinel = sentinel or uuid4().hex
    sys.stdout.write(f"Waiting until {notebook_path} is saved with this line: {sentinel}\n")
    sys.stdout.flush()
    for attempt in range(attempts):
        if attempt:
            time.sleep(delay_s)
        if sentinel in Path(notebook_path).read_text(encoding="utf-8"):
            return
    raise TimeoutError(
        f"the notebook {notebook_path} was not saved within {attempts} checks, {delay_s} s apart. "
        "Save it, or turn on the autosave of its front end, and run the cell again."
    )


def export_notebook_by_path(notebook_path: str | Path) -> bytes:
    """
    Return a notebook, with its outputs, as a Markdown document.

    Parameters
    ----------
    notebook_path
        The file of the notebook (nbformat).

    Returns
    -------
    bytes
        The document, in UTF-8.

    Raises
    ------
    MissingExtraError
        If nbconvert is not installed. It is also an `ImportError`.
    ValueError
        If the file is not a notebook.
    """
    try:
        import nbformat
        from nbconvert import MarkdownExporter
    except ImportError as error:
        raise MissingExtraError("Exporting a notebook as a document", extra="build") from error
    try:
        notebook = nbformat.read(notebook_path, as_version=nbformat.NO_CONVERT)
        body, _ = MarkdownExporter().from_notebook_node(notebook)
    except (nbformat.ValidationError, AttributeError) as error:
        raise ValueError(f"{notebook_path} is not a notebook: {type(error).__name__}: {error}") from error
    return str(body).encode()

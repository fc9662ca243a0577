"""
What a task in a notebook needs: wait until the notebook is saved, and turn it into a document.

Runs in: task environment, inside of a notebook. The exporter of choice comes with the extra ``build`` and is imported
when it is used.
"""

import logging
import sys
import time
from pathlib import Path
from uuid import uuid4

__all__ = ["export_notebook_by_path", "wait_for_notebook_save"]

logger = logging.getLogger(__name__)


def wait_for_notebook_save(
    notebook_path: str | Path, sentinel: str | None = None, attempts: int = 120, delay_s: float = 1
) -> None:
    """
    Wait until what a running notebook has put out so far is in its file.

    The front end of the notebook saves the file every now and then. A text that is found nowhere else is printed into
    the output of the cell that is running; once it is in the file, so is all that was put out before.

    Parameters
    ----------
    notebook_path
        The file of the notebook.
    sentinel
        The text to print and to wait for, one made for this call by default.
    attempts
        How often to look.
    delay_s
        Time between two looks, in seconds.

    Raises
    ------
    TimeoutError
        If the text is not in the file after the last look.
    """
    sentinel = sentinel or uuid4().hex
    sys.stdout.write(f"Waiting until {notebook_path} is saved with this line in it: {sentinel}\n")
    sys.stdout.flush()
    for attempt in range(attempts):
        if attempt:
            time.sleep(delay_s)
        if sentinel in Path(notebook_path).read_text(encoding="utf-8"):
            return
    raise TimeoutError(
        f"the notebook {notebook_path} was not saved within {attempts} looks, {delay_s} s apart. "
        "Save it, or see to it that its front end saves it by itself, and run the cell again."
    )


def export_notebook_by_path(notebook_path: str | Path) -> bytes:
    """
    Return a notebook, with its outputs, as a Markdown document.

    nbconvert makes it if that is installed, as it is with the extra ``build`` and with Jupyter's servers. Without it
    the document holds the texts, the code and what was put out as text, and names what it leaves out. A task that
    keeps its notebook does so at its very end, and does not fail for want of an exporter.

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
    ValueError
        If the file is no notebook, or one of an older format than 4 and nbconvert is not installed.
    """
    try:
        import nbformat
        from nbconvert import MarkdownExporter
    except ImportError:
        from dkist_processing_core.notebook_document import markdown_document

        logger.info("nbconvert is not installed; the document of the notebook has no pictures")
        return markdown_document(Path(notebook_path).read_text(encoding="utf-8")).encode()
    notebook = nbformat.read(notebook_path, as_version=nbformat.NO_CONVERT)
    body, _ = MarkdownExporter().from_notebook_node(notebook)
    return str(body).encode()

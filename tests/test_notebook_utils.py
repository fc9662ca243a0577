"""What a task in a notebook needs."""

import sys
import threading
import time

import pytest

from dkist_processing_core.exceptions import MissingExtraError
from dkist_processing_core.notebook_utils import export_notebook_by_path, wait_for_notebook_save

nbformat = pytest.importorskip(
    "nbformat", reason="nbformat is not installed (pip install 'dkist-processing-core[build]')"
)


@pytest.fixture
def notebook(tmp_path):
    """The file of a notebook that has run."""
    file = tmp_path / "notebook.ipynb"
    output = nbformat.v4.new_output("stream", text="2\n")
    cells = [
        nbformat.v4.new_markdown_cell("# Recipe run 1"),
        nbformat.v4.new_code_cell("print(1 + 1)", outputs=[output]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    return file


def test_a_notebook_becomes_a_document(notebook):
    """With text, code and output."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed (pip install 'dkist-processing-core[build]')")
    document = export_notebook_by_path(notebook).decode()
    assert "# Recipe run 1" in document
    assert "print(1 + 1)" in document
    assert "    2\n" in document


def test_a_missing_exporter_is_an_error_that_says_what_to_install(notebook, monkeypatch):
    """With the command to type."""
    monkeypatch.setitem(sys.modules, "nbconvert", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dkist-processing-core\[build\]'"):
        export_notebook_by_path(notebook)


@pytest.mark.parametrize("text", ["[]", '{"nbformat": 4}', "no json", ""], ids=["list", "cells", "text", "empty"])
def test_what_is_not_a_notebook_is_a_value_error(tmp_path, text):
    """Not a document with nothing in it."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed (pip install 'dkist-processing-core[build]')")
    file = tmp_path / "notebook.ipynb"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"notebook|JSON"):
        export_notebook_by_path(file)


def test_the_wait_ends_once_the_notebook_is_saved(notebook, capsys):
    """The text that is waited for is printed, since that is how it gets into the file."""

    def save():
        time.sleep(0.1)
        notebook.write_text(notebook.read_text() + "here it is")

    thread = threading.Thread(target=save)
    thread.start()
    wait_for_notebook_save(notebook, sentinel="here it is", attempts=100, delay_s=0.05)
    thread.join()
    assert "here it is" in capsys.readouterr().out


def test_the_wait_has_a_bound(notebook):
    """It says which notebook was not saved, and what to do."""
    with pytest.raises(TimeoutError, match="notebook.ipynb was not saved within 3 checks, 0.01 s apart. Save it"):
        wait_for_notebook_save(notebook, attempts=3, delay_s=0.01)

"""What a task in a notebook needs."""

import json
import sys
import threading
import time

import pytest

from dkist_processing_core.notebook_document import markdown_document
from dkist_processing_core.notebook_utils import export_notebook_by_path, wait_for_notebook_save

NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Recipe run 1"},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "execution_count": 1,
            "source": "print(1 + 1)",
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "2\n"}],
        },
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture
def notebook(tmp_path):
    """The file of a notebook that has run."""
    file = tmp_path / "notebook.ipynb"
    file.write_text(json.dumps(NOTEBOOK))
    return file


def test_a_notebook_becomes_a_document(notebook):
    """With text, code and output."""
    pytest.importorskip("nbconvert", reason="nbconvert is not installed (pip install 'dkist-processing-core[build]')")
    document = export_notebook_by_path(notebook).decode()
    assert "# Recipe run 1" in document
    assert "print(1 + 1)" in document
    assert "    2\n" in document


def test_without_the_exporter_the_document_is_plainer(notebook, monkeypatch):
    """Text, code and output are there all the same, since a task must not fail at its very end."""
    monkeypatch.setitem(sys.modules, "nbconvert", None)
    assert export_notebook_by_path(notebook) == b"# Recipe run 1\n\n```python\nprint(1 + 1)\n```\n\n    2\n"


def test_the_plainer_document_shows_every_kind_of_output():
    """As text, without the colours of a terminal; what is no text is named, and no code ends its own block."""
    outputs = [
        {"output_type": "stream", "name": "stderr", "text": ["\x1b[31mred\x1b[0m\n", "end\n"]},
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AA==", "text/plain": "<Figure>"}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": ["*a*"], "text/plain": "a"}},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["Traceback", "E: v"]},
    ]
    cells = [
        {"cell_type": "raw", "metadata": {}, "source": ["raw\n", "text"]},
        {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": "'```'", "outputs": outputs},
    ]
    metadata = {"language_info": {"name": "julia"}}
    text = json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    assert markdown_document(text).split("\n\n") == [
        "raw\ntext",
        "````julia\n'```'\n````",
        "    red\n    end",
        "    <Figure>",
        "*Not shown: image/png*",
        "*a*",
        "    Traceback\n    E: v\n",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "it is no notebook"),
        ('{"nbformat": 4}', "it is no notebook: KeyError: 'cells'"),
        ('{"nbformat": 3, "worksheets": []}', "it is a notebook of format 3, not 4"),
        ("no json", "Expecting value"),
    ],
    ids=["list", "cells", "format", "json"],
)
def test_what_is_no_notebook_is_a_value_error(text, fault):
    """The message says what is wrong."""
    with pytest.raises(ValueError, match=fault):
        markdown_document(text)


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
    with pytest.raises(TimeoutError, match="notebook.ipynb was not saved within 3 looks, 0.01 s apart. Save it"):
        wait_for_notebook_save(notebook, attempts=3, delay_s=0.01)

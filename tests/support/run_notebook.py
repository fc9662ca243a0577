"""
Run a notebook from first to last cell, as papermill does: with a value for ``recipe_run_id`` behind the parameters.

A program of its own, so that the kernel's client, with its threads and sockets, is not in the process of the tests:
``python run_notebook.py NOTEBOOK RESULT RECIPE_RUN_ID``. What ran is in RESULT, also if a cell failed.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

notebook = nbformat.read(sys.argv[1], as_version=4)
[place] = [number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
notebook.cells.insert(place + 1, new_code_cell(f"recipe_run_id = {sys.argv[3]}"))
client = NotebookClient(
    notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(Path(sys.argv[1]).parent)}}
)
status = 0
try:
    client.execute()
except CellExecutionError:
    status = 1
nbformat.write(notebook, sys.argv[2])
sys.exit(status)

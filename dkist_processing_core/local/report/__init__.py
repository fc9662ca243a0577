"""
The report of a local run, as an HTML page, or as figures in CSV or JSON.

Runs in: author and CI. `data` reads the folder of a run, `layout` and `timeline` compute positions, and `page` draws.
"""

import csv
import io
import json
import os
from pathlib import Path

from dkist_processing_core.common.atomic import write_files
from dkist_processing_core.common.redaction import redactor
from dkist_processing_core.local.report.data import FIGURES, figures, read, task_details
from dkist_processing_core.local.report.page import page

__all__ = ["FORMATS", "REPORT", "render", "write"]

REPORT = "report.html"
FORMATS = ("html", "csv", "json")


def render(folder: Path, form: str = FORMATS[0]) -> bytes:
    """
    Return the report of a run: a page that loads nothing else, or the figures of each try as CSV or JSON.

    Raises
    ------
    LocalRunError
        If the run was killed before its first event.
    """
    told = read(folder)
    if form == "html":
        return page(told, task_details(told, redactor(os.environ)))
    if form == "json":
        return json.dumps(figures(told), indent=2).encode() + b"\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, FIGURES, lineterminator="\n")
    writer.writeheader()
    writer.writerows(figures(told))
    return text.getvalue().encode(errors="backslashreplace")


def write(folder: Path, file: Path, form: str = FORMATS[0]) -> Path:
    """Write the report of a run, completely or not at all, and return its file."""
    write_files(file.parent, {file.name: render(folder, form)})
    return file

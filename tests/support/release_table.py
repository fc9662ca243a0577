"""What is known of a release, a line for each part and a table of its installations, from what pytest reports."""

import re
from collections.abc import Iterator

INSTALLATION = re.compile(r"test_installations\.py::\w+\[(.+)-(.+)-(lowest-direct|highest)-(.+)-(.+)\]$")
HEADER = ("Python", "installer", "resolution", "archive", "extra", "outcome")
# Of the files whose tests are parts of a release. What each of them claims is the first line of its docstring.
PART = re.compile(r"test_(?:archives|pipelines)\.py::test_(\w+(?:\[.+\])?)$")
OUTCOMES = {"passed": "ok", "failed": "FAILED", "error": "FAILED", "skipped": "not tried"}


def aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def lines(reports: list) -> Iterator[str]:
    """Yield the lines, none if no installation is among the reports."""
    parts, table = {}, {}
    for report in reports:
        outcome = OUTCOMES[report.outcome]
        if found := INSTALLATION.search(report.nodeid):
            reason = f": {report.longrepr[2].rpartition('optional: ')[2]}" if report.skipped else ""
            table[found.groups()] = f"{outcome}{reason}"
        elif found := PART.search(report.nodeid):
            parts[found[1].replace("_", " ")] = outcome
    if not table:
        return
    yield from (f"{outcome}: {text}" for text, outcome in parts.items())
    rows = [HEADER, *((*row, outcome) for row, outcome in sorted(table.items(), key=lambda item: _order(item[0])))]
    yield from aligned(rows)


def _order(row: tuple[str, ...]) -> tuple[object, ...]:
    python, installer, resolution, archive, extra = row
    return extra != "base", extra, archive != "wheel", python, installer != "uv", resolution == "highest"

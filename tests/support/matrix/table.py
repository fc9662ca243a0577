"""The matrix as a table, made from what pytest reports."""

import re
from collections.abc import Iterator

from support.matrix.environments import versions
from support.matrix.files import OURS
from support.release_table import aligned

CHECKS = ("load", "serialise", "run", "fail", "refuse")
NAME = re.compile(r"test_matrix\.py::test_(\w+)\[(.+)-([^-\]]+)\]$")
NOTES = (
    "[1] The file imports airflow.operators.bash, which is deprecated in Airflow 3.",
    "[2] Its start_date is two days before the day on which it is loaded.",
    "[3] It accepts any recipe run id; the first task fails, with a message.",
)


def lines(reports: list) -> Iterator[str]:
    """Yield the table, nothing if the reports have none of it."""
    cells, of_version = read(reports)
    if not cells:
        return
    groups = [OURS, *versions("published")]
    order = versions("airflow")
    rows = sorted({row[:2] for row in cells}, key=lambda row: (groups.index(row[1]), order.index(row[0])))
    table = [("exported by", "Airflow", *CHECKS, "seconds")]
    for version, group in rows:
        found = (cells.get((version, group, check), "?") for check in CHECKS)
        exporter, seconds = ("this library", of_version.get(version, "")) if group == OURS else (group, "")
        table.append((exporter, version, *found, seconds))
    yield from aligned(table)
    yield from (note for note in NOTES if any(note[:3] in cell for cell in cells.values()))


def read(reports: list) -> tuple[dict[tuple[str, str, str], str], dict[str, str]]:
    """Return the cells by version, exporter and check, and by version the duration, or why it was not tried."""
    cells, of_version = {}, {}
    for report in reports:
        match = NAME.search(report.nodeid)
        if not match or match[1] not in CHECKS:
            continue
        check, version, group = match.groups()
        properties = dict(report.user_properties)
        outcomes = {"passed": properties.get("cell", "ok"), "failed": "FAILED", "skipped": "-"}
        cells[version, group, check] = outcomes[report.outcome]
        if "seconds" in properties:
            of_version[version] = f"{properties['seconds'][0]:.0f}"
        if "same as" in properties:
            of_version[version] = f"is {properties['same as']}"
    return cells, of_version

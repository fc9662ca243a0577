"""
What ``dkist-processing-core dags retire`` reports about each release.

Runs in: terminal of the scheduler's machine.
"""

from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from dkist_processing_core.cli.tables import plain
from dkist_processing_core.common.quantities import size

if TYPE_CHECKING:
    from dkist_processing_core.deployment.artifacts import Artifacts
    from dkist_processing_core.deployment.releases import Deployed, Release

__all__ = ["left_behind", "print_report", "report"]


def report(release: "Release", state: str, reasons: Iterable[str] = ()) -> dict[str, Any]:
    """Return the report on one release: what was or would be done, or the reasons against it."""
    return {
        "releases": list(release.names),
        "dag_ids": release.dag_ids,
        "files": [each.path for each in release.files],
        "state": state,
        "reasons": list(reasons),
    }


def left_behind(release: "Release", remaining: "Deployed", owned: "Artifacts") -> dict[str, Any]:
    """Return the environments and wheels of a release, and for each whether another release still needs it."""
    from dkist_processing_core.deployment.artifacts import normalized

    needed = {each.path for each in owned.environments_of(remaining.files)}
    requirements = {normalized(one) for each in remaining.releases for one in each.requirements}
    wheels = set(owned.wheels_of(remaining.files))
    return {
        "environments": [
            {
                "name": each.name,
                "size": each.size,
                "is_in_use": each.is_in_use,
                "is_needed_by_others": each.path in needed,
            }
            for each in owned.environments_of(release.files)
        ],
        "wheels": [
            {"path": str(each), "is_needed_by_others": each in wheels} for each in owned.wheels_of(release.files)
        ],
        "requirements": [
            {"requirement": each, "is_needed_by_others": normalized(each) in requirements}
            for each in release.requirements
        ],
    }


def print_report(report: dict[str, Any], release: "Release", dags: Path, archive: Path) -> None:
    """Print the report on one release."""
    lines = []
    if report["state"] == "refused":
        if "would_be_paused" in report:
            lines = [f"cannot be retired: {release.name}", *(f"    {each}" for each in report["reasons"])]
    elif report["state"] == "retired":
        lines = [f"retired: {dags / each}" for each in report["files"]]
        lines.append(f"archived in: {report['archived_as']}")
    else:
        lines = [f"would be retired: {dags / each}" for each in report["files"]]
        lines += [f"would be removed from {each}: its entries" for each in report["manifests"]]
        lines += [f"would be paused in Airflow: {each}" for each in report["would_be_paused"]]
        lines += [f"{release.name} would be moved to {archive}"]
    for each in lines:
        click.echo(plain(each))
    for line in _left_lines(report):
        click.echo(plain(line))


def _left_lines(report: dict[str, Any]) -> Iterable[str]:
    removable = []
    for each in report.get("environments", ()):
        needed = "still needed by other files" if each["is_needed_by_others"] else None
        use = "in use" if each["is_in_use"] else None
        yield f"environment: {each['name']}, {size(each['size'])}, {needed or use or 'no longer needed here'}"
        removable += [] if needed or use else [each["name"]]
    if removable:
        yield f"to remove it: dkist-processing-core environments remove {' '.join(map(quote, removable))}"
    for each in report.get("wheels", ()):
        needed = "still needed by other files" if each["is_needed_by_others"] else "no longer needed here"
        yield f"wheel: {each['path']}, {needed}"
    for each in report.get("requirements", ()):
        if not each["is_needed_by_others"]:
            yield (
                f"on the workers, environments of {each['requirement']} are removed by: "
                "dkist-processing-core environments prune --older-than 30d"
            )

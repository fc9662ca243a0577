"""
``dkist-processing-core dags``: the releases in a DAG folder.

Runs in: terminal of the scheduler's machine.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dkist_processing_core.cli.dag_options import airflow_option, archive_option, connected, dags_option, in_state
from dkist_processing_core.cli.dag_retirement import restore, retire
from dkist_processing_core.cli.environment_names import folder_option
from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import age, plain, progress, say, table
from dkist_processing_core.common.quantities import size
from dkist_processing_core.common.settings import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dkist_processing_core.deployment.activity import Activity
    from dkist_processing_core.deployment.archive import Record
    from dkist_processing_core.deployment.artifacts import Artifacts
    from dkist_processing_core.deployment.releases import Deployed, Release

__all__ = ["dags"]

NAMED = 20


@click.group(short_help="List, retire and restore the releases in a DAG folder.")
def dags() -> None:
    """List, retire and restore the releases in a DAG folder."""


for each in (retire, restore):
    dags.add_command(each)


@dags.command("list")
@dags_option
@airflow_option
@archive_option
@folder_option
@json_option
def list_command(dags: Path, address: str | None, archive: Path | None, folder: Path | None, is_json: bool) -> None:
    """
    List the releases in a DAG folder, one per line.

    A release is a distribution and a version. With --airflow, its runs are shown: how many are queued or running, and
    the time of the last one. Files that were not exported by this library are listed at the end.
    """
    from dkist_processing_core.deployment.activity import activities
    from dkist_processing_core.deployment.archive import archive_of, records_of
    from dkist_processing_core.deployment.artifacts import artifacts
    from dkist_processing_core.deployment.releases import deployed

    api = connected(address)
    place = archive_of(dags, archive)
    with progress(f"Reading {dags}"):
        found = deployed(dags)
        looks = activities(api, found.dag_ids) if api else None
        owned = artifacts(folder or cache_folder())
    archived = records_of(dags, place)
    if is_json:
        releases = [_as_data(each, looks, owned) for each in found.releases]
        retired = [
            {"name": each.name, "releases": each.releases, "dag_ids": each.dag_ids, "retired_at": each.retired_at}
            | {"is_complete": each.is_complete, "reason": each.reason}
            for each in archived
        ]
        others = [{"file": file, "reason": reason} for file, reason in found.others.items()]
        data = {"releases": releases, "others": others, "remarks": list(found.remarks), "retired": retired}
        click.echo(json.dumps(data, indent=2))
        return
    _print(found, looks, owned)
    _print_retired(place, archived)
    lines = [f"{file}: {reason}" for file, reason in found.others.items()]
    for each in [*lines[:NAMED], *found.remarks[:NAMED]]:
        say(plain(each).replace("\n", "\\n"), err=True)
    if (more := len(lines[NAMED:]) + len(found.remarks[NAMED:])) > 0:
        say(f"and {more} more, see --json", err=True)


def _print(found: "Deployed", looks: "Mapping[str, Activity] | None", owned: "Artifacts") -> None:
    if not found.releases:
        click.echo(f"There are no exported DAG files in {found.folder}.")
        return
    header, rows = ["release", "DAGs", "files"], []
    header += ["runs", "last run", "paused"] if looks is not None else []
    header += ["environments"] if owned.environments else []
    header += ["wheel"] if owned.wheels else []
    for each in found.releases:
        row = [each.name, str(len(each.dag_ids)), str(len(each.files))]
        row += _activity(each, looks) if looks is not None else []
        if owned.environments:
            environments = owned.environments_of(each.files)
            row.append("\n".join(f"{size(one.size)} {in_state(one)}" for one in environments) or "-")
        if owned.wheels:
            row.append("\n".join(wheel.name for wheel in owned.wheels_of(each.files)) or "-")
        rows.append([*map(plain, row), plain("\n".join(each.requirements))])
    table([*header, "requirement"], rows)
    click.echo(f"{len(found.releases)} in {found.folder}, {len(found.dag_ids)} DAGs in {len(found.files)} files")


def _activity(release: "Release", looks: "Mapping[str, Activity]") -> list[str]:
    known = [looks[each] for each in release.dag_ids if looks[each].is_known]
    if not known:
        return ["-", "not known to Airflow", "-"]
    counts = _counts(release, looks)
    runs = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    last = _last(release, looks)
    paused = sum(each.is_paused for each in known)
    some = f"{paused} of {len(known)}"
    return [runs or "-", age(last) if last else "none", {0: "no", len(known): "yes"}.get(paused, some)]


def _counts(release: "Release", looks: "Mapping[str, Activity]") -> dict[str, int]:
    states = [run.get("state") for each in release.dag_ids for run in looks[each].active]
    return {state: states.count(state) for state in ("running", "queued")}


def _last(release: "Release", looks: "Mapping[str, Activity]") -> datetime | None:
    return max(filter(None, (looks[each].last for each in release.dag_ids)), default=None)


def _as_data(release: "Release", looks: "Mapping[str, Activity] | None", owned: "Artifacts") -> dict[str, Any]:
    data: dict[str, Any] = {
        "releases": list(release.names),
        "dag_ids": release.dag_ids,
        "files": [each.path for each in release.files],
        "requirements": release.requirements,
        "environments": [
            {"name": each.name, "size": each.size, "is_in_use": each.is_in_use}
            for each in owned.environments_of(release.files)
        ],
        "wheels": [os.fspath(each) for each in owned.wheels_of(release.files)],
    }
    if looks is not None:
        last = _last(release, looks)
        data |= _counts(release, looks)
        data["last_active"] = last.isoformat(timespec="seconds") if last else None
        data["paused"] = [each for each in release.dag_ids if looks[each].is_paused]
        data["not_known_to_airflow"] = [each for each in release.dag_ids if not looks[each].is_known]
    return data


def _print_retired(archive: Path, archived: "list[Record]") -> None:
    complete = [each for each in archived if each.is_complete]
    if complete:
        names = dict.fromkeys(name for each in complete for name in each.releases)
        shown = ", ".join([*names][:NAMED]) + (", ..." if len(names) > NAMED else "")
        click.echo(plain(f"{len(complete)} retired in {archive}: {shown}"))
    for each in archived:
        if not each.is_complete:
            say(f"Warning: retiring or restoring {', '.join(each.releases)} was interrupted; run it again", err=True)

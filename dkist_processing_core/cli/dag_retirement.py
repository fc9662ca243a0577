"""
``dkist-processing-core dags retire`` and ``restore``: move releases out of a DAG folder, and back.

Runs in: terminal of the scheduler's machine.
"""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dkist_processing_core.cli.dag_options import (
    airflow_option,
    archive_option,
    connected,
    dags_option,
    release_arguments,
)
from dkist_processing_core.cli.dag_report import left_behind, print_report, report
from dkist_processing_core.cli.environment_names import folder_option
from dkist_processing_core.cli.options import json_option
from dkist_processing_core.cli.tables import plain, say
from dkist_processing_core.common.settings import cache_folder
from dkist_processing_core.exceptions import AirflowApiError, RetirementError, did_you_mean

if TYPE_CHECKING:
    from dkist_processing_core.deployment.archive import Record
    from dkist_processing_core.deployment.releases import Deployed, Release

__all__ = ["restore", "retire"]


@click.command(short_help="Move releases without active runs to an archive.")
@release_arguments
@dags_option
@airflow_option
@click.option("--airflow-is-stopped", is_flag=True, help="Do not query Airflow, because its scheduler is stopped.")
@archive_option
@click.option("--reason", default="", metavar="TEXT", help="Reason, recorded in the archive.")
@folder_option
@click.option("--dry-run", is_flag=True, help="Show what would be done and what prevents it; change nothing.")
@json_option
@click.pass_context
def retire(  # noqa: PLR0913 - one for each option
    context: click.Context,
    *,
    names: tuple[str, ...],
    dags: Path,
    address: str | None,
    airflow_is_stopped: bool,
    archive: Path | None,
    reason: str,
    folder: Path | None,
    dry_run: bool,
    is_json: bool,
) -> None:
    """
    Move the DAG files of releases to an archive, if none of their runs is queued or running.

    RELEASE is a distribution and its version, such as dkist-processing-cam==1.1.0, or a DAG, which stands for the file
    that contains it. Its DAGs are paused, and "restore" brings everything back. Environments and wheels stay; they are
    listed with the command that removes them. The exit status is 1 if a release is in use.
    """
    from dkist_processing_core.deployment import retirement
    from dkist_processing_core.deployment.archive import archive_of
    from dkist_processing_core.deployment.artifacts import artifacts
    from dkist_processing_core.deployment.releases import deployed

    _check(address, airflow_is_stopped=airflow_is_stopped)
    place = archive_of(dags, archive)
    api = connected(address)
    say_aside = partial(say, err=True)
    if dry_run:
        _name_unfinished(dags, place)
    else:
        for each in retirement.recover(place, dags, api, say_aside):
            say_aside(f"put back, since its retirement or restoration was interrupted: {_label(each)}")
    found = deployed(dags)
    chosen = _chosen(names, found)
    owned = artifacts(folder or cache_folder())
    done, is_answered = [], True
    for release in chosen:
        try:
            if dry_run:
                seen = retirement.plan(release, found, api)
                said = report(release, "refused" if seen.reasons else "possible", seen.reasons)
                said |= {"would_be_paused": list(seen.to_pause), "manifests": list(map(str, seen.manifests))}
            else:
                record = retirement.retire(release, found, api, archive=place, reason=reason)
                said = report(release, "retired") | {"archived_as": str(record.folder)}
        except (AirflowApiError, RetirementError) as error:
            say_aside(plain(f"Error: {error}"))
            said = report(release, "refused", [str(error)])
            is_answered = not isinstance(error, AirflowApiError)
        if said["state"] != "refused":
            found = found.without(release)
            said |= left_behind(release, found, owned)
        if not is_json:
            print_report(said, release, dags, place)
        done.append(said)
        if not is_answered:  # each further request may take as long as a time-out
            break
    if is_json:
        click.echo(json.dumps(done, indent=2))
    context.exit(1 if any(each["state"] == "refused" for each in done) else 0)


@click.command(short_help="Bring retired releases back from the archive.")
@release_arguments
@dags_option
@airflow_option
@archive_option
@json_option
def restore(names: tuple[str, ...], dags: Path, address: str | None, archive: Path | None, is_json: bool) -> None:
    """
    Bring the files of retired releases back from the archive, with their entries in the manifest.

    RELEASE is what was given to "retire", or the name of a folder in the archive. With --airflow, DAGs that were not
    paused before are unpaused. A file that exists with different content is never replaced.
    """
    from dkist_processing_core.deployment import retirement
    from dkist_processing_core.deployment.archive import archive_of

    place = archive_of(dags, archive)
    api = connected(address)
    say_aside = partial(say, err=True)
    finished = retirement.recover(place, dags, api, say_aside)
    chosen, files = [], []
    for name in names:
        if any(_is_named(name, each) for each in finished):
            files += [dags / path for each in finished if _is_named(name, each) for path in each.files]
            continue
        chosen += _archived(name, dags, place)
    chosen = [*{each.name: each for each in chosen}.values()]
    _check_once(chosen)
    files += retirement.restore(chosen, place, dags, api, say_aside)
    if is_json:
        click.echo(json.dumps([str(each) for each in files], indent=2))
        return
    for each in files:
        click.echo(plain(f"restored: {each}"))


def _check(address: str | None, *, airflow_is_stopped: bool) -> None:
    if airflow_is_stopped and address:
        raise click.UsageError("--airflow and --airflow-is-stopped are mutually exclusive.")
    if not (airflow_is_stopped or address):
        raise click.UsageError(
            "active runs are unknown: give the address of Airflow's API server with --airflow, or give "
            "--airflow-is-stopped if its scheduler is stopped."
        )


def _name_unfinished(dags: Path, archive: Path) -> None:
    from dkist_processing_core.deployment.archive import records_of

    for each in records_of(dags, archive):
        if not each.is_complete:
            say(f"Warning: {_label(each)} was interrupted; it would be undone first", err=True)


def _label(record: "Record") -> str:
    return plain(", ".join(record.releases))


def _chosen(names: Iterable[str], found: "Deployed") -> "list[Release]":
    names = list(dict.fromkeys(names))
    chosen: list[Release] = []
    for name in names:
        matches = [each for each in found.releases if name in each.names]
        parts = [each.part(name) for each in found.releases if name in each.dag_ids]
        if not (matches or parts):
            known = [*(one for each in found.releases for one in each.names), *found.dag_ids]
            raise click.UsageError(
                f"{name!r} is neither a release nor a DAG in {found.folder}{did_you_mean(name, known)}. "
                'See "dkist-processing-core dags list".'
            )
        if matches and (others := [each for each in matches[0].names if each not in names]):
            raise click.UsageError(f"a file of {name} also contains workflows of {', '.join(others)}; name it as well.")
        chosen += matches or parts
    # The largest first, so that a part of another choice is dropped.
    kept: list[Release] = []
    for each in sorted(chosen, key=lambda each: -len(each.files)):
        if not any({file.path for file in each.files} <= {file.path for file in other.files} for other in kept):
            kept.append(each)
    return sorted(kept, key=chosen.index)


def _is_named(name: str, record: "Record") -> bool:
    return name == record.name or name in record.releases or name in record.dag_ids


def _archived(name: str, dags: Path, archive: Path) -> "list[Record]":
    from dkist_processing_core.deployment.archive import records, records_of

    known, everything = records_of(dags, archive), records(archive)
    found = [each for each in known if _is_named(name, each)] or [each for each in everything if each.name == name]
    if not found:
        if others := [each for each in everything if _is_named(name, each)]:
            raise click.UsageError(
                f"{name!r} was retired from {others[-1].dag_folder}; to restore it to {dags}, name {others[-1].name}."
            )
        names = [one for each in known for one in (*each.releases, *each.dag_ids)]
        raise click.UsageError(
            f"{name!r} is not in the archive {archive}{did_you_mean(name, names)}. "
            'See "dkist-processing-core dags list".'
        )
    return found


def _check_once(chosen: "list[Record]") -> None:
    by_path: dict[str, list[str]] = {}
    for each in chosen:
        for path in each.files:
            by_path.setdefault(path, []).append(each.name)
    for path, holders in by_path.items():
        if len(holders) > 1:
            raise click.UsageError(f"{path} was retired more than once; name one of {', '.join(holders)}.")

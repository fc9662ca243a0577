"""
Move a release out of a DAG folder, unless it has active runs, and move it back.

Runs in: terminal of the scheduler's machine. A run may start at any moment. So the DAGs are paused first, which makes
new runs wait. Airflow is asked for active runs before and after the files are moved. If there is one, everything is put
back. A run that is triggered later waits in the paused DAG until the release is restored.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dkist_processing_core.deployment import activity, manifests
from dkist_processing_core.deployment.airflow_api import AirflowApi
from dkist_processing_core.deployment.archive import Record, begin, by_parent, locked, records_of, remove_leftovers
from dkist_processing_core.deployment.dag_files import fingerprint
from dkist_processing_core.deployment.releases import Deployed, Release
from dkist_processing_core.exceptions import AirflowApiError, RetirementError
from dkist_processing_core.export import manifest

__all__ = ["Plan", "plan", "recover", "restore", "retire"]

WAIT = "Correct that, or wait until the runs have ended, then try again"
LISTED = 20
UNKNOWN = "if Airflow has never loaded them, give --airflow-is-stopped instead of the address"
AGAIN = "Correct that, then run the same command again; it restores what is missing"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The reasons against a retirement, the DAGs that it will pause, and the manifests that it will change."""

    reasons: tuple[str, ...]
    to_pause: tuple[str, ...]
    manifests: tuple[Path, ...]


def plan(release: Release, deployed: Deployed, api: AirflowApi | None) -> Plan:
    """Find out whether a release can be retired, without a change. Without an API, Airflow is assumed to be stopped."""
    looks = [activity.look(api, each) for each in release.dag_ids] if api else []
    reasons = [each for look in looks for each in activity.reasons(look)]
    if api and not any(look.is_known for look in looks):
        reasons.append(f"{api.address} knows none of its DAGs, so it may be another Airflow; {UNKNOWN}")
    changed = []
    for parent, names in by_parent(each.path for each in release.files).items():
        folder = deployed.folder / parent
        try:
            manifests.check(folder)
        except RetirementError as error:
            reasons.append(error.what)
        if manifests.described(folder, names)["entries"]:
            changed.append(folder / manifest.MANIFEST)
    return Plan(
        reasons=tuple(reasons),
        to_pause=tuple(look.dag_id for look in looks if look.is_known and not look.is_paused),
        manifests=tuple(changed),
    )


def retire(release: Release, deployed: Deployed, api: AirflowApi | None, *, archive: Path, reason: str = "") -> Record:
    """
    Move the files of a release into an archive, and pause its DAGs.

    Raises
    ------
    RetirementError
        If the release has active runs or cannot be moved. Nothing is changed then, unless the error says otherwise.
    AirflowApiError
        If Airflow's API does not say whether there are active runs. Likewise.
    """
    try:
        return _retire(release, deployed, api, archive=archive, reason=reason)
    except OSError as error:
        raise RetirementError(
            f"{release.name} was not retired, and nothing was changed: {error}",
            remedy=f"Make sure that you can write to {deployed.folder} and {archive}, and that the disk is not full",
        ) from error


def _retire(release: Release, deployed: Deployed, api: AirflowApi | None, *, archive: Path, reason: str) -> Record:
    dags = deployed.folder
    # Before anything is paused, so that a refusal does not affect a run.
    seen = plan(release, deployed, api)
    _refuse(release, seen.reasons)
    archive.mkdir(parents=True, exist_ok=True)
    with locked(archive), locked(*{(dags / each.path).parent for each in release.files}):
        for file in release.files:
            if fingerprint(dags / file.path) != file.fingerprint:
                raise RetirementError(f"{dags / file.path} has changed in the meantime", remedy="Try again")
        record = begin(archive, dags, release, unpause=list(seen.to_pause), reason=reason)
        try:
            _pause(api, seen.to_pause)
            _refuse(release, plan(release, deployed, api).reasons)
            record.take(dags)
            _refuse(release, plan(release, deployed, api).reasons)
            # DAGs that are also in another file continue.
            others = deployed.without(release).dag_ids
            if remaining := [each for each in record.unpause if each in others]:
                _unpause(api, remaining)
                record.unpause = [each for each in record.unpause if each not in others]
            record.is_complete = True
            record.write()
        except BaseException as error:
            record.is_complete = False
            _undo(record, dags, api, error)
            raise
    return record


def recover(archive: Path, dags: Path, api: AirflowApi | None, say: Callable[[str], object]) -> list[Record]:
    """Undo the retirements that a killed program left incomplete, and return their records."""
    if not archive.is_dir():
        return []
    with locked(archive):
        unfinished = [each for each in records_of(dags, archive) if not each.is_complete]
        for each in unfinished:
            with locked(*_folders(each, dags)):
                each.bring_back(dags)
            _unpause_or_say(each, api, say)
            each.delete()
        remove_leftovers(archive)
    return unfinished


def restore(
    chosen: Iterable[Record], archive: Path, dags: Path, api: AirflowApi | None, say: Callable[[str], object]
) -> list[Path]:
    """Restore retired releases with their entries in the manifest, and unpause the DAGs that were not paused before."""
    restored = []
    with locked(archive):
        for each in chosen:
            try:
                with locked(*_folders(each, dags)):
                    each.moves(dags)
                    # First, so that `recover` completes it if this program is killed.
                    each.is_complete = False
                    each.write()
                    restored += each.bring_back(dags)
                _unpause_or_say(each, api, say)
                each.delete()
            except OSError as error:
                raise RetirementError(f"{each.name} was not restored completely: {error}", remedy=AGAIN) from error
    return restored


def _folders(record: Record, dags: Path) -> set[Path]:
    """Return the folders of the files to put back. Create them, since only an existing folder can be locked."""
    folders = {(dags / each).parent for each in record.files}
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    return folders


def _refuse(release: Release, reasons: Iterable[str]) -> None:
    if reasons := list(reasons):
        listed = "".join(f"\n    {each}" for each in reasons[:LISTED])
        if len(reasons) > LISTED:
            listed += f"\n    and {len(reasons) - LISTED} more"
        raise RetirementError(f"{release.name} was not retired:{listed}", remedy=WAIT)


def _pause(api: AirflowApi | None, dag_ids: Iterable[str]) -> None:
    if api:
        for each in dag_ids:
            api.pause(each, is_paused=True)


def _unpause(api: AirflowApi | None, dag_ids: Iterable[str]) -> None:
    if api:
        for each in dag_ids:
            # A user without the permission to pause has not paused it, and must not get the same error again.
            dag = api.dag(each)
            if dag and dag["is_paused"]:
                api.pause(each, is_paused=False)


def _unpause_or_say(record: Record, api: AirflowApi | None, say: Callable[[str], object]) -> None:
    if api:
        _unpause(api, record.unpause)
    elif record.unpause:
        say(f"Warning: still paused in Airflow, but not paused before: {', '.join(record.unpause)}")


def _undo(record: Record, dags: Path, api: AirflowApi | None, cause: BaseException) -> None:
    try:
        record.bring_back(dags)
        _unpause(api, record.unpause)
        record.delete()
    except (AirflowApiError, OSError, RetirementError) as error:
        what = f"{cause}\n    and {', '.join(record.releases)} could not be put back completely: {error}"
        raise RetirementError(what, remedy=AGAIN) from cause

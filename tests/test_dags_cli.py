"""The commands for a DAG folder, on real exports, without an Airflow that runs."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command_line import PROGRAM, run_program
from support.dag_folders import bytes_of, contents, killed_before
from support.http_server import Response, http_server
from support.sources import flow, imported_sources
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.build_utils import export_archive, export_dags, export_one_file
from dkist_processing_core.common import atomic
from dkist_processing_core.deployment import dag_files
from dkist_processing_core.deployment.archive import records
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK

NAME = "releases_of_a_test"
DISTRIBUTION = "releases-of-a-test"
STOPPED = "--airflow-is-stopped"
GOLDEN = Path(__file__).parent / "golden"
FORMS = {"files": export_dags, "one-file": export_one_file, "zip": export_archive}


@pytest.fixture
def export(tmp_path, without_airflow):
    """Export two workflows of a version to the DAG folder."""

    def export(version, form="files", folder="dags", details=("one", "two")):
        shutil.rmtree(tmp_path / "sources", ignore_errors=True)
        files = {f"{each}.py": flow(each, version) for each in details}
        with imported_sources(tmp_path / "sources", files, name=NAME) as package:
            FORMS[form](package, tmp_path / folder)
        return tmp_path / folder

    return export


@pytest.fixture
def dags(command, tmp_path):
    """Run one of the commands for the DAG folder; return status, output and errors."""

    def run(verb, *arguments):
        return command("dags", verb, *arguments, "--dags", tmp_path / "dags")

    return run


@pytest.fixture
def airflow_api(monkeypatch):
    """Serve what answers as Airflow's API does; return the options by which the commands find it."""
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", "t0ken-of-a-test")
    with contextlib.ExitStack() as servers:

        def serve(answer):
            port = servers.enter_context(http_server(lambda request: answer(request, of_api())))
            return "--airflow", f"http://127.0.0.1:{port}"

        yield serve


def of_api(**data):
    """Return an answer of an Airflow in which nothing runs."""
    known = {"version": "3.3.2", "is_paused": False, "dag_runs": [], "total_entries": 0, **data}
    return Response(200, json.dumps(known).encode())


@pytest.fixture
def full_disk(monkeypatch, tmp_path):
    """Let the files of the DAG folder not be written, unless what is written is none of these."""

    def fill(is_meant=lambda written: True):
        write_files = atomic.write_files

        def full(folder, written):
            if folder == tmp_path / "dags" and is_meant(written):
                raise OSError(28, "No space left on device", str(folder))
            write_files(folder, written)

        monkeypatch.setattr(atomic, "write_files", full)

    return fill


@pytest.fixture
def retired(export, dags, tmp_path):
    """The record of a release that was exported and retired."""
    export("1.0")
    assert dags("retire", release("1.0"), STOPPED)[0] == 0
    [record] = records(tmp_path / "dags-retired")
    return record


def release(version):
    return f"{DISTRIBUTION}=={version}"


def dag(detail, version):
    return f"a_to_b_cam_{detail}_{version}"


def listed(dags):
    output = dags("list", "--json").check().stdout
    data = json.loads(output)
    found = {name: each for each in data["releases"] for name in each["releases"]}
    return {**found, "others": {each["file"]: each["reason"] for each in data["others"]}, "remarks": data["remarks"]}


def test_each_release_is_one_line(export, dags):
    """Whether its workflows are in files of their own, in one file, or in an archive."""
    export("1.0")
    export("1.1", "one-file")
    export("1.2", "zip")
    output = dags("list").check(stderr="").stdout
    rows = [line.split() for line in output.splitlines()[1:-1]]
    counts = [(release("1.0"), "2", "2"), (release("1.1"), "2", "1"), (release("1.2"), "2", "1")]
    assert [tuple(row[:3]) for row in rows] == counts
    assert {row[-1] for row in rows} == {f"{DISTRIBUTION}[frozen]=={version}" for version in ("1.0", "1.1", "1.2")}
    assert listed(dags)[release("1.1")]["dag_ids"] == [dag("one", "1.1"), dag("two", "1.1")]


def test_a_list_shows_what_airflow_knows_of_each_release(export, dags, airflow_api):
    """Its active runs, its last run, and how many of its DAGs are paused."""
    export("1.0")
    export("1.1")
    known = [{"dag_id": dag(each, "1.0"), "is_paused": each == "two"} for each in ("one", "two")]
    began = datetime.now(UTC) - timedelta(days=3)
    run = {"dag_id": dag("one", "1.0"), "state": "running", "start_date": began.isoformat()}

    def answer(request, _):
        return of_api(dags=known, dag_runs=[run] if "state=running" in request.path else [])

    header, *rows, _ = dags("list", *airflow_api(answer)).check().stdout.splitlines()
    assert re.split("  +", header)[3:6] == ["runs", "last run", "paused"]
    assert [re.split("  +", row)[3:6] for row in rows] == [
        ["1 running", "3 d ago", "1 of 2"],
        ["-", "not known to Airflow", "-"],
    ]


def test_what_is_not_exported_is_named_with_the_reason(export, dags):
    """No file is run: neither one by hand nor a damaged archive."""
    folder = export("1.0")
    (folder / "theirs.py").write_text("raise SystemExit('of another team')")
    (folder / "odd\n\x1b[31mname.py").write_text("")
    (folder / "broken.zip").write_bytes(b"PK")
    (folder / "gone.py").symlink_to(folder / "nowhere")
    export("1.1", "zip")
    with zipfile.ZipFile(folder / f"{DISTRIBUTION}-1.1-dags.zip", "a") as archive:
        archive.writestr("more.py", "")
    found = listed(dags)
    assert set(found) - {"others", "remarks"} == {release("1.0")}
    assert "not exported by this library" in found["others"]["theirs.py"]
    assert "files that were not exported by this library" in found["others"][f"{DISTRIBUTION}-1.1-dags.zip"]
    assert "\x1b" not in dags("list").check().stderr


@pytest.mark.parametrize(
    "statement",
    [
        "another = __import__('airflow.sdk').sdk.DAG('another')",
        "    nodes['by hand'] = print('edited')",
        "from dkist_processing_core.scheduling import workflow_dag as another",
        "from dkist_processing_core.scheduling_by_hand import TaskOperator",
        "import another",
        "nodes['One'].dag.dag_id = 'another'",
        "names = [each for each in nodes]",
        "    if nodes: pass",
    ],
)
def test_a_file_with_a_statement_by_hand_is_never_moved(export, dags, statement):
    """It may have a DAG whose runs nobody would look for; so each part of a file is one that an export writes."""
    folder = export("1.0", "one-file")
    [file] = folder.glob("*.py")
    file.write_text(f"{file.read_text()}{statement}\n")
    found = listed(dags)
    assert "other statements" in found["others"][file.name]
    assert dags("retire", release("1.0"), STOPPED)[0] == 2
    assert file.exists()


@pytest.mark.parametrize("file", sorted(GOLDEN.rglob("*.py")), ids=lambda file: file.stem)
def test_the_exports_of_every_release_are_recognised(file):
    """Whatever operator, constraints and texts they have."""
    assert isinstance(dag_files.read(file.parent, file), dag_files.DagFile)


@pytest.mark.parametrize("manifest", [None, "{", "[]"], ids=["missing", "damaged", "foreign"])
def test_the_files_themselves_say_what_they_are(export, dags, manifest):
    """So a manifest that is missing or damaged costs a remark."""
    folder = export("1.0")
    (folder / "manifest.json").unlink()
    if manifest:
        (folder / "manifest.json").write_text(manifest)
    found = listed(dags)
    assert found[release("1.0")]["requirements"] == [f"{DISTRIBUTION}[frozen]==1.0"]
    [remark] = found["remarks"]
    assert "manifest.json" in remark
    done = dags("retire", release("1.0"), STOPPED)
    if manifest:
        done.check("is damaged", status=1)
        assert (folder / f"{dag('one', '1.0')}.py").exists()
    else:
        assert (done.returncode, list(folder.glob("*.py"))) == (0, [])
        before = (folder / "pools.json").read_bytes()
        assert dags("restore", release("1.0"))[0] == 0
        assert not (folder / "manifest.json").exists()
        assert (folder / "pools.json").read_bytes() == before


def test_a_file_that_the_manifest_does_not_describe_is_remarked(export, dags):
    """It was copied there alone, or a later export has replaced it."""
    folder = export("1.0")
    export("1.1", folder="elsewhere")
    shutil.copy(folder.with_name("elsewhere") / f"{dag('one', '1.1')}.py", folder)
    (folder / f"{dag('one', '1.0')}.py").write_text((folder / f"{dag('one', '1.0')}.py").read_text() + "\n")
    assert listed(dags)["remarks"] == [
        f"{dag('one', '1.0')}.py differs from the file that the manifest describes",
        f"{dag('one', '1.1')}.py is not listed in the manifest",
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", ["dags", "dags/below/deep"])
def test_a_retired_release_is_restored_byte_for_byte(export, dags, tmp_path, form, folder):
    """With its entries in the manifest, its times, and nothing of the other releases touched in between."""
    export("1.0", form, folder)
    kept = bytes_of(export("1.0", form, "expected"))
    export("1.1", form, folder)
    before = contents(tmp_path / "dags")
    dags("retire", release("1.1"), STOPPED, "--reason", "it is old").check(stderr="")
    assert bytes_of(tmp_path / folder) == kept
    [record] = records(tmp_path / "dags-retired")
    assert (record.releases, record.reason, record.is_complete) == ([release("1.1")], "it is old", True)
    assert release("1.1") in dags("list")[1].splitlines()[-1]
    output = dags("restore", release("1.1")).check(stderr="").stdout
    assert output.count("restored: ") == (2 if form == "files" else 1)
    assert bytes_of(tmp_path / "dags") == {name: content for name, (content, _) in before.items()}
    exported = {name: each for name, each in before.items() if not name.endswith(".json")}
    assert exported.items() <= contents(tmp_path / "dags").items()  # their times as well
    assert list((tmp_path / "dags-retired").iterdir()) == []


def test_a_pool_that_somebody_has_changed_survives(export, dags, tmp_path):
    """Both in the folder and in the archive."""
    folder = export("1.0")
    pools = {"high_memory_pool": {"slots": 3, "description": "mine", "include_deferred": False}}
    (folder / "pools.json").write_text(json.dumps(pools, indent=2, sort_keys=True) + "\n")
    before = bytes_of(folder)
    assert dags("retire", release("1.0"), STOPPED)[0] == 0
    assert json.loads((folder / "pools.json").read_text()) == pools
    assert dags("restore", release("1.0"))[0] == 0
    assert bytes_of(folder) == before


def test_a_dag_stands_for_its_file(export, dags, tmp_path):
    """The other workflows of the release stay, and so does what they need."""
    folder = export("1.0")
    status, output, _ = dags("retire", dag("one", "1.0"), STOPPED, "--json")
    [report] = json.loads(output)
    assert (status, report["files"]) == (0, [f"{dag('one', '1.0')}.py"])
    assert [each["is_needed_by_others"] for each in report["requirements"]] == [True]
    assert [each.name for each in folder.glob("*.py")] == [f"{dag('two', '1.0')}.py"]
    assert dags("retire", release("1.0"), STOPPED)[0] == 0
    assert dags("restore", release("1.0"))[0] == 0  # both parts
    assert len(list(folder.glob("*.py"))) == 2


def test_a_file_of_two_releases_goes_only_if_both_are_named(export, dags, tmp_path):
    """They are one line of the list, too."""
    folder = export("1.0", "one-file")
    export("1.1", "one-file", "elsewhere")
    [first], [second] = folder.glob("*.py"), (tmp_path / "elsewhere").glob("*.py")
    first.write_text(first.read_text() + second.read_text())
    assert listed(dags)[release("1.0")] == listed(dags)[release("1.1")]
    dags("retire", release("1.0"), STOPPED).check(f"also contains workflows of {release('1.1')}", status=2)
    assert dags("retire", release("1.0"), release("1.1"), STOPPED)[0] == 0
    assert not first.exists()


def test_without_knowledge_of_runs_nothing_is_touched(export, dags, tmp_path, monkeypatch):
    """Neither without a word on Airflow, nor if its API is not there."""
    before = contents(export("1.0"))
    dags("retire", release("1.0")).check("--airflow-is-stopped", status=2)
    assert dags("retire", release("1.0"), STOPPED, "--airflow", "http://127.0.0.1:1")[0] == 2
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", "t0ken-of-a-test")
    for verb in ("retire", "list"):
        words = [release("1.0")] if verb == "retire" else []
        errors = dags(verb, *words, "--airflow", "http://127.0.0.1:1").check("does not answer", status=1).stderr
        assert "t0ken" not in errors
    assert contents(tmp_path / "dags") == before
    assert not (tmp_path / "dags-retired").exists()


def test_a_dry_run_says_all_and_changes_nothing(export, dags, tmp_path):
    """Each file, the manifest and the archive."""
    before = contents(export("1.0"))
    output = dags("retire", release("1.0"), STOPPED, "--dry-run").check(stderr="").stdout
    for name in (f"{dag('one', '1.0')}.py", f"{dag('two', '1.0')}.py", "manifest.json", "dags-retired"):
        assert name in output
    assert contents(tmp_path / "dags") == before
    assert not (tmp_path / "dags-retired").exists()


@pytest.mark.parametrize("verb", ["list", "retire", "restore"])
@pytest.mark.parametrize("place", ["dags", "dags/below", "link/x", "elsewhere/archive"])
def test_an_archive_in_the_dag_folder_is_refused(export, dags, tmp_path, verb, place):
    """Airflow would load what is in it, also by a link to that folder, or by one in it that Airflow follows."""
    folder = export("1.0")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "elsewhere" / "archive").mkdir(parents=True)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    words = [] if verb == "list" else [release("1.0")]
    words += [STOPPED] if verb == "retire" else []
    dags(verb, *words, "--archive", tmp_path / place).check("is in the DAG folder", status=1)
    assert len(list(folder.glob("*.py"))) == 2


def test_a_name_that_does_not_exist_is_an_error_of_usage(export, dags):
    """Nothing is done for the others either, and the close name is suggested."""
    folder = export("1.0")
    for verb, words in (("retire", [STOPPED]), ("restore", [])):
        dags(verb, release("1.0"), release("1.00"), *words).check("release", status=2)
    assert len(list(folder.glob("*.py"))) == 2
    assert f"did you mean '{release('1.0')}'" in dags("retire", release("1.O"), STOPPED)[2]


def test_another_file_is_never_replaced(dags, retired, tmp_path):
    """Nothing is restored then, and the archive is as it was."""
    folder = tmp_path / "dags"
    (folder / f"{dag('two', '1.0')}.py").write_text("# mine\n")
    before, archived = contents(folder), bytes_of(tmp_path / "dags-retired")
    dags("restore", release("1.0")).check("differs from the file that was retired", status=1)
    assert (contents(folder), bytes_of(tmp_path / "dags-retired")) == (before, archived)


def test_what_was_retired_twice_is_named_by_its_folder(export, dags, tmp_path):
    """Which of the two is restored is not guessed."""
    for _ in range(2):
        export("1.0")
        assert dags("retire", release("1.0"), STOPPED)[0] == 0
    first, _ = records(tmp_path / "dags-retired")
    dags("restore", release("1.0")).check(first.name, status=2)
    assert dags("restore", first.name)[0] == 0
    assert len(records(tmp_path / "dags-retired")) == 1


def test_a_symbolic_link_is_moved_as_it_is(export, dags, tmp_path):
    """What it leads to stays."""
    folder = export("1.0", folder="elsewhere")
    (tmp_path / "dags").mkdir()
    for file in folder.glob("*.py"):
        (tmp_path / "dags" / file.name).symlink_to(f"../elsewhere/{file.name}")
    before = contents(folder)
    assert dags("retire", release("1.0"), STOPPED)[0] == 0
    assert list((tmp_path / "dags").glob("*.py")) == []
    assert dags("restore", release("1.0"))[0] == 0
    assert all(each.is_symlink() and each.exists() for each in (tmp_path / "dags").glob("*.py"))
    assert contents(folder) == before


@pytest.mark.once
@pytest.mark.parametrize("place", ["beside", "elsewhere"])
@pytest.mark.parametrize("verb", ["retire", "restore"])
def test_a_kill_at_any_step_loses_no_file(export, dags, tmp_path, verb, place):
    """Each is in the folder or in the archive, in both only between two file systems; the next command finishes it."""
    archive = tmp_path / "dags-retired" if place == "beside" else Path("/dev/shm", f"dkist-test-{os.getpid()}")
    if place == "elsewhere" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("optional: there is no /dev/shm")
    before = bytes_of(export("1.0"))
    files = {name: each for name, each in contents(tmp_path / "dags").items() if name.endswith(".py")}
    words = [verb, release("1.0"), "--dags", tmp_path / "dags", "--archive", archive]
    words += [STOPPED] if verb == "retire" else []
    step, status = 0, -signal.SIGKILL
    try:
        while status == -signal.SIGKILL:
            step += 1
            if verb == "restore":
                assert dags("retire", release("1.0"), STOPPED, "--archive", archive)[0] == 0
            status, _, errors = run_program("dags", *words, program=killed_before(step))
            found = [each.name for folder in (tmp_path / "dags", archive) for each in folder.rglob("*.py")]
            assert sorted(found if place == "beside" else set(found)) == sorted(files)
            if step % 2 and verb == "retire":
                assert dags("retire", release("1.0"), STOPPED, "--archive", archive)[0] in {0, 2}  # 2 if it was done
            assert dags("restore", release("1.0"), "--archive", archive)[0] in {0, 2}  # 2 if nothing had begun
            assert bytes_of(tmp_path / "dags") == before
            assert files.items() <= contents(tmp_path / "dags").items()  # their times as well
            assert [each for each in archive.rglob("*") if each.is_file()] == []
    finally:
        if place == "elsewhere":
            shutil.rmtree(archive, ignore_errors=True)
    assert (status, errors) == (0, "")
    assert step > 8


def test_an_error_on_the_way_puts_everything_back(export, dags, tmp_path, full_disk):
    """Such as a disk that is full; the archive is empty again."""
    before = bytes_of(export("1.0"))
    full_disk(lambda written: b"two" not in written["manifest.json"])
    dags("retire", release("1.0"), STOPPED).check("No space left on device", status=1)
    assert bytes_of(tmp_path / "dags") == before
    assert list((tmp_path / "dags-retired").iterdir()) == []


def test_a_damaged_record_is_named(dags, retired):
    """And one that would lead out of the folder is not followed."""
    whole = json.loads((retired.folder / "retired.json").read_text())
    held = whole["manifests"]["."]
    changes = (
        {"files": {"../x.py": "sha256:0"}},
        {"files": {"/x.py": "sha256:0"}},
        {"files": ["x.py"]},
        {"releases": None},
        {"unpause": 5},
        {"manifests": {".": None}},
        {"manifests": {".": {**held, "entries": [{"file": 1}]}}},
        {"manifests": {".": {**held, "pools": 1}}},
        {"manifests": {"..": held}},
        {"schema_version": 2},
        {"more": 1},
    )
    for text in ("{", "[]", *(json.dumps(whole | change) for change in changes)):
        (retired.folder / "retired.json").write_text(text)
        dags("restore", release("1.0")).check("retired.json is damaged", status=1)


@pytest.mark.parametrize("kind", ["content", "link", "missing"])
def test_an_archived_file_that_somebody_has_changed_is_not_restored(dags, retired, tmp_path, kind):
    """Airflow would run it; nothing else is restored either, and the next command has nothing to make up for."""
    file = retired.archived(f"{dag('two', '1.0')}.py")
    content = file.read_bytes()
    file.unlink()
    if kind == "content":
        file.write_bytes(content + b"import another\n")
    elif kind == "link":
        (tmp_path / "another.py").write_bytes(content)
        file.symlink_to(tmp_path / "another.py")
    dags("restore", release("1.0")).check(str(file), status=1)
    assert list((tmp_path / "dags").glob("*.py")) == []
    assert records(tmp_path / "dags-retired") == [retired]


def test_a_restoration_without_space_says_how_to_go_on(export, dags, tmp_path, full_disk, monkeypatch):
    """The same command finishes it."""
    before = bytes_of(export("1.0"))
    assert dags("retire", release("1.0"), STOPPED)[0] == 0
    real = atomic.write_files
    full_disk()
    texts = ("was not restored completely: [Errno 28]", "run the same command again")
    dags("restore", release("1.0")).check(*texts, status=1)
    monkeypatch.setattr(atomic, "write_files", real)
    assert dags("restore", release("1.0"))[0] == 0
    assert bytes_of(tmp_path / "dags") == before


def test_an_export_waits_for_a_retirement(export, dags, tmp_path):
    """Both change the manifest, so both take the lock of the folder."""
    folder = export("1.0")
    with atomic.lock(folder):
        process = subprocess.Popen([PROGRAM, "dags", "retire", release("1.0"), STOPPED, "--dags", folder])
        waiting = f"-> FLOCK  ADVISORY  WRITE {process.pid} "
        wait_until(lambda: waiting in Path("/proc/locks").read_text(), Path("/proc/locks").read_text)
        assert len(list(folder.glob("*.py"))) == 2
    assert process.wait(PATIENCE_SECONDS) == 0
    assert list(folder.glob("*.py")) == []


def test_an_environment_or_a_wheel_that_others_need_is_not_offered_for_removal(export, dags, tmp_path, monkeypatch):
    """Two workflows of a release share them; after the second one is retired they are named, with the command."""
    export("1.0")
    layout = tmp_path / "environments" / LAYOUT
    environment = layout / f"{DISTRIBUTION}-1.0-{'d' * 64}"
    environment.mkdir(parents=True)
    for folder in (layout, environment):
        (folder / OWNER_MARK).touch()
    (environment / ".ready").write_text(json.dumps({"requirement": f"{NAME}[frozen]==1.0"}))
    wheel = tmp_path / "wheels" / f"{NAME}-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    monkeypatch.setenv("PIP_FIND_LINKS", f"https://example.org/simple {wheel.parent}")
    output = dags("list")[1]
    assert wheel.name in output
    assert "not in use" in output
    output = dags("retire", dag("one", "1.0"), STOPPED)[1]
    assert re.search(f"environment: {environment.name}, .*, still needed by other files", output)
    assert f"wheel: {wheel}, still needed by other files" in output
    assert "environments remove" not in output
    output = dags("retire", dag("two", "1.0"), STOPPED)[1]
    assert f"environments remove {environment.name}" in output
    assert f"wheel: {wheel}, no longer needed here" in output
    assert environment.exists()
    assert wheel.exists()


def test_two_dag_folders_can_have_one_archive(export, dags, command, tmp_path):
    """What was taken out of one of them goes to the other one only by the name of its folder in the archive."""
    for folder in ("dags", "others"):
        export("1.0", folder=folder)
    archive = tmp_path / "archive"
    assert dags("retire", release("1.0"), STOPPED, "--archive", archive)[0] == 0
    [record] = records(archive)
    others = ["--dags", tmp_path / "others", "--archive", archive]
    command("dags", "restore", release("1.0"), *others).check(f"was retired from {tmp_path / 'dags'}", status=2)
    (record.folder / "retired.json").write_text(
        (record.folder / "retired.json").read_text().replace('"is_complete": true', '"is_complete": false')
    )
    assert command("dags", "retire", release("1.0"), STOPPED, *others)[0] == 0
    assert list((tmp_path / "dags").glob("*.py")) == list((tmp_path / "others").glob("*.py")) == []
    (tmp_path / "new").mkdir()
    assert command("dags", "restore", record.name, "--dags", tmp_path / "new", "--archive", archive)[0] == 0
    assert len(list((tmp_path / "new").glob("*.py"))) == 2


def test_an_api_that_fails_on_the_way_costs_nothing_but_a_second_command(export, dags, tmp_path, airflow_api):
    """The files are back at once; that the DAGs are no longer paused is made up for by the next command."""
    before = bytes_of(export("1.0"))
    paused, broken = dict.fromkeys((dag("one", "1.0"), dag("two", "1.0")), False), False

    def answer(request, _):
        nonlocal broken
        path = request.path.partition("?")[0].removeprefix("/api/v2")
        dag_id = path.split("/")[2] if path.startswith("/dags/") else ""
        moved = not (tmp_path / "dags" / f"{dag_id}.py").exists()
        broken = broken or (path.endswith("/dagRuns") and moved)
        if broken:
            return Response(500, b"the database is gone")
        if request.method == "PATCH":
            paused[dag_id] = json.loads(request.body)["is_paused"]
        return of_api(is_paused=paused.get(dag_id))

    words = [release("1.0"), *airflow_api(answer)]
    dags("retire", *words).check("500", "could not be put back completely", status=1)
    assert bytes_of(tmp_path / "dags") == before
    assert set(paused.values()) == {True}
    assert "was interrupted" in dags("list")[2]
    broken = False
    assert dags("restore", *words)[0] == 0
    assert bytes_of(tmp_path / "dags") == before
    assert set(paused.values()) == {False}
    assert list((tmp_path / "dags-retired").iterdir()) == []


def is_version(request):
    return request.path.endswith("/version")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda request, known: Response(403) if request.method == "PATCH" else known, "does not permit this: PATCH"),
        (lambda request, known: known if is_version(request) else Response(404, b"{}"), "knows none of its DAGs"),
    ],
    ids=["a user who may not pause a DAG", "an Airflow that knows no DAG of the release"],
)
def test_an_airflow_that_refuses_leaves_nothing_half_done(export, dags, tmp_path, airflow_api, answer, message):
    """The error says why; one that knows no DAG may be that of another machine, while the right one has runs."""
    before = contents(export("1.0"))
    errors = dags("retire", release("1.0"), *airflow_api(answer)).check(message, status=1).stderr
    assert "could not be put back" not in errors
    after = contents(tmp_path / "dags")
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed <= ({"manifest.json", "pools.json"} if "PATCH" in message else set())
    assert after.keys() == before.keys()
    assert [*(tmp_path / "dags-retired").glob("*")] == []


@pytest.mark.parametrize("words", [["--dry-run"], []], ids=["dry-run", "retire"])
def test_json_is_written_although_the_api_fails(export, dags, airflow_api, words):
    """The program that reads it learns the reason."""
    export("1.0")
    api = airflow_api(lambda request, known: known if is_version(request) else Response(500, b"the database is gone"))
    output = dags("retire", release("1.0"), *api, "--json", *words).check(status=1).stdout
    [told] = json.loads(output)
    assert told["state"] == "refused"
    assert "the database is gone" in told["reasons"][0]

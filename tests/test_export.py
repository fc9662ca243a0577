"""What an export writes, and that it writes all of it or nothing."""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import textwrap
import zipfile

import pytest
from support.command_line import (
    CAMERA,
    CAMERA_FILES,
    ended,
    run_command,
    run_python,
    start_command,
    with_mounts_of_its_own,
)
from support.sources import flow, imported_sources, write_sources

import dkist_processing_core
from dkist_processing_core.build_utils import export_archive, export_dags, export_one_file
from dkist_processing_core.common import atomic
from dkist_processing_core.exceptions import ChangedFileError, ReleasedFileError
from dkist_processing_core.export.overwrite import is_release

# The tests with a real Airflow are in other modules.
pytestmark = pytest.mark.usefixtures("without_airflow")


@pytest.fixture
def export(tmp_path):
    """Export a package of the given modules to a folder, by default the one called dags."""

    def export(files, folder="dags", *, name="export_of_a_test", function=export_dags, **options):
        if (tmp_path / "sources").exists():
            shutil.rmtree(tmp_path / "sources")
        with imported_sources(tmp_path / "sources", files, name=name) as package:
            return function(package, tmp_path / folder, **options)

    return export


def zipped(name, content):
    """Return an archive with one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, content)
    return buffer.getvalue()


def manifest_of(folder):
    """Return what the manifest of a folder says."""
    return json.loads((folder / "manifest.json").read_text())


def listed(folder):
    """Return the content of each file of a folder, hidden ones included."""
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir())}


EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
FOREIGN_ZIP = zipped("manifest.json", '{"files": ["dist"]}')
# What the directory of an archive says of a member: the version that is needed, flags, and the method.
ENCRYPTED, OF_ANOTHER_METHOD = (
    (b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00" + each)
    for each in (b"\x01\x00\x00\x00", b"\x00\x00\x63\x00")
)
TWO = {"one.py": flow("one"), "two.py": flow("two")}


def test_the_manifest_tells_of_each_file(export, tmp_path):
    """What it is made from and needs, with the digest of its bytes; the pools are in a form that Airflow imports."""
    [first, second] = export(CAMERA_FILES, name=CAMERA)
    manifest = manifest_of(tmp_path / "dags")
    assert manifest["schema_version"] == 1
    assert manifest["queues"] == ["default", "high_memory"]
    assert manifest["pools"] == ["default_pool", "high_memory_pool"]
    assert manifest["files"][0] == {
        "file": "l0_to_l1_camera_1.0.0.py",
        "sha256": hashlib.sha256(first.read_bytes()).hexdigest(),
        "dag_id": "l0_to_l1_camera_1.0.0",
        "workflow": "l0_to_l1_camera",
        "version": "1.0.0",
        "package": f"{CAMERA}.workflows",
        "distribution": "camera-of-a-test",
        "library_version": dkist_processing_core.__version__,
        "tasks": ["MakeDark", "MakeFlat", "Calibrate"],
        "queues": ["default", "high_memory"],
        "pools": ["default_pool", "high_memory_pool"],
        "environments": [{"requirement": "camera-of-a-test[frozen]==1.0.0", "constraints": "", "requires_python": ""}],
    }
    assert [each["file"] for each in manifest["files"]] == [first.name, second.name]
    assert manifest["files"][1]["sha256"] == hashlib.sha256(second.read_bytes()).hexdigest()
    description = "Tasks of the queue high_memory that may run at once."
    pool = {"slots": 128, "description": description, "include_deferred": False}
    assert json.loads((tmp_path / "dags" / "pools.json").read_text()) == {"high_memory_pool": pool}


def test_packages_in_one_folder_keep_each_others_entries(export, tmp_path):
    """So do versions of one package; an entry goes with its file."""
    export(CAMERA_FILES, name=CAMERA)
    export({"one.py": flow("one", "1.0")})
    export({"one.py": flow("one", "1.1")})
    folder = tmp_path / "dags"
    everything = sorted(each.name for each in folder.glob("*.py"))
    assert [each["file"] for each in manifest_of(folder)["files"]] == everything
    assert len(everything) == 4
    assert list(json.loads((folder / "pools.json").read_text())) == ["high_memory_pool"]
    (folder / "l0_to_l1_camera_1.0.0.py").unlink()
    export({"one.py": flow("one", "1.1")})
    assert [each["file"] for each in manifest_of(folder)["files"]] == everything[:2] + everything[3:]
    assert json.loads((folder / "pools.json").read_text()) == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_damaged_entry_costs_no_other_one(export, tmp_path, encoding):
    """Those of other packages stay, in whatever encoding an editor has written the file; an empty one is replaced."""
    damaged = [
        *(3, None, "x", [], {}, {"file": "a_to_b_cam_one_1.0.py"}),
        {"file": "x.py", "pools": "abc", "queues": "abc"},
        *({"file": name, "pools": [], "queues": []} for name in (3, "x.py", "x" * 5000, "a\0b")),
    ]
    export(TWO)
    file, before = tmp_path / "dags" / "manifest.json", listed(tmp_path / "dags")
    file.write_text("")
    export(TWO)
    assert listed(tmp_path / "dags") == before
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, "files": [*damaged, *whole["files"]]}), encoding=encoding)
    export({"three.py": flow("three")}, name="another_of_a_test")
    assert [each for each in json.loads(file.read_text())["files"] if "three" not in each["file"]] == whole["files"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("manifest.json", each) for each in (b"{", b"[]", b"3", b'{"files": 3}', b'{"icons": []}', b"[" * 100_000)),
        *(("manifest.json", each) for each in (b'{"files": []}', b'{"files": ["dist"]}')),
        *(("a_to_b_cam_one_dev.py", each) for each in (b"", b"print('mine')\n", b"# dkist-processing-core\n")),
        *(("pools.json", each) for each in (b"[]", b'{"high_memory_pool": 4}', b"high_memory_pool: 4", b"\xff")),
        *(("pools.json", each) for each in (b'{"swimming": {"depth": 3}}', b'{"a": 4, "b": {"slots": 3}}')),
        *(("export-of-a-test-dev-dags.zip", each) for each in (b"PK", EMPTY_ZIP, FOREIGN_ZIP)),
        *(("export-of-a-test-dev-dags.zip", FOREIGN_ZIP.replace(*each)) for each in (ENCRYPTED, OF_ANOTHER_METHOD)),
    ],
)
def test_what_is_none_of_an_export_is_not_replaced(export, tmp_path, name, content):
    """Somebody else's file may have the name of one of ours; --overwrite replaces it."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / name).write_bytes(content)
    files = {"one.py": flow("one", "dev")}
    function = export_archive if name.endswith("zip") else export_dags
    with pytest.raises(ChangedFileError, match=name):
        export(files, function=function)
    assert listed(tmp_path / "dags") == {name: content}
    export(files, function=function, overwrite=True)
    written = listed(tmp_path / "dags")[name]
    assert written != content
    if name == "pools.json":
        assert all("slots" in each for each in json.loads(written).values())
    assert export(files, function=function)


@pytest.mark.parametrize("name", ["a_to_b_cam_one_dev.py", "manifest.json", "pools.json"])
@pytest.mark.parametrize("kind", ["link to nothing", "link to itself", "link to a device", "fifo"])
def test_what_is_no_file_is_not_replaced(export, tmp_path, name, kind):
    """Nor waited for, as for the writer of a FIFO; --overwrite replaces it."""
    path = tmp_path / "dags" / name
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to nothing": "nothing", "link to itself": name, "link to a device": "/dev/null"}[kind])
    before = path.lstat().st_ino
    with pytest.raises(ChangedFileError, match=name):
        export({"one.py": flow("one", "dev")})
    assert (path.lstat().st_ino, [each.name for each in path.parent.iterdir()]) == (before, [name])
    export({"one.py": flow("one", "dev")}, overwrite=True)
    assert path.is_file()
    assert not path.is_symlink()


def test_pools_that_somebody_has_changed_stay(export, tmp_path):
    """The slots of one, and one that no workflow needs."""
    export(CAMERA_FILES, name=CAMERA)
    file = tmp_path / "dags" / "pools.json"
    pools = json.loads(file.read_text())
    pools["high_memory_pool"]["slots"] = 3
    pools["gpu_pool"] = {"slots": 1, "description": "ours", "include_deferred": False}
    file.write_text(json.dumps(pools))
    export({"one.py": flow("one", "1.0")})
    assert json.loads(file.read_text()) == pools


def test_exports_at_once_lose_no_entry(tmp_path):
    """Each waits for the other before it reads the manifest."""
    names = [f"package{number}_of_a_test" for number in range(6)]
    for name in names:
        write_sources(tmp_path / "sources", {"one.py": flow(name.partition("_")[0])}, name=name)
    program = (
        "import importlib, sys; sys.modules['airflow'] = None; "
        "from dkist_processing_core.build_utils import export_dags; "
        "export_dags(importlib.import_module(sys.argv[1]), 'dags')"
    )
    command = [sys.executable, "-c", program]
    running = [start_command(*command, name, PYTHONPATH=tmp_path / "sources") for name in names]
    assert [ended(each).returncode for each in running] == [0] * 6
    assert len(manifest_of(tmp_path / "dags")["files"]) == 6


def test_the_same_export_again_touches_nothing(export, tmp_path):
    """Not even the times of the files change, so the DAG processor has nothing to do."""
    times = []
    for _ in range(2):
        export(TWO)
        times.append({each.name: each.stat().st_mtime_ns for each in (tmp_path / "dags").iterdir()})
    assert times[0] == times[1]


def test_a_released_file_is_not_changed(export, tmp_path):
    """An export with another content is refused, names the files, and writes nothing at all."""
    export({"one.py": flow("one")})
    before = listed(tmp_path / "dags")
    other = {"one.py": flow("one").replace("Do the first thing.", "Do it in another way."), "two.py": flow("two")}
    with pytest.raises(ReleasedFileError, match="released version exist with different content") as caught:
        export(other)
    assert caught.value.files == (str(tmp_path / "dags" / "a_to_b_cam_one_1.0.py"),)
    assert isinstance(caught.value, FileExistsError)
    assert "overwrite=True, or --overwrite on the command line" in str(caught.value)
    assert listed(tmp_path / "dags") == before
    [one, _] = export(other, overwrite=True)
    assert "Do it in another way." in one.read_text()


def test_a_released_file_that_a_person_has_edited_is_not_replaced(export, tmp_path):
    """Nor is one that is no text at all."""
    [file, _] = export(TWO)
    original = file.read_bytes()
    for content in (original + b"# mine\n", b"", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ReleasedFileError):
            export(TWO)
        assert file.read_bytes() == content
    export(TWO, overwrite=True)
    assert file.read_bytes() == original


@pytest.mark.parametrize("version", ["dev", "1.0.dev3"])
def test_what_is_no_release_may_be_replaced(export, version):
    """While a version is being developed its file changes with it."""
    [file] = export({"one.py": flow("one", version)})
    original = file.read_text()
    file.write_text(f"{original}x = 1\n")
    export({"one.py": flow("one", version)})
    assert file.read_text() == original


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.0", True), ("1.0rc1", True), ("1.0.post1", True), ("2.0+local", True), ("dev", False), ("1.0.dev1", False)],
)
def test_a_release_is_what_is_published_once(version, expected):
    """A candidate is one as well; what is on the way to one is not."""
    assert is_release(version) is expected


def test_one_file_holds_all_workflows_of_a_release(export, tmp_path):
    """It has the text of each, the imports once, and an entry for each workflow in the manifest."""
    single = [file.read_text().partition("\n\n")[2] for file in export(TWO)]
    file = export(dict(reversed(TWO.items())), "out", function=export_one_file)
    assert file == tmp_path / "out" / "export-of-a-test-1.0-dags.py"
    assert sorted(listed(file.parent)) == [file.name, "manifest.json", "pools.json"]
    head, *bodies = file.read_text().split("\n\n")
    assert [f"{body.rstrip()}\n" for body in bodies] == single
    assert head.count("import") == 1
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert [(each["file"], each["dag_id"], each["sha256"]) for each in manifest_of(file.parent)["files"]] == [
        (file.name, f"a_to_b_cam_{name}_1.0", digest) for name in ("one", "two")
    ]


@pytest.mark.parametrize("function", [export_one_file, export_archive])
def test_the_file_or_archive_of_a_release_is_not_changed(export, function):
    """As little as the file of a workflow; that of a version which is being developed may be."""
    file = export(TWO, function=function)
    before = file.read_bytes()
    assert export(TWO, function=function) == file
    with pytest.raises(ReleasedFileError):
        export({"one.py": flow("one")}, function=function)
    assert file.read_bytes() == before
    export({"one.py": flow("one")}, function=function, overwrite=True)
    assert file.read_bytes() != before
    if function is export_one_file:
        assert [each["dag_id"] for each in manifest_of(file.parent)["files"]] == ["a_to_b_cam_one_1.0"]
    else:
        export({"one.py": flow("one", "dev")}, function=function).write_bytes(b"")
        assert export({"one.py": flow("one", "dev")}, function=function).read_bytes()


def test_a_dag_in_two_files_of_a_folder_is_named(export, caplog):
    """As after a change from separate files to one, or if two packages give the same name."""
    export({"one.py": flow("one", "1.1"), "two.py": flow("two")})
    assert "deploy one of them alone" not in caplog.text
    export(TWO, function=export_one_file)
    [message] = [each.message for each in caplog.records if "deploy one of them alone" in each.message]
    assert "a_to_b_cam_two_1.0 is in export-of-a-test-1.0-dags.py and in a_to_b_cam_two_1.0.py: deploy" in message


def test_the_archive_holds_what_an_export_writes(export, tmp_path):
    """The same bytes, under names without dots, by which Airflow can import them; nothing of the machine."""
    files = export(TWO)
    archive = export(TWO, "out", function=export_archive)
    assert archive == tmp_path / "out" / "export-of-a-test-1.0-dags.zip"
    names = ["a_to_b_cam_one_1_0.py", "a_to_b_cam_two_1_0.py", "manifest.json", "pools.json"]
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == names
        for name, file in zip(names, files, strict=False):
            assert opened.read(name) == file.read_bytes()
        manifest = json.loads(opened.read("manifest.json"))
        assert [each["file"] for each in manifest["files"]] == names[:2]
        for each in manifest["files"]:
            assert each["sha256"] == hashlib.sha256(opened.read(each["file"])).hexdigest()
        for member in opened.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert (member.external_attr >> 16, member.create_system, member.extra) == (0o100644, 3, b"")


def test_names_that_differ_by_a_dot_stay_apart_in_the_archive(export):
    """Each gets a part of its digest then."""
    first, second = flow("one.two", "dev"), flow("one_two", "dev")
    archive = export({"one.py": first, "two.py": second, "three.py": flow("three", "dev")}, function=export_archive)
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.endswith(".py")]
    assert len(set(names)) == 3
    assert names[2] == "a_to_b_cam_three_dev.py"
    assert all(re.fullmatch(r"a_to_b_cam_one_two_dev_[0-9a-f]{8}\.py", name) for name in names[:2])


ARCHIVE = """
    import os, sys
    os.umask(int(sys.argv[2], 8))
    sys.modules["airflow"] = None
    from dkist_processing_core.build_utils import export_archive, export_dags, export_one_file
    import camera_of_a_test.workflows as package
    print(export_archive(package, sys.argv[1]))
    print(export_one_file(package, sys.argv[1]))
    export_dags(package, sys.argv[1])
"""


def test_two_machines_make_the_same_bytes(tmp_path):
    """Whatever their time zone, umask, locale and hash seed, and wherever the sources and the output are."""
    made = []
    for number, (umask, environment) in enumerate(
        [
            ("022", {"TZ": "UTC", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}),
            ("077", {"TZ": "Pacific/Honolulu", "LC_ALL": "C", "LANG": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0"}),
            ("000", {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE", "PYTHONHASHSEED": "4711"}),
        ]
    ):
        machine = tmp_path.joinpath(*["machine"] * (number + 1), str(number))
        documented = {**CAMERA_FILES, "tasks.py": CAMERA_FILES["tasks.py"].replace("master dark", "größte Dunkel ☀")}
        # On a slower machine the files are made in another order.
        write_sources(machine, dict(sorted(documented.items(), reverse=number % 2 == 0)), name=CAMERA)
        run_python(ARCHIVE, "out", umask, cwd=machine, **environment, PYTHONPATH=machine).check()
        made.append(listed(machine / "out"))
    assert list(made[0]) == [
        "camera-of-a-test-1.0.0-dags.py",
        "camera-of-a-test-1.0.0-dags.zip",
        "l0_to_l1_camera_1.0.0.py",
        "l1_to_l2_camera_1.0.0.py",
        "manifest.json",
        "pools.json",
    ]
    assert made[0] == made[1] == made[2]
    assert "größte Dunkel ☀" in made[0]["l0_to_l1_camera_1.0.0.py"].decode()


@pytest.mark.parametrize("umask", ["022", "077"])
def test_files_have_the_rights_that_the_umask_leaves(export, tmp_path, umask):
    """Whatever those of the temporary file were."""
    before = os.umask(int(umask, 8))
    try:
        export(TWO)
    finally:
        os.umask(before)
    rights = {each.stat().st_mode & 0o777 for each in (tmp_path / "dags").iterdir()}
    assert rights == {0o644 & ~int(umask, 8)}


@pytest.mark.parametrize("name", ["a_to_b_cam_two_1.0.py", "manifest.json"])
def test_a_folder_in_the_way_of_a_file_stops_all(export, tmp_path, name):
    """Nothing is written, and the folder is named."""
    (tmp_path / "dags" / name).mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        export(TWO)
    assert caught.value.filename == str(tmp_path / "dags" / name)
    assert [each.name for each in (tmp_path / "dags").iterdir()] == [name]


def test_a_file_that_cannot_be_replaced_leaves_all_as_it_was(export, tmp_path, monkeypatch):
    """Also those that had been replaced before it, and those that were new; a mock fails as a locked file would."""
    export({"one.py": flow("one", "dev")})
    before = listed(tmp_path / "dags")
    real = os.replace

    def replace(source, target):
        if str(target).endswith("pools.json"):
            raise PermissionError(1, "Operation not permitted", str(target))
        real(source, target)

    (tmp_path / "dags" / "pools.json").write_text("{}")
    before["pools.json"] = b"{}"
    monkeypatch.setattr(atomic.os, "replace", replace)
    other = {"one.py": flow("one", "dev").replace("first", "very first"), "two.py": flow("two", "dev")}
    with pytest.raises(PermissionError):
        export(other)
    assert listed(tmp_path / "dags") == before


def test_a_file_system_without_links_does_as_well(export, tmp_path, monkeypatch):
    """The old content is then copied for the time of the export; a mock refuses links as such a file system does."""

    def link(source, target):
        raise PermissionError(1, "Operation not permitted", str(source))

    monkeypatch.setattr(atomic.os, "link", link)
    export({"one.py": flow("one", "dev"), "two.py": flow("two", "dev")})
    changed = {"one.py": flow("one", "dev").replace("first", "very first"), "two.py": flow("two", "dev")}
    [file, _] = export(changed)
    assert "very first" in file.read_text()
    assert len(listed(tmp_path / "dags")) == 4


def test_what_a_killed_export_left_is_removed_later(export, tmp_path):
    """After an hour, when nobody can still be writing it; other hidden files are nobody's business."""
    export(TWO)
    name = ".a_to_b_cam_one_1.0.py.{}.part"
    names = name.format("0123abcd"), ".manifest.json.0123abcd.part", ".mine.py.0123abcd.part"
    old, young, *others = (tmp_path / "dags" / each for each in (*names, name.format("abcdefgh")))
    for each in (old, young, *others):
        each.touch()
    others.append(tmp_path / "dags" / name.format("00000000"))
    others[-1].symlink_to(tmp_path)
    for each in (old, *others):
        os.utime(each, (0, 0), follow_symlinks=False)
    export(TWO)
    assert (old.exists(), young.exists(), [each.exists() for each in others]) == (False, True, [True] * 3)


def test_the_longest_name_can_be_written(export, tmp_path):
    """250 characters are what Airflow takes; the temporary name is no longer than the file system allows."""
    version = "1" + ".0" * 117
    [file] = export({"one.py": flow("one", version)})
    assert len(file.name) == 253
    export({"one.py": flow("one", version).replace("first", "very first")}, overwrite=True)
    assert len(listed(tmp_path / "dags")) == 3


ON_A_SMALL_DISK = """
    import importlib, subprocess, sys
    from pathlib import Path

    folder = Path(sys.argv[2])
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    (folder / "a_to_b_cam_one_dev.py").write_text("# Generated by dkist-processing-core 8\\n")
    (folder / "filler").write_bytes(bytes(56_000))
    sys.path[:0] = [sys.argv[1]]
    sys.modules["airflow"] = None
    from dkist_processing_core.build_utils import export_dags
    package = importlib.import_module("export_of_a_test")
    try:
        export_dags(package, sys.argv[2])
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
    print(sorted(each.name for each in folder.iterdir()), (folder / "a_to_b_cam_one_dev.py").read_text())
"""


def test_a_disk_that_is_full_keeps_what_was_there(tmp_path):
    """Neither a new file nor a half one is left, and the old file is as it was."""
    files = {f"{name}.py": flow(name, "dev") for name in ("one", "two", "three")}
    write_sources(tmp_path / "sources", files, name="export_of_a_test")
    command = [*with_mounts_of_its_own(), sys.executable, "-c", textwrap.dedent(ON_A_SMALL_DISK)]
    done = run_command(*command, tmp_path / "sources", tmp_path / "dags").check()
    error, *rest = done.stdout.splitlines()
    assert error.startswith(f"OSError: [Errno 28] No space left on device: '{tmp_path}/dags/a_to_b_cam_")
    assert rest == ["['a_to_b_cam_one_dev.py', 'filler'] # Generated by dkist-processing-core 8", ""]


def test_the_command_line_exports(command, camera, tmp_path):
    """It prints the files alone on the standard output, refuses what the function refuses, and writes the archive."""
    status, output, error = command("export", camera)
    assert (status, output) == (0, "dags/l0_to_l1_camera_1.0.0.py\ndags/l1_to_l2_camera_1.0.0.py\n")
    assert error.splitlines()[-1] == "2 DAG file(s), manifest.json and pools.json in dags"
    (tmp_path / "dags" / "l1_to_l2_camera_1.0.0.py").write_text("mine = True\n")
    status, output, error = command("export", camera)
    assert (status, output) == (1, "")
    assert "Error: These files of a released version exist with different content, and nothing was written" in error
    assert "\n    dags/l1_to_l2_camera_1.0.0.py\n" in error
    status, output, _ = command("export", camera, "--overwrite", "--json")
    assert (status, json.loads(output)) == (0, ["dags/l0_to_l1_camera_1.0.0.py", "dags/l1_to_l2_camera_1.0.0.py"])
    status, output, error = command("export", camera, "--one-file", "--to", "in/one")
    assert (status, output) == (0, "in/one/camera-of-a-test-1.0.0-dags.py\n")
    assert error.splitlines()[-1] == "1 DAG file(s), manifest.json and pools.json in in/one"
    command("export", camera, "--one-file", "--zip").check("--one-file and --zip are mutually exclusive", status=2)
    status, output, error = command("export", camera, "--zip", "--to", "somewhere/else")
    assert (status, output) == (0, "somewhere/else/camera-of-a-test-1.0.0-dags.zip\n")
    assert "Airflow 3.3 does not report killed tasks of DAGs in an archive" in error
    (tmp_path / output.strip()).write_text("mine")
    assert command("export", camera, "--zip", "--to", "somewhere/else")[0] == 1
    command("export", camera, "--to", "dags/manifest.json").check("Directory 'dags/manifest.json' is a file", status=2)

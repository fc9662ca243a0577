"""The environments that a worker keeps, and how they are removed."""

import errno
import fcntl
import functools
import json
import os
import shutil
import sys
import time
from datetime import timedelta

import pytest
from support.command_line import ended, start_command

from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.worker import cache, collector, limits
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK
from dkist_processing_core.worker.errors import WorkerError

DAY = 86400
DIGEST = "d" * 64


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the environments in an empty cache, the one that is configured."""
    made = tmp_path / "cache" / LAYOUT
    made.mkdir(parents=True)
    (made / OWNER_MARK).touch()
    monkeypatch.setenv("DKIST_ENVIRONMENT_CACHE", str(made.parent))
    return made


def full(name):
    """Return a name of the form of an environment's."""
    return name if name.endswith("-" + name[-1] * 64) else f"{name}-1.0-{DIGEST}"


def add(folder, name, *, days=0.0, kilobytes=4, is_ready=True):
    name = full(name)
    environment = folder / name
    (environment / "lib").mkdir(parents=True)
    (environment / OWNER_MARK).touch()
    (environment / "lib" / "file").write_bytes(os.urandom(1024 * kilobytes))
    if is_ready:
        (environment / ".ready").write_text(json.dumps({"requirement": f"{name}[frozen]==1"}))
    for lock in (f"{name}.use", f"{name}.build"):
        (folder / lock).touch()
        os.utime(folder / lock, (time.time() - days * DAY,) * 2)
    return environment


def names(environments):
    return [each.name.removesuffix(f"-1.0-{DIGEST}") for each in environments]


def files(folder):
    """Return the names of all that is in a cache besides its mark."""
    return sorted(each.name.replace(f"-1.0-{DIGEST}", "") for each in folder.iterdir() if each.name != OWNER_MARK)


def test_environments_are_listed_by_their_last_use(folder):
    """Each has its requirement, size and state; listing does not change the time of the last use."""
    add(folder, "new", days=1, kilobytes=100)
    add(folder, "old", days=40, kilobytes=4)
    add(folder, "half", days=2, is_ready=False)
    for _ in range(2):
        old, half, new = collector.environments()
        assert names([old, half, new]) == ["old", "half", "new"]
        assert (old.requirement, half.requirement) == (f"{old.name}[frozen]==1", "")
        assert (old.is_ready, half.is_ready, old.is_in_use) == (True, False, False)
        assert 100 * 1024 <= new.size < 120 * 1024
        assert new.size % 512 == 0


def test_pruning_by_age_keeps_recently_used_environments(folder):
    """Older environments are removed with their locks; a dry run returns them and removes nothing."""
    add(folder, "old", days=40)
    add(folder, "new", days=20)
    assert names(collector.prune(older_than=timedelta(days=30), is_dry_run=True)) == ["old"]
    assert names(collector.environments()) == ["old", "new"]
    assert names(collector.prune(older_than=timedelta(days=30))) == ["old"]
    assert files(folder) == ["new", "new.build", "new.use"]


def test_pruning_by_size_removes_the_least_recently_used(folder):
    """It stops as soon as the rest fits."""
    for number in range(5):
        add(folder, f"e{number}", days=number, kilobytes=100)
    assert names(collector.prune(max_size=320 * 1024)) == ["e4", "e3"]
    assert names(collector.environments()) == ["e2", "e1", "e0"]
    assert collector.prune(max_size=sum(each.size for each in collector.environments())) == []


def test_unfinished_environments_are_removed_whatever_their_age(folder, monkeypatch):
    """So are the rest of a killed removal and locks without an environment: both, or either of a failed build."""
    add(folder, "half", is_ready=False)
    add(folder, "whole")
    (folder / f".removed-1-{full('x')}").mkdir()
    (folder / f".removed-1-{full('x')}" / OWNER_MARK).touch()
    for lock in (f"{full('both')}.use", f"{full('both')}.build", f"{full('e1')}.use", f"{full('e2')}.build"):
        (folder / lock).touch()
    monkeypatch.setattr(collector, "ABANDONED_SECONDS", -1.0)
    with (folder / f"{full('begun')}.build").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert names(collector.prune()) == ["half"]
        assert "begun.build" in files(folder)
    collector.prune()
    assert files(folder) == ["whole", "whole.build", "whole.use"]


@pytest.mark.parametrize("lock", ["use", "build"])
def test_an_environment_in_use_is_not_removed(folder, lock):
    """A task holds one lock, and a builder the other one; a lock that is missing is held by nobody."""
    add(folder, "busy", days=400)
    add(folder, "free")
    other = folder / f"{full('busy')}.{'build' if lock == 'use' else 'use'}"
    for each in (*folder.glob(f"{full('free')}.*"), other):
        each.unlink()
    with (folder / f"{full('busy')}.{lock}").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH if lock == "use" else fcntl.LOCK_EX)
        busy, free = sorted(collector.environments(), key=lambda each: each.name)
        assert (busy.is_in_use, free.is_in_use) == (True, False)
        assert names(collector.prune(older_than=timedelta(0), max_size=0)) == ["free"]
        assert collector.remove(busy) is False
        assert (folder / full("busy") / "lib" / "file").exists()
    assert names(collector.prune(older_than=timedelta(0))) == ["busy"]


def test_a_lock_that_cannot_be_read_is_an_error_where_the_cache_can_be_written(folder, monkeypatch):
    """Elsewhere it is nobody's concern. The kernel's refusal is simulated, since root may read all."""

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    add(folder, "kept")
    monkeypatch.setattr(collector.Path, "open", refuse)
    with pytest.raises(PermissionError):
        collector.environments()
    monkeypatch.setattr(collector, "is_writable", lambda _: False)
    assert [each.is_in_use for each in collector.environments()] == [False]


def test_collectors_can_run_at_the_same_time(folder):
    """Each environment is removed once, no collector fails, and no file is left."""
    for number in range(40):
        add(folder, f"e{number}", days=40, kilobytes=50)
    program = (
        "from datetime import timedelta; from dkist_processing_core.worker.collector import prune;"
        "print(len(prune(older_than=timedelta(days=30))))"
    )
    processes = [start_command(sys.executable, "-c", program) for _ in range(4)]
    assert [ended(each).stderr for each in processes] == [""] * 4
    collector.prune()
    assert files(folder) == []


def test_looking_at_an_environment_that_is_removed_meanwhile_leaves_no_lock(folder, monkeypatch):
    """The lock that was opened is unlinked before it is held; the other one is not made anew."""
    add(folder, "gone", days=40)
    flock = fcntl.flock

    def flock_after_removal(*arguments):
        monkeypatch.setattr(collector.fcntl, "flock", flock)
        assert names(collector.prune(older_than=timedelta(days=30))) == ["gone"]
        flock(*arguments)

    monkeypatch.setattr(collector.fcntl, "flock", flock_after_removal)
    collector.environments()
    assert files(folder) == []


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (limits.parse_age, "30d", timedelta(days=30)),
        (limits.parse_age, "2w", timedelta(weeks=2)),
        (limits.parse_age, "90m", timedelta(minutes=90)),
        (limits.parse_age, "3h", timedelta(hours=3)),
        (limits.parse_age, "5s", timedelta(seconds=5)),
        (limits.parse_size, "7", 7),
        (limits.parse_size, "512K", 524288),
        (limits.parse_size, "1M", 1048576),
        (limits.parse_size, "1.5G", 1610612736),
        (limits.parse_size, "2t", 2 * 1024**4),
    ],
)
def test_ages_and_sizes_are_read(parse, text, value):
    """Each is a number and a unit; that of a size is a power of 1024."""
    assert parse(text) == value


NO_AGES = ["", "d", "3", "-3d", "3y", "1.5d"]
NO_SIZES = ["", "G", "-3G", "3X", "three"]


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        *((limits.parse_age, text, f"'{text}' is not an age; .* such as 30d") for text in NO_AGES),
        *((limits.parse_size, text, f"'{text}' is not a size; .* such as 50G") for text in NO_SIZES),
        (limits.parse_age, "99999999999d", "is too long an age"),
    ],
)
def test_a_malformed_limit_is_refused(parse, text, message):
    """The error has the value and a valid example."""
    with pytest.raises(ConfigurationError, match=message):
        parse(text)


def test_the_limits_come_from_the_environment(folder, monkeypatch, capfd):
    """The defaults are thirty days and 50 G; a malformed limit removes nothing."""
    add(folder, "old", days=29)
    add(folder, "older", days=31)
    collector.collect(folder.parent, lambda: None)
    assert capfd.readouterr().out.endswith(f" dkist: removed the unused environment {folder / full('older')}\n")
    monkeypatch.setenv("DKIST_ENVIRONMENT_MAX_AGE", "soon")
    collector.collect(folder.parent, lambda: None)
    assert "'soon' is not an age" in capfd.readouterr().err
    monkeypatch.setenv("DKIST_ENVIRONMENT_MAX_AGE", "400d")
    monkeypatch.setenv("DKIST_ENVIRONMENT_MAX_SIZE", "0")
    collector.collect(folder.parent, lambda: None)
    assert collector.environments() == []


def test_a_signal_ends_the_removal(folder):
    """It is handled between two environments, so the task can end."""
    for number in range(3):
        add(folder, f"e{number}", days=40)
    checks = iter([None] * 5)

    def check():
        if next(checks, "end"):
            raise WorkerError(143, "SIGTERM was received.")

    with pytest.raises(WorkerError):
        collector.prune(older_than=timedelta(days=30), check=check)
    assert len(collector.environments()) == 1


@pytest.fixture
def command(command):
    """Run one of the commands for environments; return exit status, standard output and standard error."""
    return functools.partial(command, "environments")


def test_the_command_line_lists(command, folder):
    """The output is a table, or JSON for programs."""
    assert command("list") == (0, f"There are no environments in {folder.parent}.\n", "")
    add(folder, f"cam-1.0-{'a' * 64}", days=3, kilobytes=2048)
    output = command("list").check().stdout
    header, row, total = output.splitlines()
    assert header.split() == ["size", "last", "used", "state", "environment"]
    assert row == "2.0 M  3 d ago    ready  cam-1.0-aaaaaaaaaaaa"
    assert total == f"1 in {folder.parent}, 2.0 M in all"
    [data] = json.loads(command("list", "--json")[1])
    assert data["name"] == f"cam-1.0-{'a' * 64}"
    assert (data["is_ready"], data["is_in_use"]) == (True, False)


def test_the_command_line_names_a_cache_that_does_not_exist(command, tmp_path):
    """It may be another one than was meant, as where a variable is not set; nothing is created."""
    missing = tmp_path / "missing"
    empty = (0, f"There are no environments in {missing}, which does not exist.\n", "")
    for arguments in (["list"], ["prune"], ["prune", "--dry-run"], ["verify", "--all"]):
        assert command(*arguments, "--cache", missing) == empty
    for arguments in (["remove", "cam"], ["show", "cam"]):
        message = f"there is no environment 'cam', nor any other, in {missing}, which"
        command(*arguments, "--cache", missing).check(message, status=2)
    assert not missing.exists()


def test_the_command_line_prunes(command, folder):
    """The output, with and without --dry-run, lists what is removed; a bad limit removes nothing."""
    add(folder, f"cam-1.0-{'a' * 64}", days=40)
    add(folder, f"cam-1.1-{'b' * 64}", days=1)
    for words, message in (("--older-than 1y", "'1y' is not an age"), ("--max-size big", "'big' is not a size")):
        command("prune", *words.split()).check(message, status=2)
    status, output, _ = command("prune", "--older-than", "30d", "--dry-run")
    assert (status, output.splitlines()[-1]) == (0, "1 would be removed, 8.0 K")
    assert len(collector.environments()) == 2
    status, output, _ = command("prune", "--older-than", "30d")
    assert output.splitlines()[0].startswith("removed: cam-1.0-aaaaaaaaaaaa (8.0 K, last used 40 d ago)")
    assert names(collector.environments()) == [f"cam-1.1-{'b' * 64}"]


def test_the_command_line_removes_by_name(command, folder):
    """The beginning of a name is enough; a name that is in use, ambiguous or unknown is refused."""
    add(folder, f"cam-1.0-{'a' * 64}")
    add(folder, f"cam-1.1-{'b' * 64}")
    command("remove", "cam").check("'cam' is the beginning of 2 names", status=2)
    command("remove", "cat-1.0").check("there is no environment 'cat-1.0'", status=2)
    with (folder / f"cam-1.0-{'a' * 64}.use").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        command("remove", "cam-1.0").check(status=1, stderr=f"in use, not removed: cam-1.0-{'a' * 64}\n")
    assert command("remove", "cam-1.0") == (0, f"removed: cam-1.0-{'a' * 64}\n", "")
    assert names(collector.environments()) == [f"cam-1.1-{'b' * 64}"]


STRANGERS = {
    "raw-frames": "folder",
    "uv": "folder",
    f"observations-2026-{'a' * 64}": "folder",
    f"cam-1.0-{'b' * 64}": "link",
    f"cam-1.1-{'c' * 63}": "marked",
    f"cam-1.2-{'C' * 64}": "marked",
    ".removed-frames": "marked",
    f".removed-7-cam-1.0-{'d' * 64}": "folder",
    ".removed-7-frames": "marked",
    f"cam-1.3-{'e' * 64}": "file",
    "frames.use": "file",
    "frames.build": "empty",
    f"cam-1.4-{'f' * 64}.use": "file",
    f"cam-1.5-{'0' * 64}.build": "folder",
    f"cam-1.6-{'1' * 64}.use": "link",
    "-x": "empty",
    "a\nb": "folder",
}


@pytest.fixture
def strangers(folder, tmp_path):
    """Data of somebody else in the folder of the environments, each with a name like ours or a mark like ours."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / OWNER_MARK).touch()
    (tmp_path / "elsewhere" / "frame").write_text("data")
    for name, kind in STRANGERS.items():
        path = folder / name
        if kind in {"folder", "marked"}:
            path.mkdir()
            (path / "frame").write_text("data")
            if kind == "marked":
                (path / OWNER_MARK).touch()
        elif kind == "link":
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.write_text("data" if kind == "file" else "")
        if not path.is_symlink():
            os.utime(path, (0, 0))
    return folder


def content(folder):
    """Return all paths below a folder."""
    return sorted(str(each) for each in folder.rglob("*"))


REMOVE_ALL = [
    ("prune",),
    ("prune", "--older-than", "0s"),
    ("prune", "--max-size", "0"),
    *(
        ("remove", name)
        for name in ("", " ", ".", "..", "*", "raw-frames", "../v1", "observations", ".removed-7", "cam")
    ),
    ("remove", "", f"cam-1.0-{'b' * 64}"),
]


@pytest.mark.parametrize("arguments", REMOVE_ALL, ids=" ".join)
def test_what_is_not_ours_is_left_and_named(command, strangers, tmp_path, monkeypatch, arguments):
    """Whatever its name, its mark and its age: only the environment goes, by what is meant to remove it."""
    monkeypatch.setattr(collector, "ABANDONED_SECONDS", -1.0)
    before = [content(strangers), content(tmp_path / "elsewhere")]
    add(strangers, "ours", days=1)
    assert names(collector.environments()) == ["ours"]
    _, _, error = command(*arguments)
    for name in STRANGERS:
        assert f"not built by this program, ignored: {strangers / name}\n" in error
    if arguments != ("prune",) and arguments[0] == "prune":
        assert [content(strangers), content(tmp_path / "elsewhere")] == before
    else:
        assert names(collector.environments()) == ["ours"]
        assert collector.remove(*collector.environments())
        assert [content(strangers), content(tmp_path / "elsewhere")] == before


@pytest.mark.parametrize("arguments", REMOVE_ALL, ids=" ".join)
def test_a_folder_without_our_mark_is_left(command, folder, monkeypatch, arguments):
    """Although all in it looks like ours; the command line names it."""
    monkeypatch.setattr(collector, "ABANDONED_SECONDS", -1.0)
    add(folder, "old", days=400)
    add(folder, "half", is_ready=False)
    (folder / OWNER_MARK).unlink()
    before = content(folder)
    _, _, error = command(*arguments)
    assert content(folder) == before
    assert f"not built by this program, ignored: {folder / full('old')}\n" in error
    collector.collect(folder.parent, lambda: None)
    assert (content(folder), collector.environments()) == (before, [])


def test_few_of_many_files_are_named(command, folder):
    """A folder with a million files does not fill the terminal."""
    for number in range(50):
        (folder / f"frame-{number:02}").touch()
    assert command("list")[2].splitlines()[-2:] == [
        f"not built by this program, ignored: {folder / 'frame-19'}",
        f"and 30 more in {folder}",
    ]


def test_a_removal_that_is_interrupted_is_completed_later(folder, monkeypatch):
    """Once nobody can be at it any more. The mark goes last, so what is left is known to be ours."""
    add(folder, "old", days=40)
    rmtree = shutil.rmtree
    monkeypatch.setattr(cache.shutil, "rmtree", lambda path: rmtree(path) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        collector.prune(older_than=timedelta(days=30))
    monkeypatch.setattr(cache.shutil, "rmtree", rmtree)
    collector.prune()
    assert files(folder) != []
    monkeypatch.setattr(collector, "ABANDONED_SECONDS", -1.0)
    collector.prune()
    assert files(folder) == []

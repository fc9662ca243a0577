"""An environment that has been damaged is built anew before a task runs in it."""

import errno
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.command_line import ended, read_until
from support.processes import wait_for
from support.script_runs import new_spec, run, start
from support.waiting import PATIENCE_SECONDS

from dkist_processing_core.common.environment import DESCRIPTION
from dkist_processing_core.worker import verify
from dkist_processing_core.worker.cache import OWNER_MARK
from dkist_processing_core.worker.marker import MARKER, damage, read_marker, write_marker


def empty(*files):
    for file in files:
        # Not the file that uv's cache has linked.
        file.unlink()
        file.touch()


def shorten(file):
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


DAMAGES = {
    "all-modules": lambda path: empty(*path.rglob("*.py")),
    "all-files": lambda path: empty(*(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())),
    "what-is-started": lambda path: empty(*path.glob("lib/*/site-packages/dkist_processing_core/runtime/__main__.py")),
    "the-task": lambda path: empty(*path.glob("lib/*/site-packages/dkist_script_test/tasks.py")),
    "half-a-module": lambda path: shorten(next(path.glob("lib/*/site-packages/pika/spec.py"))),
    "metadata": lambda path: empty(*path.glob("lib/*/site-packages/*.dist-info/METADATA")),
    "the-description": lambda path: empty(path / DESCRIPTION),
    "a-library": lambda path: empty(*path.glob("lib/*/site-packages/**/*.so")),
    "pyvenv.cfg": lambda path: empty(path / "pyvenv.cfg"),
    "a-missing-file": lambda path: next(path.glob("lib/*/site-packages/pika/spec.py")).unlink(),
    "a-missing-folder": lambda path: shutil.rmtree(next(path.glob("lib/*/site-packages"))),
    "no-python": lambda path: (path / "bin/python").unlink(),
    "no-marker": lambda path: (path / ".ready").unlink(),
    "empty-marker": lambda path: empty(path / ".ready"),
    "half-a-marker": lambda path: shorten(path / ".ready"),
    "nothing-but-a-mark": lambda path: [
        shutil.rmtree(each) if each.is_dir() else each.unlink() for each in path.iterdir() if each.name != OWNER_MARK
    ],
    "an-empty-folder": lambda path: (shutil.rmtree(path), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_environment_is_built_anew(releases, environment, damage):
    """It is noticed before anything is started, and never again."""
    damage(environment)
    for text in ("dkist: building the environment", "dkist: environment reused"):
        run("Good", releases).check("INFO team: good, recipe run 42", text)


@pytest.mark.parametrize("content", [b"[]", b"\xff", b"[" * 100_000], ids=["another-kind", "no-text", "too-deep"])
def test_a_marker_that_cannot_be_understood_says_nothing(tmp_path, content):
    """As if the environment had never been completed."""
    (tmp_path / MARKER).write_bytes(content)
    assert (read_marker(tmp_path), damage(tmp_path)) == ({}, "")


def test_a_marker_that_cannot_be_read_says_nothing(tmp_path, monkeypatch):
    """Root may read any file, so the fault of the disk is simulated; and a named pipe would never be read."""

    def refuse(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    os.mkfifo(tmp_path / MARKER)
    assert read_marker(tmp_path) == {}
    (tmp_path / MARKER).unlink()
    write_marker(tmp_path, {"requirement": "x[frozen]==1.0"})
    assert read_marker(tmp_path)["requirement"] == "x[frozen]==1.0"
    monkeypatch.setattr(Path, "read_text", refuse)
    assert read_marker(tmp_path) == {}


def test_what_a_task_adds_to_its_environment_is_no_damage(releases, environment):
    """Such as what is compiled, or a file that has grown; nobody builds again what others may run in."""
    [modules] = environment.glob("lib/*/site-packages")
    (modules / "another.py").touch()
    with (modules / "dkist_script_test/__init__.py").open("a") as file:
        file.write("# grown")
    for each in modules.rglob("*.pyc"):
        each.unlink()
    assert "environment reused" in run("Good", releases).stdout


def test_a_damaged_environment_is_not_built_under_a_task_that_runs_in_it(releases, environment, tmp_path):
    """Those that need it wait for the end of that task, and then one of them builds it."""
    running = start(new_spec("Waits"), releases, FACTS=str(tmp_path / "facts"))
    wait_for(tmp_path / "facts")
    DAMAGES["the-task"](environment)
    waiting = [start(new_spec("Good"), releases) for _ in range(3)]
    logs = [read_until(process, "waiting for it") for process in waiting]
    assert running.poll() is None
    running.terminate()
    running.communicate(timeout=PATIENCE_SECONDS)
    ends = [ended(process).check().stdout for process in waiting]
    assert sum("building the environment" in each for each in (*logs, *ends)) == 1
    assert sum("another task runs in this environment" in each for each in logs) == 1


def test_an_environment_that_cannot_be_put_on_the_disk_is_an_error(tmp_path, monkeypatch):
    """With what the kernel says; a descriptor with which nothing may be done simulates the disk."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    verify.main()
    monkeypatch.setattr(os, "O_RDONLY", os.O_PATH)
    with pytest.raises(SystemExit, match=r"cannot be written to the disk: \[Errno 9\] Bad file descriptor"):
        verify.main()


@pytest.mark.parametrize("ctypes", [None, SimpleNamespace(CDLL=lambda *_, **__: object())], ids=["ctypes", "syncfs"])
def test_all_is_put_on_the_disk_where_one_file_system_cannot_be(monkeypatch, ctypes):
    """Such as in a Python without ctypes, or with a C library without syncfs."""
    called = []
    monkeypatch.setitem(sys.modules, "ctypes", ctypes)
    monkeypatch.setattr(os, "sync", lambda: called.append("sync"))
    verify.main()
    assert called == ["sync"]

"""The locks of an environment: who waits for whom, and what a process holds at each step of a build."""

import errno
import fcntl
import os
import threading
import time
from contextlib import contextmanager

import pytest
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.worker import environment_locks, log
from dkist_processing_core.worker.environment_locks import EnvironmentLocks, lock_paths
from dkist_processing_core.worker.errors import UNAVAILABLE, WorkerError


@pytest.fixture
def environment(tmp_path):
    return tmp_path / f"x-1-{'0' * 64}"


@pytest.fixture
def lines(monkeypatch):
    """What is logged of waiting."""
    logged = []
    monkeypatch.setattr(log, "info", logged.append)
    return logged


@pytest.fixture
def new_locks():
    """Make locks as the worker program does; their files are closed at the end."""
    made = []

    def make(environment, *, patience=PATIENCE_SECONDS, check=lambda: None):
        locks = EnvironmentLocks(environment, patience=patience, check=check)
        made.append(locks)
        return locks

    yield make
    for descriptor in [each for locks in made for each in locks.descriptors]:
        os.close(descriptor)


@contextmanager
def held(path, operation):
    """Hold a lock as another process does."""
    with path.open("a") as file:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
        yield


def is_free(path, operation=fcntl.LOCK_EX):
    try:
        with held(path, operation):
            return True
    except BlockingIOError:
        return False


def state(environment):
    """Return which locks nobody holds, and which nobody holds exclusively."""
    return [(is_free(path), is_free(path, fcntl.LOCK_SH)) for path in lock_paths(environment)]


FREE, SHARED, EXCLUSIVE = (True, True), (False, True), (False, False)


def test_a_build_holds_the_lock_of_builders_and_that_of_users(environment, new_locks):
    """Others may use what is there until it is built again; afterwards they may build as well."""
    locks = new_locks(environment)
    assert state(environment) == [SHARED, FREE]
    locks.begin_build()
    assert state(environment) == [SHARED, EXCLUSIVE]
    locks.wait_for_users()
    assert state(environment) == [SHARED, EXCLUSIVE]
    locks.end_build()
    assert state(environment) == [SHARED, FREE]


def test_a_process_that_waits_for_a_builder_holds_nothing(environment, new_locks):
    """So the builder can replace the environment."""
    locks = new_locks(environment)
    use, build = lock_paths(environment)
    with held(build, fcntl.LOCK_EX):
        thread = threading.Thread(target=locks.begin_build)
        thread.start()
        wait_until(lambda: is_free(use), "the lock of users is held")
    thread.join()
    assert state(environment) == [SHARED, EXCLUSIVE]


def test_a_builder_waits_for_those_who_use_the_environment(environment, new_locks):
    """It is not replaced before their tasks have ended."""
    locks, others = new_locks(environment, patience=0.2), new_locks(environment)
    locks.begin_build()
    with pytest.raises(WorkerError, match="gave up waiting after 0.2 s for another task that runs in ") as caught:
        locks.wait_for_users()
    assert caught.value.status == UNAVAILABLE
    while others.descriptors:
        os.close(others.descriptors.pop())
    locks.wait_for_users()


def test_a_lock_that_was_removed_meanwhile_is_made_anew(environment, monkeypatch, new_locks):
    """Whoever removes an environment removes its locks; one that is no longer in the folder protects nothing."""
    use, build = lock_paths(environment)
    flock = fcntl.flock

    def remove_first(descriptor, operation):
        flock(descriptor, operation)
        monkeypatch.setattr(fcntl, "flock", flock)
        use.unlink()
        build.unlink()

    monkeypatch.setattr(fcntl, "flock", remove_first)
    locks = new_locks(environment)
    assert state(environment) == [SHARED, FREE]
    monkeypatch.setattr(fcntl, "flock", remove_first)
    locks.begin_build()
    assert state(environment) == [SHARED, EXCLUSIVE]


def test_a_cache_that_can_only_be_read_is_locked_for_users(environment, new_locks, monkeypatch):
    """With the locks that are there; root may write anywhere, so that it may not is simulated."""
    monkeypatch.setattr(environment_locks, "is_writable", lambda _: False)
    assert new_locks(environment).descriptors == []
    for path in lock_paths(environment):
        path.touch()
    new_locks(environment)
    assert state(environment) == [SHARED, FREE]


def test_the_lock_of_users_says_when_the_last_one_began(environment, new_locks):
    """Its modification time, by which environments are removed; and nobody else may open it."""
    use, build = lock_paths(environment)
    build.touch()
    for path in (use, build):
        path.touch()
        os.utime(path, (0, 0))
    new_locks(environment)
    assert (use.stat().st_mtime > time.time() - 3600, build.stat().st_mtime) == (True, 0)
    previous = os.umask(0)
    try:
        new_locks(environment.with_name(f"y-1-{'0' * 64}"))
    finally:
        os.umask(previous)
    assert {path.stat().st_mode & 0o777 for path in environment.parent.glob("y-*")} == {0o600}


def test_a_wait_is_logged_once(environment, lines, monkeypatch, new_locks):
    """However long it takes."""
    monkeypatch.setattr(environment_locks, "LOG_SECONDS", 0)
    locks = new_locks(environment, patience=0.3)
    with held(lock_paths(environment)[1], fcntl.LOCK_EX), pytest.raises(WorkerError, match="that is building"):
        locks.begin_build()
    assert lines == ["another task is building this environment; waiting for it"]


def test_a_short_wait_is_not_logged(environment, lines, new_locks):
    """Such as for a command that lists environments."""
    locks = new_locks(environment, patience=environment_locks.LOG_SECONDS / 4)
    with held(lock_paths(environment)[1], fcntl.LOCK_EX), pytest.raises(WorkerError, match="that is building"):
        locks.begin_build()
    assert lines == []


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, new_locks):
    """Nothing would keep two builders apart. The kernel's refusal is simulated: such file systems are rare."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(WorkerError, match="cannot lock files .flock.: No locks available. Set DKIST_") as caught:
        new_locks(tmp_path / "x-1-y")
    assert caught.value.status == 78


def test_a_lock_that_cannot_be_opened_is_an_error_with_a_remedy(tmp_path, new_locks):
    """Such as on a disk that has no room for another file."""
    (tmp_path / "x-1-y.use").mkdir()
    with pytest.raises(
        WorkerError, match=r"the lock .*/x-1-y.use cannot be opened: Is a directory: .*/x-1-y.use."
    ) as caught:
        new_locks(tmp_path / "x-1-y")
    assert caught.value.status == UNAVAILABLE

"""Who may write to the cache of environments, and what a worker does with one that it can only read."""

import os
import shutil
from contextlib import contextmanager, nullcontext

import pytest
from support.command_line import ended, first_on_path, run_command
from support.processes import wait_for
from support.script_package import NAME
from support.script_runs import WORKER, environments, new_spec, run, start

from dkist_processing_core.worker import collector
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK, check_cache
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.permissions import is_private, replaceable_in


def test_a_cache_that_others_can_write_is_refused(releases, tmp_path):
    """They would decide what the tasks run."""
    folder = tmp_path / "cache" / LAYOUT
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    message = f"the environment cache {folder} belongs to user {os.getuid()} and has mode 777"
    run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(folder.parent)).check(message, status=78)
    assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    """Before anything is made; root may write anywhere, so the refusal of the kernel is simulated."""
    (tmp_path / "file").touch()
    with pytest.raises(WorkerError, match=r"environment cache .*/file/cache cannot be written: Not a directory"):
        check_cache(tmp_path / "file" / "cache")
    assert check_cache(tmp_path / "new" / "cache") == tmp_path / "new" / "cache" / LAYOUT
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(WorkerError, match=r"environment cache .*/new/cache cannot be written: Permission denied"):
        check_cache(tmp_path / "new" / "cache")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o770, 0), (0o755, 65534), (0o1777, 65534), (0o1777, 0)])
def test_a_folder_in_which_others_can_replace_the_cache_is_named(releases, tmp_path, monkeypatch, mode, owner):
    """They could do so while a task runs; a container has no others, so the task runs."""
    if owner and os.geteuid():
        pytest.skip("only root can give a folder to another user")
    folder = tmp_path / "shared"
    (folder / "own").mkdir(parents=True)
    folder.chmod(mode)
    if owner:
        os.chown(folder, owner, owner)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(folder / "own" / "cache")).check()
    is_named = f"WARNING: {folder} is a folder in which other users could replace the environment cache" in done.stdout
    assert is_named is ((mode, owner) != (0o1777, 0))
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    assert (replaceable_in(folder / "own") == folder) is is_named


USER, ROOT, NOBODY = 1234, 0, 65534


@pytest.mark.parametrize(
    ("owner", "mode", "is_trusted"),
    [
        (USER, 0o755, True),
        (ROOT, 0o755, True),
        (NOBODY, 0o755, False),
        (USER + 1, 0o700, False),
        (1, 0o700, False),
        (USER, 0o775, False),
        (ROOT, 0o757, False),
    ],
)
def test_a_worker_trusts_what_only_its_user_and_root_can_write(monkeypatch, owner, mode, is_trusted):
    """Whoever else could write decides what the tasks run."""
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    assert is_private(os.stat_result((mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))) is is_trusted


@pytest.mark.parametrize("name", ["", ".ready"])
@pytest.mark.parametrize("kind", ["world", "group", "owner"])
def test_an_environment_that_others_could_write_is_refused(releases, environment, tmp_path, name, kind):
    """Although its folder is right, as after a chmod; nothing of it is started, and the error says what to do."""
    if kind == "owner" and os.geteuid():
        pytest.skip("only root can give a file to another user")
    planted = environment / name
    if kind == "owner":
        os.chown(planted, NOBODY, NOBODY)
    else:
        planted.chmod(planted.stat().st_mode | (0o002 if kind == "world" else 0o020))
    (environment / "bin/python").unlink()
    first_on_path(environment / "bin", "python", f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    remedy = f"Remove {environment}; it will be built again."
    run("Good", releases).check(f"ERROR: the environment {planted} belongs to user", remedy, status=78)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_what_is_built_is_private_whatever_the_umask(releases, tmp_path, mask):
    """The next start uses it; the task itself has the umask of the worker."""
    cache = tmp_path / "environments"
    previous = os.umask(mask)
    try:
        run("Good", releases).check()
        run("ShowsItsMask", releases).check("environment reused", f"umask {mask:o}\n")
    finally:
        os.umask(previous)
    [environment] = environments(cache)
    for each in (cache / LAYOUT, environment, environment / ".ready", environment / OWNER_MARK, environment / "bin"):
        assert not each.stat().st_mode & 0o022, each
    assert (cache / LAYOUT).stat().st_mode & 0o777 == 0o700


def run_without_privileges(spec, releases, cache):
    """Run a task as a user to whom permissions apply; as root, without the capabilities that override them."""
    words = [] if os.geteuid() else ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    if run_command(*words, "true").returncode:
        pytest.skip("root cannot give up its capabilities here")
    return ended(start(spec, releases, *words, *WORKER, DKIST_ENVIRONMENT_CACHE=str(cache)))


@pytest.fixture
def image(warm_cache, tmp_path):
    """A ready cache that an image has brought: it can be read, and not be written."""
    cache = shutil.copytree(warm_cache, tmp_path / "image", symlinks=True)
    (cache / LAYOUT).chmod(0o555)
    yield cache
    (cache / LAYOUT).chmod(0o700)


@pytest.mark.parametrize("locks", [0o600, 0o200, None], ids=["locks", "unreadable-locks", "no-locks"])
def test_a_cache_that_can_only_be_read_is_used(releases, image, locks):
    """What is not in it, or damaged, is an error that says so."""
    for lock in [*(image / LAYOUT).glob("*.use"), *(image / LAYOUT).glob("*.build")]:
        (image / LAYOUT).chmod(0o700)
        lock.unlink() if locks is None else lock.chmod(locks)
        (image / LAYOUT).chmod(0o555)
    before = sorted((image / LAYOUT).iterdir())
    run_without_privileges(new_spec(), releases, image).check("INFO team: good, recipe run 42", "environment reused")
    done = run_without_privileges(new_spec(extras=("frozen", "more")), releases, image)
    done.check(f"for {NAME}[frozen,more]==1.0 in it is missing", status=78)
    [environment] = environments(image)
    [task] = environment.glob("lib/*/site-packages/dkist_script_test/tasks.py")
    task.unlink()
    task.touch()  # and not the file that the cache of uv has linked
    run_without_privileges(new_spec(), releases, image).check("in it is damaged (lib/", status=78)
    assert sorted((image / LAYOUT).iterdir()) == before


@contextmanager
def read_only(folder):
    """Mount a folder again, as a file system that is read-only."""
    for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
        if run_command("mount", *options).returncode:
            pytest.skip("a folder cannot be mounted here")
    try:
        yield
    finally:
        run_command("umount", folder).check()


def test_a_running_task_keeps_the_lock_of_a_cache_that_it_can_only_read(releases, image, tmp_path):
    """So whoever may write to the cache does not remove the environment meanwhile."""
    facts = tmp_path / "facts"
    # Root could write to the folder itself.
    with nullcontext() if os.geteuid() else read_only(image):
        process = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(image), FACTS=str(facts))
        try:
            wait_for(facts)
            [listed] = collector.environments(image)
        finally:
            process.terminate()
            ended(process)
    assert listed.is_in_use


@pytest.mark.parametrize("owner", [0, 1234])
def test_a_cache_on_a_file_system_that_is_read_only_is_used(releases, image, owner):
    """By root as well, whoever owns it, since nobody can write there; it can be listed."""
    if os.geteuid():
        pytest.skip("only root can mount a folder")
    for each in (image / LAYOUT, *(image / LAYOUT).iterdir()):
        os.chown(each, owner, owner)
    with read_only(image):
        run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(image)).check("INFO team: good, recipe run 42")
        done = run(new_spec(extras=("frozen", "more")), releases, DKIST_ENVIRONMENT_CACHE=str(image))
        done.check("is read-only, and the environment", status=78)
        [listed] = collector.environments(image)
        assert (listed.is_ready, listed.is_in_use) == (True, False)

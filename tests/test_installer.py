"""What surrounds an installer: files of others, folders that cannot be written, and why it has failed."""

import errno
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from support.command_line import ended, first_on_path, run_command, with_mounts_of_its_own
from support.declared_workflows import diamond
from support.http_server import Response, http_server
from support.releases import write_package
from support.script_package import FILES, NAME
from support.script_runs import environments, new_spec, run, start, worker_without_uv
from uv import find_uv_bin

from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.rendering.dag import dag_file
from dkist_processing_core.rendering.script import runnable_script
from dkist_processing_core.worker import collector
from dkist_processing_core.worker.cache import OWNER_MARK
from dkist_processing_core.worker.causes import cause
from dkist_processing_core.worker.errors import UNAVAILABLE, describe_os_error
from dkist_processing_core.worker.installer_folders import installer_folders, usual_folders
from dkist_processing_core.worker.supervise import SIGNALLED

pytestmark = pytest.mark.network


def run_with_mounts(mounts, releases, *, spec=None, **environment):
    """Run a task where the commands ``mounts`` have changed what is mounted."""
    spec = spec or new_spec()
    script = runnable_script(spec, spec.nodes[0])
    command = [*with_mounts_of_its_own(), shutil.which("bash"), "-ec", f'{mounts}\nexec bash -c "$SCRIPT"']
    return ended(start(spec, releases, *command, SCRIPT=script, **environment))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UV_PROJECT", "{folder}"),
        ("UV_PYTHON", "2.7"),
        ("UV_SYSTEM_PYTHON", "1"),
        ("UV_VENV_SEED", "1"),
        ("UV_WORKING_DIR", "{folder}"),
        ("UV_WORKING_DIRECTORY", "{folder}"),
    ],
)
def test_no_variable_of_uv_leads_to_another_project(releases, tmp_path, name, value):
    """Neither to its settings, nor to its Python, nor to packages that the release does not need."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "uv.toml").write_text('no-index = true\nfind-links = ["/none"]\n')
    run("Good", releases, **{name: value.format(folder=folder)}).check()
    [environment] = environments(tmp_path / "environments")
    assert not list(environment.glob("lib/*/site-packages/pip"))


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_nothing_but_the_cache_needs_to_be_writable(releases, tmp_path, installer):
    """A read-only root file system, and no home: what installers write as well is in the cache."""
    cache = tmp_path / "cache"
    cache.mkdir()
    settings = {"HOME": "/nonexistent", "TMPDIR": "/tmp", "DKIST_ENVIRONMENT_CACHE": str(cache)}
    if installer == "pip":
        settings |= worker_without_uv(tmp_path / "tools", "mount", "touch")
    mounts = f"""
        mount --bind {cache} {cache}
        mount -o remount,bind,ro /
        ! touch /tmp/can-be-written 2>/dev/null || mount -t tmpfs -o ro none /tmp
        unset UV_CACHE_DIR
    """
    done = run_with_mounts(mounts, releases, **settings).check("INFO team: good, recipe run 42")
    for folder, variable in (("/nonexistent/.cache/uv", "UV_CACHE_DIR"), ("/tmp", "TMPDIR")):
        assert f"{folder} cannot be written: Read-only file system. The installer gets {variable}={cache}/v1/" in (
            done.stdout
        )
    assert {each.name for each in cache.iterdir()} == {"v1"}
    assert {each.name for each in (cache / "v1").glob(".*")} == {OWNER_MARK, ".installer"}
    assert len(collector.environments(cache)) == 1
    again = run_with_mounts(mounts, releases, **settings).check()
    assert "cannot be written" not in again.stdout


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o770, 0), (0o700, 65534)])
def test_a_cache_of_the_installer_that_others_can_write_is_not_used(releases, tmp_path, mode, owner):
    """What is in it would be linked into the environment, and they could change it there as well."""
    caches = {"UV_CACHE_DIR": tmp_path / "uv", "PIP_CACHE_DIR": tmp_path / "pip"}
    for folder in caches.values():
        folder.mkdir()
        folder.chmod(mode)
        if owner:
            if os.geteuid():
                pytest.skip("only root can give a folder to another user")
            os.chown(folder, owner, owner)
    done = run("Good", releases, **{name: str(folder) for name, folder in caches.items()}).check()
    for name, folder in caches.items():
        line = (
            f"{folder} cannot be trusted, since others can write to it: it belongs to user {folder.stat().st_uid} and"
        )
        assert f"{line} has mode {mode:o}. The installer gets {name}={tmp_path}/environments/v1/" in done.stdout
        assert list(folder.iterdir()) == []


def test_a_worker_that_can_write_nothing_says_what_to_set(releases):
    """One message, with the folder, the reason and the variable."""
    variables = {"HOME": "/nonexistent", "DKIST_ENVIRONMENT_CACHE": ""}
    done = run_with_mounts("mount -o remount,bind,ro /", releases, **variables).check(status=78)
    [line] = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert "the environment cache /nonexistent/.cache/dkist-processing-core/environments cannot be written" in line
    assert "Read-only file system. Mount it writable. Set DKIST_ENVIRONMENT_CACHE to a folder" in line


def test_a_cache_that_nothing_can_be_run_from_is_refused(releases, tmp_path):
    """At the build, not at the first import of an extension module."""
    mounts = f"mkdir {tmp_path}/cache; mount -t tmpfs -o noexec,mode=700 none {tmp_path}/cache"
    message = f"the environment cache {tmp_path}/cache/v1 is on a file system that is mounted noexec"
    done = run_with_mounts(mounts, releases, DKIST_ENVIRONMENT_CACHE=f"{tmp_path}/cache").check(message, status=78)
    assert "building" not in done.stdout


@pytest.mark.parametrize(("inodes", "status"), [(2, 78), (3, 69), (4, 69), (20, 69)])
def test_a_cache_without_inodes_says_so(releases, tmp_path, inodes, status):
    """Whether it is the folder of the environments that needs one, a lock, or a file of the environment."""
    mounts = f"mkdir {tmp_path}/cache; mount -t tmpfs -o nr_inodes={inodes},mode=700 none {tmp_path}/cache"
    done = run_with_mounts(mounts, releases, DKIST_ENVIRONMENT_CACHE=f"{tmp_path}/cache").check(status=status)
    [line] = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert "No space left on device" in line
    assert "inodes (df -i)" in line or "inodes (df -h, df -i)" in line
    assert "index" not in line


@pytest.mark.parametrize("character", ["\n", ":", "\t", "\x1b"])
def test_a_path_that_no_environment_can_have_is_refused(releases, tmp_path, character):
    """With the path, and not with advice about locks or the index."""
    cache = f"{tmp_path}/a{character}b"
    run("Good", releases, DKIST_ENVIRONMENT_CACHE=cache).check(
        f"the environment cache {cache!r} contains a character that a virtual environment does not allow", status=78
    )


def test_a_checkout_that_cannot_be_written_is_named(releases, tmp_path):
    """Its build backend writes into it; the index has nothing to do with that."""
    project = write_package(tmp_path / "checkout", FILES, name=NAME, backend="setuptools.build_meta")
    mounts = f"mount --bind {project} {project}; mount -o remount,bind,ro {project}"
    done = run_with_mounts(mounts, releases, spec=new_spec(version="dev"), DKIST_DEV_PROJECT=str(project))
    done.check(status=69)
    [line] = [line for line in done.stdout.splitlines() if "dkist: ERROR" in line]
    assert "The installer may not read, write or run a file that it needs" in line
    assert "Read-only file system" in line
    assert "index" not in line


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("no program", "/uv, which builds environments, cannot be started: Exec format error."),
        ("#!/none", "/uv, which builds environments, cannot be started: No such file or directory."),
        ("#!/bin/sh\nkill -9 $$", "It was killed (SIGKILL); if nobody killed it, the worker ran out of memory."),
        ("#!/bin/sh\nexit 3", "Its exit status is 3."),
        ("#!/bin/sh\necho http://u:s3cret@h is odd; exit 1", "1, its last line: http://<redacted>@h is odd"),
    ],
    ids=["format", "interpreter", "killed", "silent", "unknown"],
)
def test_an_installer_that_cannot_run_is_not_the_index(releases, tmp_path, program, message):
    """Each way to fail has a message of its own."""
    done = run("Good", releases, PATH=first_on_path(tmp_path / "tools", "uv", program)).check(status=69)
    [line] = [line for line in done.stdout.splitlines() if "dkist: ERROR" in line]
    assert message in line
    assert "index" not in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "Check user name and password in PIP_INDEX_URL"),
        (403, "Check user name and password in PIP_INDEX_URL"),
        (404, "Check that this release is on the package index"),
    ],
)
def test_an_index_that_refuses_access_is_not_one_without_the_release(releases, status, remedy):
    """Though uv calls both "not found", since the worker program lets it look at all indexes."""
    settings = {"PIP_FIND_LINKS": "", "UV_FIND_LINKS": "", "PIP_RETRIES": "0"}
    with http_server(lambda _: Response(status, content_type="text/html")) as port:
        index = f"http://reader:wrong-password@127.0.0.1:{port}/simple"
        done = run("Good", releases, PIP_INDEX_URL=index, **settings).check(status=UNAVAILABLE)
    assert remedy in done.stdout.splitlines()[-1], done.stdout
    assert "wrong-password" not in done.stdout


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("error: Failed to write: No space left on device (os error 28)", "no more inodes"),
        ("ERROR: Could not install packages due to an OSError: [Errno 122] Disk quota exceeded", "no more space"),
        (
            "error: failed to create directory `/x`: Permission denied (os error 13)",
            "The installer may not read, write",
        ),
        ("cause: invalid peer certificate: UnknownIssuer", "PIP_CERT"),
        ("SSLError(SSLCertVerificationError(1, 'certificate verify failed'))", "PIP_CERT"),
        ("ERROR: HTTP error 403 while getting http://h/x.whl", "refuses access"),
        ("hint: An index URL (http://h/) could not be queried: 401 Unauthorized.", "refuses access"),
        ("OSError('Tunnel connection failed: 407 Proxy Authentication Required')", "refuses access"),
        ("cause: error sending request for url (http://h/)", "cannot be reached"),
        ("cause: failed to lookup address information: Name or service not known", "cannot be reached"),
        ("error: Request failed after 5 retries in 40.0s", "cannot be reached"),
        ("NewConnectionError('Failed to establish: [Errno 111] Connection refused')", "cannot be reached"),
        ("ConnectTimeoutError('Connection to h timed out.')", "cannot be reached"),
        ("WARNING: The repository located at h is not a trusted or secure host and is being ignored.", "TRUSTED_HOST"),
        ("Because there is no version of x==1 and you require x==1", "Check that this release is on the"),
        ("ERROR: No matching distribution found for x==1", "Check that this release is on the"),
        ("Because x was not found in the package registry", "Check that this release is on the"),
        ("ERROR: ResolutionImpossible: for help visit", "are in conflict"),
        ("Because only async-timeout<5 is available and x depends on it, your", "Its exit status is 1"),
        ("Because there is no version of pytest-timeout==99 and you", "Check that this release is on the"),
        ("ERROR: No matching distribution found for timeout-decorator==99", "Check that this release is on the"),
        ("Because azure-keyvault-certificates was not found in the package registry", "Check that this release is on"),
        ("Because there is no version of certificate-checker==99", "Check that this release is on the"),
        ("Because forbiddenfruit was not found in the package registry", "Check that this release is on the"),
        ("Because tls-errors was not found in the package registry", "Check that this release is on the"),
        ("WARNING: 401 Error, Credentials not correct for http://h/simple/x/", "refuses access"),
        ("cause: HTTP status client error (407 Proxy Authentication Required) for url", "refuses access"),
        ("cause: HTTP status server error (500 Internal Server Error) for url", "does not answer as an index does"),
        ('error: Unsupported `Content-Type` "x/y" for `http://h/x/`. Expected', "does not answer as an index does"),
        ("DEBUG Using request timeout of 15s", "Its exit status is 1"),
        ("HTTP status server error (504 Gateway Timeout) for url", "cannot be reached"),
        ("cause: failed to open file `x`: Too many open files (os error 24)", "A limit of the worker"),
        ('Os { code: 11, kind: WouldBlock, message: "Resource temporarily unavailable" }', "A limit of the worker"),
        ("memory allocation of 344064 bytes failed", "A limit of the worker"),
        ("cause: Hash mismatch for `x==1`", "differs from the one in the lock file"),
        ("x==1 from https://h/x.whl (from -r .lock.txt (line 1)):", "differs from the one in the lock file"),
        ("sed: can't read x", "Its exit status is 1, its last line: sed: can't read x"),
    ],
)
def test_the_cause_is_the_one_that_the_installer_names(line, remedy):
    """Also if it gave up because of it with other words."""
    text, _ = cause(1, ["Using Python", line, ""])
    assert remedy in text
    assert line in text
    if "cannot be reached" in remedy:
        assert remedy in cause(1, ["ERROR: No matching distribution found for x==1", line]).text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("No space left on device (os error 28)", False),
        ("cause: invalid peer certificate: UnknownIssuer", False),
        ("ERROR: HTTP error 403 while getting http://h/x.whl", False),
        ("error: Request failed after 5 retries in 40.0s", False),
        ("this environment cannot run a task: No module named 'x'. The release that is installed", False),
        ("cause: Hash mismatch for `x==1`", False),
        ("WARNING: The repository located at h is not a trusted or secure host and is being ignored.", False),
        ("error: failed to open file `uv/sdists-v9/.git`: Permission denied (os error 13)", True),
        ("ERROR: No matching distribution found for x==1", True),
        ("error: Failed to deserialize cache entry", True),
        ("", True),
    ],
)
def test_an_installer_is_tried_again_only_where_its_cache_may_be_the_cause(line, expected):
    """An index that does not answer would cost the time of all its retries a second time."""
    assert cause(1, ["Using Python", line]).may_be_its_cache is expected
    assert not cause(SIGNALLED + signal.SIGKILL, ["Using Python", line]).may_be_its_cache


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EACCES, "Permission denied; {path} belongs to user {uid} and has mode 600, and the worker runs as user"),
        (errno.EPERM, "Operation not permitted; {path} belongs to user {uid} and has mode 600"),
        (errno.ENOSPC, "No space left on device (df -h, or a quota). Run dkist-processing-core environments prune"),
        (errno.EDQUOT, "Disk quota exceeded (df -h, or a quota). Run dkist-processing-core environments prune"),
        (errno.EROFS, "Read-only file system. Mount it writable."),
        (errno.ENAMETOOLONG, "File name too long: {path}."),
        (errno.ENOTDIR, "Not a directory: {path}."),
    ],
)
def test_a_file_that_cannot_be_written_has_one_cause(tmp_path, number, text):
    """What the system says, and what to do about just that."""
    file = tmp_path / "x.use"
    file.touch(0o600)
    expected = text.format(path=file, uid=os.getuid())
    assert describe_os_error(OSError(number, os.strerror(number)), file).startswith(expected)


def test_the_folders_of_the_installers_are_those_that_their_variables_name():
    """As uv and pip decide it: their own variable, that of the XDG base directories, the home."""
    assert usual_folders({"HOME": "/h"}) == {
        "UV_CACHE_DIR": Path("/h/.cache/uv"),
        "PIP_CACHE_DIR": Path("/h/.cache/pip"),
        "TMPDIR": Path("/tmp"),
    }
    own = {"UV_CACHE_DIR": "/u", "PIP_CACHE_DIR": "/p", "TMPDIR": "/t"}
    assert usual_folders({"XDG_CACHE_HOME": "/x", **own}) == {name: Path(value) for name, value in own.items()}
    assert usual_folders({"XDG_CACHE_HOME": "/x"})["PIP_CACHE_DIR"] == Path("/x/pip")
    assert usual_folders({})["UV_CACHE_DIR"] == Path("~/.cache/uv").expanduser()


def test_a_folder_that_cannot_be_written_is_replaced_by_one_in_the_cache(tmp_path, monkeypatch, capfd):
    """Root may write anywhere, so the refusal of the kernel is simulated; nobody else may enter the new folder."""
    folders = dict.fromkeys(("UV_CACHE_DIR", "PIP_CACHE_DIR", "TMPDIR"), str(tmp_path / "new" / "folder"))
    assert installer_folders(folders, tmp_path) == folders
    monkeypatch.setattr(os, "access", lambda *_: False)
    previous = os.umask(0)
    try:
        changed = installer_folders({**folders, "A": "b"}, tmp_path)
    finally:
        os.umask(previous)
    own = tmp_path / ".installer"
    assert changed == {"A": "b"} | {name: str(own / name.split("_")[0].lower()) for name in folders}
    assert {each.stat().st_mode & 0o777 for each in (own, *own.iterdir())} == {0o700}
    assert f"{tmp_path}/new/folder cannot be written: Permission denied. The installer" in capfd.readouterr().out
    (tmp_path / "file").touch()
    installer_folders({**folders, "TMPDIR": str(tmp_path / "file")}, tmp_path)
    assert f"{tmp_path}/file cannot be written: File exists. The" in capfd.readouterr().out


@pytest.mark.airflow
def test_the_other_operator_reads_nothing_in_the_workers_folder(tmp_path, monkeypatch):
    """Neither a module that Python would import, nor settings of uv; only what runs the installers is replaced."""
    from dkist_processing_core.authoring.airflow import execute
    from dkist_processing_core.scheduling.virtualenv import PythonVirtualenvOperator

    (tmp_path / "venv.py").write_text("raise RuntimeError('a module of the folder')\n")
    (tmp_path / "uv.toml").write_text("[broken\n")
    commands = ([sys.executable, "-m", "venv", "--help"], [find_uv_bin(), "pip", "list", "--python", sys.executable])
    done = []

    def run_installers(operator):
        Path(operator.op_kwargs["outcome"]).write_text(Outcome(state="succeeded").to_json())
        done.extend(run_command(*each) for each in commands)

    monkeypatch.setattr(PythonVirtualenvOperator, "execute_callable", run_installers)
    dag = execute(dag_file(diamond(operator="python_virtualenv").spec), "file_of_a_test")["dag"]
    dag.get_task("First").execute_callable()
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert Path.cwd() == tmp_path

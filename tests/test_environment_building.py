"""The environment of a task: built once, never corrupt, whatever happens meanwhile."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from support.processes import wait_for
from support.releases import VERSION, build_wheel, with_links, write_package
from support.script_package import FILES, NAME
from support.script_runs import environments, new_spec, run, start, worker_without_uv
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most, wait_until

from dkist_processing_core.rendering.script import runnable_script
from dkist_processing_core.worker import collector
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK, EnvironmentLocks
from dkist_processing_core.worker.collector import prune
from dkist_processing_core.worker.errors import UNAVAILABLE, WorkerError

pytestmark = pytest.mark.network
REQUIREMENT = f"{NAME}[frozen]==1.0"


def test_an_environment_is_built_once_and_then_reused(releases, tmp_path):
    """The first start builds it, the second says that it is reused; both run the task."""
    cache = tmp_path / "cache"
    first = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert first.returncode == 0, first.stdout
    assert "dkist: building the environment" in first.stdout
    [environment] = environments(cache)
    assert environment.name.startswith(f"{NAME}-1.0-")
    assert len(environment.name) == len(f"{NAME}-1.0-") + 64
    second = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert "dkist: environment reused" in second.stdout
    assert "building" not in second.stdout
    for done in (first, second):
        assert "INFO team: good, recipe run 42" in done.stdout
        assert "task dkist_script_test.tasks:Good ended with exit status 0" in done.stdout
    assert environments(cache) == [environment]


def test_the_environment_holds_the_release_and_nothing_of_airflow(warm_cache):
    """Exactly the pinned release of this library, no Airflow, no installer, at most 16 distributions."""
    [environment] = environments(warm_cache)
    program = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = subprocess.run([environment / "bin/python", "-c", program], capture_output=True, text=True, check=True)
    installed = json.loads(done.stdout)
    assert installed["dkist-processing-core"] == VERSION
    assert installed[NAME] == "1.0"
    assert len(installed) <= 16
    assert not {"apache-airflow", "nbformat", "rich", "pip"} & set(installed)
    assert list(environment.glob("lib/*/site-packages/dkist_processing_core/__pycache__/task.*.pyc"))


def test_a_warm_start_needs_no_index(releases, warm_cache):
    """With an index that nobody serves, a ready environment is used and another one cannot be built."""
    dead = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "PIP_TIMEOUT": "1",
        "PIP_RETRIES": "0",
        "UV_HTTP_RETRIES": "0",
    }
    settings = {**with_links(releases), "DKIST_ENVIRONMENT_CACHE": str(warm_cache)}
    assert (
        run("Good", releases, **settings, http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9").returncode
        == 0
    )
    cold = run("Good", releases, **{**settings, **dead, "UV_CACHE_DIR": str(warm_cache.parent / "no-cache")})
    assert cold.returncode == 69
    assert f"the environment for {REQUIREMENT} could not be built; the installer's messages are above" in cold.stdout


@pytest.mark.parametrize("retries", [0, 2])
def test_a_silent_index_costs_bounded_time(releases, tmp_path, retries):
    """It is tried again as PIP_RETRIES says, each time for PIP_TIMEOUT; then comes the error of its own."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as index:

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connections.append(index.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        settings = {"PIP_INDEX_URL": address, "PIP_TIMEOUT": "1", "PIP_RETRIES": str(retries)}

        def attempt():
            connections.clear()
            started = time.monotonic()
            done = run("Good", tmp_path, UV_CACHE_DIR=str(tmp_path / "uv"), **settings)
            took = time.monotonic() - started
            assert done.returncode == 69, done.stdout
            assert "could not be built; the installer's messages are above" in done.stdout
            assert len(connections) >= retries + 1
            return took

        assert_takes_at_most(20 + 20 * retries, attempt)
        index.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
    thread.join(5)


def test_a_full_disk_is_an_error_of_its_own(releases, tmp_path):
    """Exit status 69 with the installer's complaint, and the next start, with room, succeeds."""
    cache = tmp_path / "cache"
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", cache], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
        assert done.returncode == 69
        assert "No space left on device" in done.stdout
        assert environments(cache) == []
        subprocess.run(["mount", "-o", "remount,size=100m", cache], check=True)
        assert run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache)).returncode == 0
    finally:
        subprocess.run(["umount", cache], check=True)


def test_a_worker_without_any_network_runs_what_is_ready(releases, warm_cache):
    """In a network namespace with no way out, the warm task runs, and a cold one says that it cannot be built."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        pytest.skip("a network namespace cannot be made here")
    spec = new_spec()
    outcomes = {}
    for label, cache in (("warm", warm_cache), ("cold", warm_cache.parent / "cold")):
        variables = {
            **os.environ,
            **with_links(releases),
            "DKIST_ENVIRONMENT_CACHE": str(cache),
            "DKIST_RECIPE_RUN_ID": "1",
            "PIP_RETRIES": "0",
            "UV_CACHE_DIR": str(warm_cache.parent / "no-cache"),
        }
        outcomes[label] = subprocess.run(
            ["unshare", "--net", "bash", "-c", runnable_script(spec, spec.nodes[0])],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    assert outcomes["warm"].returncode == 0, outcomes["warm"].stdout
    assert outcomes["cold"].returncode == 69, outcomes["cold"].stdout


def test_a_half_built_environment_is_built_anew(releases, warm_cache, tmp_path):
    """Without the ready marker nothing of it is trusted."""
    cache = tmp_path / "cache"
    [ready] = environments(warm_cache)
    half = cache / LAYOUT / ready.name
    (cache / LAYOUT).mkdir(parents=True)
    (cache / LAYOUT).chmod(0o700)
    (half / "bin").mkdir(parents=True)
    (half / OWNER_MARK).touch()
    (half / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
    (half / "bin" / "python").chmod(0o755)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 0, done.stdout
    assert "INFO team: good, recipe run 42" in done.stdout
    marker = json.loads((half / ".ready").read_text())
    assert marker["requirement"] == REQUIREMENT
    assert {"dkist_script_test-1.0", f"dkist_processing_core-{VERSION}"} <= set(marker["distributions"])


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
    "a-library": lambda path: empty(*path.glob("lib/*/site-packages/**/*.so")),
    "pyvenv.cfg": lambda path: empty(path / "pyvenv.cfg"),
    "a-missing-file": lambda path: next(path.glob("lib/*/site-packages/pika/spec.py")).unlink(),
    "a-missing-folder": lambda path: shutil.rmtree(next(path.glob("lib/*/site-packages"))),
    "no-python": lambda path: (path / "bin/python").unlink(),
    "empty-marker": lambda path: empty(path / ".ready"),
    "half-a-marker": lambda path: shorten(path / ".ready"),
    "marker-of-another-kind": lambda path: (path / ".ready").write_text("[]"),
    "marker-that-is-no-text": lambda path: (path / ".ready").write_bytes(b"\xff" * 100),
    "nothing-but-a-mark": lambda path: [
        shutil.rmtree(each) if each.is_dir() else each.unlink() for each in path.iterdir() if each.name != OWNER_MARK
    ],
    "an-empty-folder": lambda path: (shutil.rmtree(path), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_environment_is_built_anew(releases, warm_cache, tmp_path, damage):
    """It is noticed before anything is started, and never again."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    damage(environments(cache)[0])
    for text in ("dkist: building the environment", "dkist: environment reused"):
        done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
        assert (done.returncode, "INFO team: good, recipe run 42" in done.stdout) == (0, True), done.stdout
        assert text in done.stdout


def test_what_a_task_adds_to_its_environment_is_no_damage(releases, warm_cache, tmp_path):
    """Such as what is compiled, or a file that has grown; nobody builds again what others may run in."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    [environment] = environments(cache)
    [modules] = environment.glob("lib/*/site-packages")
    (modules / "another.py").touch()
    with (modules / "dkist_script_test/__init__.py").open("a") as file:
        file.write("# grown")
    for each in modules.rglob("*.pyc"):
        each.unlink()
    assert "environment reused" in run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache)).stdout


def test_a_damaged_environment_is_not_built_under_a_task_that_runs_in_it(releases, warm_cache, tmp_path):
    """Those that need it wait for the end of that task, and then one of them builds it."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    [environment] = environments(cache)
    running = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(cache), FACTS=str(tmp_path / "facts"))
    wait_for(tmp_path / "facts")
    DAMAGES["the-task"](environment)
    waiting = [start(new_spec("Good"), releases, DKIST_ENVIRONMENT_CACHE=str(cache)) for _ in range(3)]
    logs = [""] * len(waiting)
    for number, process in enumerate(waiting):
        while "waiting for it" not in logs[number]:
            line = process.stdout.readline()
            assert line, logs[number]
            logs[number] += line
    assert running.poll() is None
    running.terminate()
    running.communicate(timeout=PATIENCE_SECONDS)
    ends = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in waiting]
    assert [process.returncode for process in waiting] == [0, 0, 0], (logs, ends)
    assert sum("building the environment" in each for each in (*logs, *ends)) == 1
    assert sum("another task runs in this environment" in each for each in logs) == 1


CACHES = {
    "modules": ("*.py", 0),
    "halves-of-modules": ("*.py", 100),
    "lists": ("RECORD", 0),
    "halves-of-lists": ("RECORD", 300),
    "metadata": ("METADATA", 0),
    "libraries": ("*.so", 0),
    "pointers": ("*.msgpack", 0),
    "pages": ("*.rkyv", 0),
    "all": ("*", 0),
    "halves-of-all": ("*", 200),
}


@pytest.fixture(scope="module")
def uv_cache(releases, tmp_path_factory):
    """A cache of uv that holds all that an environment needs."""
    folder = tmp_path_factory.mktemp("uv")
    settings = {"UV_CACHE_DIR": str(folder / "cache"), "DKIST_ENVIRONMENT_CACHE": str(folder / "environments")}
    assert run("Good", releases, **settings).returncode == 0
    return folder / "cache"


@pytest.mark.parametrize(("pattern", "size"), CACHES.values(), ids=CACHES)
def test_a_damaged_cache_of_uv_defeats_no_build(releases, uv_cache, tmp_path, pattern, size):
    """uv itself installs empty files without a word, or fails; then it works without its cache."""
    copy = shutil.copytree(uv_cache, tmp_path / "uv", symlinks=True)
    for file in copy.rglob(pattern):
        if file.is_file() and file.stat().st_size > size:
            os.truncate(file, size)
    done = run("Good", releases, UV_CACHE_DIR=str(copy), DKIST_ENVIRONMENT_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, "INFO team: good, recipe run 42" in done.stdout) == (0, True), done.stdout
    [environment] = environments(tmp_path / "cache")
    assert (next(environment.glob("lib/*/site-packages/pika/spec.py"))).stat().st_size > 1000


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(lambda file: os.truncate(file, 0), "has 0 bytes instead of"), (os.unlink, ": No such file")],
    ids=["emptied", "deleted"],
)
def test_an_environment_of_links_is_built_anew(releases, uv_cache, tmp_path, damage, reason):
    """If files that they lead to are lost, as by a power cut or ``uv cache clean``; that cache is not used again."""
    copy = shutil.copytree(uv_cache, tmp_path / "uv", symlinks=True)
    settings = {"UV_LINK_MODE": "symlink", "UV_CACHE_DIR": str(copy)}
    assert run("Good", releases, **settings).returncode == 0
    for file in copy.rglob("*.py"):
        damage(file)
    done = run("Good", releases, **settings)
    assert (done.returncode, "INFO team: good, recipe run 42" in done.stdout) == (0, True), done.stdout
    assert reason in done.stdout


def test_a_damaged_cache_of_pip_defeats_no_build(releases, tmp_path):
    """Each file in it is shorter than it was."""
    settings = {**worker_without_uv(tmp_path / "tools"), "PIP_CACHE_DIR": str(tmp_path / "pip")}
    assert run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "first"), **settings).returncode == 0
    for file in (tmp_path / "pip").rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "second"), **settings)
    assert (done.returncode, "INFO team: good, recipe run 42" in done.stdout) == (0, True), done.stdout


def test_an_installer_that_fails_twice_is_an_error(releases, tmp_path):
    """The second time without its cache, and there is no third."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text(f'#!/bin/sh\necho "$UV_NO_CACHE" >>{tmp_path}/calls\nexit 2\n')
    (tools / "uv").chmod(0o755)
    done = run("Good", releases, PATH=f"{tools}:{os.environ['PATH']}")
    assert (done.returncode, (tmp_path / "calls").read_text()) == (69, "\n1\n")
    assert done.stdout.count("This is tried once more without the installer's cache") == 1


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_in_the_way_of_an_environment_is_left(releases, warm_cache, tmp_path, kind):
    """Somebody else's data, under the very name: exit status 78, and it is still there."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    [environment] = environments(cache)
    shutil.rmtree(environment)
    data = tmp_path / "data" if kind == "link" else environment
    if kind == "file":
        data.write_text("data")
    else:
        data.mkdir()
        (data / "frame").write_text("data")
        if kind == "link":
            environment.symlink_to(data)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 78
    assert str(environment) in done.stdout
    assert "worker program failed" not in done.stdout
    assert (data if kind == "file" else data / "frame").read_text() == "data"


def test_a_killed_build_is_no_environment(releases, tmp_path):
    """A build that is killed in the middle is followed by a normal start that succeeds."""
    cache = tmp_path / "cache"
    process = start(new_spec(), releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    while "building the environment" not in process.stdout.readline():
        pass
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert [list(each.glob(".ready")) for each in environments(cache)] in ([], [[]])
    assert run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache)).returncode == 0


def test_simultaneous_first_starts_share_one_build(releases, tmp_path):
    """Sixteen at once: one builds, the others wait for it, all succeed."""
    cache = str(tmp_path / "cache")
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda _: run("Good", releases, DKIST_ENVIRONMENT_CACHE=cache), range(16)))
    assert [each.returncode for each in done] == [0] * 16
    assert sum("building the environment" in each.stdout for each in done) == 1
    assert sum("built meanwhile" in each.stdout or "environment reused" in each.stdout for each in done) == 15


def test_different_releases_are_built_at_the_same_time(releases, tmp_path):
    """Four environments, four tasks each: four builds, which overlap in time."""
    cache = str(tmp_path / "cache")
    specs = [new_spec(extras=("frozen", f"x{number}")) for number in range(4)]
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda spec: run(spec, releases, DKIST_ENVIRONMENT_CACHE=cache), specs * 4))
    assert [each.returncode for each in done] == [0] * 16
    spans = []
    for each in done:
        times = [line.split()[1] for line in each.stdout.splitlines() if "dkist: " in line and "environment" in line]
        if "building the environment" in each.stdout:
            spans.append((times[0], times[-1]))
    assert len(spans) == len(environments(cache)) == 4
    assert max(begin for begin, _ in spans) <= min(end for _, end in spans)


def test_constraints_decide_what_is_installed_with_a_release(releases, tmp_path):
    """Another constraint is another environment, with that version; the path of the cache may hold a space."""
    versions = {}
    for version in ("25.0", "26.0"):
        [node] = new_spec().nodes
        spec = dataclasses.replace(new_spec(), nodes=(dataclasses.replace(node, constraints=f"packaging=={version}"),))
        done = run(spec, releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "a cache"))
        assert done.returncode == 0, done.stdout
    for environment in environments(tmp_path / "a cache"):
        [info] = environment.glob("lib/*/site-packages/packaging-*.dist-info")
        versions[(environment / ".constraints.txt").read_text()] = info.name.split("-")[1].removesuffix(".dist")
    assert versions == {"packaging==25.0\n": "25.0", "packaging==26.0\n": "26.0"}


def test_a_build_removes_what_nobody_uses_any_more(releases, warm_cache, tmp_path):
    """By age, and never what a task runs in at that moment."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    unused, used = (f"{name}-1-{'0' * 64}" for name in ("unused", "used"))
    for name in (unused, used):
        (cache / LAYOUT / name).mkdir()
        (cache / LAYOUT / name / OWNER_MARK).touch()
        (cache / LAYOUT / name / ".ready").write_text('{"requirement": "old[frozen]==1"}')
        (cache / LAYOUT / f"{name}.use").touch()
        os.utime(cache / LAYOUT / f"{name}.use", (0, 0))
    with (cache / LAYOUT / f"{used}.use").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        done = run(new_spec(extras=("frozen", "other")), releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 0, done.stdout
    assert f"removed the unused environment {cache / LAYOUT / unused}" in done.stdout
    assert used in {each.name for each in environments(cache)}
    assert len(environments(cache)) == 3


def test_an_environment_that_runs_is_not_pruned(releases, warm_cache, tmp_path):
    """The lock that counts is the one that the task itself has inherited."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    facts = tmp_path / "facts"
    process = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(cache), FACTS=str(facts))
    wait_for(facts)
    assert prune(cache, older_than=timedelta(0), max_size=0) == []
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert len(prune(cache, older_than=timedelta(0))) == 1
    assert environments(cache) == []


def test_a_task_that_starts_while_its_environment_is_removed_builds_it_anew(releases, warm_cache, tmp_path):
    """Starts and removals of the same environment, over and over: every task succeeds."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    stop = threading.Event()

    def remove_all():
        while not stop.is_set():
            prune(cache, older_than=timedelta(0))

    remover = threading.Thread(target=remove_all)
    remover.start()
    done = []
    try:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(4):
                # Two tasks that overlap all the time would keep it from ever being removed.
                wait_until(lambda: not environments(cache), "the environment was not removed")
                done += pool.map(lambda _: run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache)), range(2))
    finally:
        stop.set()
        remover.join()
    assert [each.returncode for each in done] == [0] * 8, [each.stdout for each in done if each.returncode]
    assert sum("building the environment" in each.stdout for each in done) >= 4


def test_a_cache_that_others_can_write_is_refused(releases, tmp_path):
    """They would decide what the tasks run."""
    folder = tmp_path / "cache" / LAYOUT
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(folder.parent))
    assert done.returncode == 78
    assert f"the environment cache {folder} belongs to user {os.getuid()} and has mode 777" in done.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o770, 0), (0o755, 65534), (0o1777, 65534), (0o1777, 0)])
def test_a_folder_in_which_others_can_replace_the_cache_is_named(releases, tmp_path, mode, owner):
    """They could do so while a task runs; a container has no others, so the task runs."""
    if owner and os.geteuid():
        pytest.skip("only root can give a folder to another user")
    folder = tmp_path / "shared"
    (folder / "own").mkdir(parents=True)
    folder.chmod(mode)
    if owner:
        os.chown(folder, owner, owner)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(folder / "own" / "cache"))
    assert done.returncode == 0, done.stdout
    is_named = f"WARNING: {folder} is a folder in which other users could replace the environment cache" in done.stdout
    assert is_named is ((mode, owner) != (0o1777, 0))


NOBODY = 65534


@pytest.mark.parametrize("name", ["", ".ready"])
@pytest.mark.parametrize("kind", ["world", "group", "owner"])
def test_an_environment_that_others_could_write_is_refused(releases, warm_cache, tmp_path, name, kind):
    """Although its folder is right, as after a chmod; nothing of it is started, and the error says what to do."""
    if kind == "owner" and os.geteuid():
        pytest.skip("only root can give a file to another user")
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    [environment] = environments(cache)
    planted = environment / name
    if kind == "owner":
        os.chown(planted, NOBODY, NOBODY)
    else:
        planted.chmod(planted.stat().st_mode | (0o002 if kind == "world" else 0o020))
    (environment / "bin/python").unlink()
    (environment / "bin/python").write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
    (environment / "bin/python").chmod(0o755)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 78, done.stdout
    assert f"ERROR: the environment {planted} belongs to user" in done.stdout
    assert f"Remove {environment}; it will be built again." in done.stdout
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_what_is_built_is_private_whatever_the_umask(releases, tmp_path, mask):
    """The next start uses it; the task itself has the umask of the worker."""
    cache = tmp_path / "cache"
    previous = os.umask(mask)
    try:
        first = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
        second = run("ShowsItsMask", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    finally:
        os.umask(previous)
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + second.stdout
    assert "environment reused" in second.stdout
    assert f"umask {mask:o}\n" in second.stdout
    [environment] = environments(cache)
    for each in (cache / LAYOUT, environment, environment / ".ready", environment / "bin"):
        assert not each.stat().st_mode & 0o022, each


def run_without_privileges(spec, releases, cache):
    """Run a task as a user to whom permissions apply; as root, without the capabilities that override them."""
    variables = {"DKIST_ENVIRONMENT_CACHE": str(cache), "DKIST_RECIPE_RUN_ID": "42"}
    command = ["bash", "-c", runnable_script(spec, spec.nodes[0])]
    if not os.geteuid():
        command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *command]
        if subprocess.run([*command[:3], "true"], capture_output=True).returncode:
            pytest.skip("root cannot give up its capabilities here")
    return subprocess.run(
        command,
        env={**os.environ, **with_links(releases), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


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
    done = run_without_privileges(new_spec(), releases, image)
    assert (done.returncode, "INFO team: good, recipe run 42" in done.stdout) == (0, True), done.stdout
    assert "environment reused" in done.stdout
    done = run_without_privileges(new_spec(extras=("frozen", "more")), releases, image)
    assert (done.returncode, f"for {NAME}[frozen,more]==1.0 in it is missing" in done.stdout) == (78, True), done.stdout
    [environment] = environments(image)
    DAMAGES["the-task"](environment)
    done = run_without_privileges(new_spec(), releases, image)
    assert (done.returncode, "in it is damaged (lib/" in done.stdout) == (78, True), done.stdout
    assert sorted((image / LAYOUT).iterdir()) == before


def test_a_running_task_keeps_the_lock_of_a_cache_that_it_can_only_read(releases, image, tmp_path):
    """So whoever may write to the cache does not remove the environment meanwhile."""
    facts = tmp_path / "facts"
    if not os.geteuid():
        mounted = [["mount", "--bind", image, image], ["mount", "-o", "remount,ro,bind", image]]
        if any(subprocess.run(each, capture_output=True).returncode for each in mounted):
            pytest.skip("a folder cannot be mounted here")
    process = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(image), FACTS=str(facts))
    try:
        wait_for(facts)
        [listed] = collector.environments(image)
        assert listed.is_in_use
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)
        if not os.geteuid():
            subprocess.run(["umount", image], check=True)


@pytest.mark.parametrize("owner", [0, 1234])
def test_a_cache_on_a_file_system_that_is_read_only_is_used(releases, image, owner):
    """By root as well, whoever owns it, since nobody can write there; it can be listed."""
    if os.geteuid():
        pytest.skip("only root can mount a folder")
    for each in (image / LAYOUT, *(image / LAYOUT).iterdir()):
        os.chown(each, owner, owner)
    for options in (["--bind", image, image], ["-o", "remount,ro,bind", image]):
        done = subprocess.run(["mount", *options], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"a folder cannot be mounted here: {done.stderr.strip()}")
    try:
        done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(image))
        assert (done.returncode, "INFO team: good, recipe run 42" in done.stdout) == (0, True), done.stdout
        done = run(new_spec(extras=("frozen", "more")), releases, DKIST_ENVIRONMENT_CACHE=str(image))
        assert (done.returncode, "can only be read, and the environment" in done.stdout) == (78, True), done.stdout
        [listed] = collector.environments(image)
        assert (listed.is_ready, listed.is_in_use) == (True, False)
    finally:
        subprocess.run(["umount", image], check=True)


def test_a_release_that_does_not_exist_is_an_error_of_its_own(releases, tmp_path):
    """Exit status 69, the installer's message, what to check; nothing is left in the cache."""
    done = run(new_spec(version="9.9"), releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 69
    assert f"ERROR: the environment for {NAME}[frozen]==9.9 could not be built" in done.stdout
    assert "Check that this release is on the package index that this worker uses" in done.stdout
    assert f"no version of {NAME}[frozen]==9.9" in done.stdout
    assert environments(tmp_path / "cache") == []


def test_a_release_of_an_older_library_is_refused(releases, tmp_path):
    """An environment that could not run a task never becomes ready."""
    project = write_package(tmp_path, {}, name="dkist-too-old")
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(
        text.replace(f"dkist-processing-core>={VERSION}", "packaging").replace(
            f"dkist-processing-core=={VERSION}", "packaging"
        )
    )
    folder = tmp_path / "index"
    build_wheel(project, folder)
    done = run(new_spec(name="dkist-too-old"), folder, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 69
    assert "must depend on dkist-processing-core 8 or later" in done.stdout


def test_credentials_of_the_index_are_shown_nowhere(releases, tmp_path):
    """The installer's complaint about an index is printed without user and password."""
    secret = {
        "UV_DEFAULT_INDEX": "http://user:s3cret@127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
        "RUST_LOG": "uv=debug",
    }
    done = run("Good", releases, UV_CACHE_DIR=str(tmp_path / "uv"), **secret)
    assert done.returncode == 69
    assert "127.0.0.1:9" in done.stdout
    assert "s3cret" not in done.stdout


def test_dev_runs_from_a_checkout(releases, tmp_path):
    """A change of the sources is seen by the next start, without building anew."""
    project = write_package(tmp_path / "checkout", FILES, name=NAME)
    spec = new_spec(version="dev")
    settings = {"DKIST_ENVIRONMENT_CACHE": str(tmp_path / "cache"), "DKIST_DEV_PROJECT": str(project)}
    assert "INFO team: good, recipe run 42" in run(spec, releases, **settings).stdout
    tasks = project / "src/dkist_script_test/tasks.py"
    tasks.write_text(tasks.read_text().replace("good, recipe run", "changed, recipe run"))
    second = run(spec, releases, **settings)
    assert "INFO team: changed, recipe run 42" in second.stdout
    assert "environment reused" in second.stdout


def test_dev_runs_from_a_checkout_of_setuptools(releases, tmp_path):
    """Its lists of files are of another shape, and lie in the checkout."""
    project = write_package(tmp_path / "checkout", FILES, name=NAME)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(
        text.replace('requires = ["hatchling"]\nbuild-backend = "hatchling.build"', 'requires = ["setuptools"]')
    )
    done = run(new_spec(version="dev"), releases, DKIST_DEV_PROJECT=str(project))
    assert done.returncode == 0, done.stdout


def test_a_release_that_is_built_again_is_taken_by_the_next_build(releases, tmp_path):
    """Not the wheel of the same name that the installer knows; a start in the old environment says that it is old."""
    wheels = shutil.copytree(releases, tmp_path / "wheels")
    settings = {"DKIST_ENVIRONMENT_CACHE": str(tmp_path / "cache"), "UV_CACHE_DIR": str(tmp_path / "uv")}
    first = run("Good", wheels, **settings)
    assert "is newer than this environment" not in first.stdout
    project = write_package(tmp_path / "project", FILES, name=NAME)
    tasks = project / "src/dkist_script_test/tasks.py"
    tasks.write_text(tasks.read_text().replace("good, recipe run", "changed, recipe run"))
    build_wheel(project, wheels)
    second = run("Good", wheels, **settings)
    assert "INFO team: good, recipe run 42" in second.stdout
    assert "is newer than this environment of it, which is used as it is" in second.stdout
    shutil.rmtree(tmp_path / "cache")
    assert "INFO team: changed, recipe run 42" in run("Good", wheels, **settings).stdout


def test_dev_without_a_checkout_says_what_to_set(releases):
    """There is no release of that version, so the variable is named."""
    done = run(new_spec(version="dev"), releases)
    assert done.returncode == 78
    assert "DKIST_DEV_PROJECT is ''. Set DKIST_DEV_PROJECT to a checkout of the package" in done.stdout


def test_without_uv_pip_does_the_work(releases, tmp_path):
    """On a worker that has Python and bash only, the same environment is built, more slowly."""
    done = run("Good", releases, **worker_without_uv(tmp_path / "tools"))
    assert done.returncode == 0, done.stdout
    assert "there is no uv on PATH" in done.stdout
    assert "INFO team: good, recipe run 42" in done.stdout


UV_THAT_RECORDS = """\
#!/bin/sh
printf '%s\\n' "$@" "$PWD" >>{file}
test "$1" = venv
"""


def test_credentials_of_the_index_are_in_no_argument_list(releases, tmp_path):
    """They reach the installer by its environment, since everybody can read arguments."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text(UV_THAT_RECORDS.format(file=tmp_path / "arguments"))
    (tools / "uv").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    settings = {"PIP_INDEX_URL": "http://user:s3cret@127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "http://u:s3cret@h/"}
    done = run("Good", releases, PATH=path, **settings)
    assert done.returncode == 69
    arguments = (tmp_path / "arguments").read_text()
    assert "venv" in arguments
    assert "s3cret" not in arguments + done.stdout


def test_nothing_of_the_current_folder_decides_what_is_installed(releases, tmp_path):
    """Neither settings of uv there, nor those in a folder above the cache, nor a version of Python."""
    (tmp_path / "uv.toml").write_text('no-index = true\nfind-links = ["/none"]\n')
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nindex-url = "http://127.0.0.1:9/simple"\n')
    (tmp_path / ".python-version").write_text("2.7\n")
    (tmp_path / "packaging.py").write_text("raise RuntimeError\n")
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    """Nothing would keep two builders apart. The kernel's refusal is simulated: such file systems are rare."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(WorkerError, match="cannot lock files .flock.: No locks available. Set DKIST_") as caught:
        EnvironmentLocks(tmp_path / "x-1-y", patience=1, check=lambda: None)
    assert caught.value.status == 78


def test_a_lock_that_cannot_be_opened_is_an_error_with_a_remedy(tmp_path):
    """Such as on a disk that has no room for another file."""
    (tmp_path / "x-1-y.use").mkdir()
    with pytest.raises(
        WorkerError, match=r"the lock .*/x-1-y.use cannot be opened: Is a directory: .*/x-1-y.use."
    ) as caught:
        EnvironmentLocks(tmp_path / "x-1-y", patience=1, check=lambda: None)
    assert caught.value.status == UNAVAILABLE


def test_a_task_that_waits_for_a_builder_gives_up(releases, warm_cache, tmp_path):
    """After the time that is set, with exit status 69; a signal ends the wait at once."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    [environment] = environments(cache)
    (environment / ".ready").unlink()
    with environment.with_name(f"{environment.name}.build").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache), DKIST_BUILD_WAIT_SECONDS="1")
        assert done.returncode == 69
        assert "gave up waiting after 1 s for another task that is building" in done.stdout
        process = start(new_spec(), releases, DKIST_ENVIRONMENT_CACHE=str(cache))
        while "waiting for it" not in process.stdout.readline():
            pass
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 143
        process.communicate()


def test_a_build_is_ended_by_a_signal(releases, tmp_path):
    """The installer as well, and what it has built so far is removed."""
    cache = tmp_path / "cache"
    process = start(new_spec(), releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    while "building the environment" not in process.stdout.readline():
        pass
    process.terminate()
    stdout, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143, stdout
    assert environments(cache) == []

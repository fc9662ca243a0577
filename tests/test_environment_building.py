"""The environment of a task: built once, never corrupt, whatever happens meanwhile."""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from support.command_line import ended, first_on_path, read_until, run_command, with_mounts_of_its_own
from support.processes import wait_for
from support.releases import VERSION, build_wheel, write_package
from support.script_package import FILES, NAME
from support.script_runs import WORKER, environments, new_spec, run, start
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most, wait_until

from dkist_processing_core.worker.collector import prune

pytestmark = pytest.mark.network


def test_an_environment_is_built_once_and_then_reused(releases, tmp_path):
    """The first start builds it, the second says that it is reused; both run the task."""
    cache = tmp_path / "environments"
    first = run("Good", releases).check("dkist: building the environment")
    [environment] = environments(cache)
    assert environment.name.startswith(f"{NAME}-1.0-")
    assert len(environment.name) == len(f"{NAME}-1.0-") + 64
    second = run("Good", releases).check("dkist: environment reused")
    assert "building" not in second.stdout
    for done in (first, second):
        assert "INFO team: good, recipe run 42" in done.stdout
        assert "task dkist_script_test.tasks:Good ended with exit status 0" in done.stdout
    assert environments(cache) == [environment]


def test_the_environment_holds_the_release_and_nothing_of_airflow(warm_cache):
    """Exactly the pinned release of this library, no Airflow, no installer, at most 16 distributions; it says so."""
    [environment] = environments(warm_cache)
    program = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = run_command(environment / "bin/python", "-c", program).check()
    installed = json.loads(done.stdout)
    assert installed["dkist-processing-core"] == VERSION
    assert installed[NAME] == "1.0"
    assert len(installed) <= 16
    marker = json.loads((environment / ".ready").read_text())
    assert (marker["requirement"], len(marker["distributions"])) == (f"{NAME}[frozen]==1.0", len(installed))
    assert not {"apache-airflow", "nbformat", "rich", "pip"} & set(installed)
    assert list(environment.glob("lib/*/site-packages/dkist_processing_core/__pycache__/task.*.pyc"))


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
            done.check("could not be built. The log has the installer's output", status=69)
            assert len(connections) >= retries + 1
            return took

        assert_takes_at_most(20 + 20 * retries, attempt)
        index.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
    thread.join(5)


def test_a_worker_without_any_network_runs_what_is_ready(releases, warm_cache, tmp_path):
    """In a network namespace with no way out, the warm task runs, and a cold one says that it cannot be built."""
    program = [*with_mounts_of_its_own(), "--net", *WORKER]
    settings = {"PIP_RETRIES": "0", "UV_CACHE_DIR": str(tmp_path / "no-cache")}
    warm = {**settings, "DKIST_ENVIRONMENT_CACHE": str(warm_cache)}
    ended(start(new_spec(), releases, *program, **warm)).check("INFO team: good, recipe run 42")
    refusal = f"the environment for {NAME}[frozen]==1.0 could not be built. The log has the installer's output"
    ended(start(new_spec(), releases, *program, **settings)).check(refusal, status=69)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_in_the_way_of_an_environment_is_left(releases, environment, tmp_path, kind):
    """Somebody else's data, under the very name: exit status 78, and it is still there."""
    shutil.rmtree(environment)
    data = tmp_path / "data" if kind == "link" else environment
    if kind == "file":
        data.write_text("data")
    else:
        data.mkdir()
        (data / "frame").write_text("data")
        if kind == "link":
            environment.symlink_to(data)
    done = run("Good", releases).check(str(environment), status=78)
    assert "worker program failed" not in done.stdout
    assert (data if kind == "file" else data / "frame").read_text() == "data"


def test_a_killed_build_is_no_environment(releases, tmp_path):
    """A build that is killed in the middle is followed by a normal start that succeeds."""
    cache = tmp_path / "environments"
    process = start(new_spec(), releases)
    read_until(process, "building the environment")
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert [list(each.glob(".ready")) for each in environments(cache)] in ([], [[]])
    run("Good", releases).check()


def test_simultaneous_first_starts_share_one_build_of_each_environment(releases, tmp_path):
    """Four environments, four tasks each: four builds, which overlap in time; the other tasks wait, all succeed."""
    specs = [new_spec(extras=("frozen", f"x{number}")) for number in range(4)]
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda spec: run(spec, releases), specs * 4))
    assert [each.returncode for each in done] == [0] * 16
    assert sum("built meanwhile" in each.stdout or "environment reused" in each.stdout for each in done) == 12
    spans = []
    for each in done:
        times = [line.split()[1] for line in each.stdout.splitlines() if "dkist: " in line and "environment" in line]
        if "building the environment" in each.stdout:
            spans.append((times[0], times[-1]))
    assert len(spans) == len(environments(tmp_path / "environments")) == 4
    assert max(begin for begin, _ in spans) <= min(end for _, end in spans)


def test_constraints_decide_what_is_installed_with_a_release(releases, tmp_path):
    """Another constraint is another environment, with that version; the path of the cache may hold a space."""
    versions = {}
    for version in ("25.0", "26.0"):
        [node] = new_spec().nodes
        spec = dataclasses.replace(new_spec(), nodes=(dataclasses.replace(node, constraints=f"packaging=={version}"),))
        run(spec, releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "a cache")).check()
    for environment in environments(tmp_path / "a cache"):
        [info] = environment.glob("lib/*/site-packages/packaging-*.dist-info")
        versions[(environment / ".constraints.txt").read_text()] = info.name.split("-")[1].removesuffix(".dist")
    assert versions == {"packaging==25.0\n": "25.0", "packaging==26.0\n": "26.0"}


def test_a_build_removes_what_nobody_uses_any_more(releases, environment):
    """By age."""
    lock = environment.with_name(f"{environment.name}.use")
    os.utime(lock, (0, 0))
    run(new_spec(extras=("frozen", "other")), releases).check(f"removed the unused environment {environment}")
    assert not environment.exists()
    assert not lock.exists()


def test_an_environment_that_runs_is_not_pruned(releases, cache, tmp_path):
    """The lock that counts is the one that the task itself has inherited."""
    facts = tmp_path / "facts"
    process = start(new_spec("Waits"), releases, FACTS=str(facts))
    wait_for(facts)
    assert prune(cache, older_than=timedelta(0), max_size=0) == []
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert len(prune(cache, older_than=timedelta(0))) == 1
    assert environments(cache) == []


def test_a_task_that_starts_while_its_environment_is_removed_builds_it_anew(releases, cache):
    """Starts and removals of the same environment, over and over: every task succeeds."""
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
                done += pool.map(lambda _: run("Good", releases), range(2))
    finally:
        stop.set()
        remover.join()
    assert [each.returncode for each in done] == [0] * 8, [each.stdout for each in done if each.returncode]
    assert sum("building the environment" in each.stdout for each in done) >= 4


def test_a_release_that_does_not_exist_is_an_error_of_its_own(releases, tmp_path):
    """Exit status 69, the installer's message, what to check; nothing is left in the cache."""
    run(new_spec(version="9.9"), releases).check(
        f"ERROR: the environment for {NAME}[frozen]==9.9 could not be built",
        "Check that this release is on the package index that this worker uses",
        f"no version of {NAME}[frozen]==9.9",
        status=69,
    )
    assert environments(tmp_path / "environments") == []


def test_a_release_of_an_older_library_is_refused(releases, tmp_path):
    """An environment that could not run a task never becomes ready."""
    project = write_package(tmp_path, {}, name="dkist-too-old", frozen=["packaging"])
    folder = tmp_path / "index"
    build_wheel(project, folder)
    run(new_spec(name="dkist-too-old"), folder).check("must depend on dkist-processing-core 8 or later", status=69)


def test_credentials_of_the_index_are_shown_nowhere(releases, tmp_path):
    """The installer's complaint about an index is printed without user and password."""
    secret = {
        "UV_DEFAULT_INDEX": "http://user:s3cret@127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
        "RUST_LOG": "uv=debug",
    }
    done = run("Good", releases, UV_CACHE_DIR=str(tmp_path / "uv"), **secret).check("127.0.0.1:9", status=69)
    assert "s3cret" not in done.stdout


@pytest.mark.parametrize("backend", ["hatchling.build", "setuptools.build_meta"])
def test_dev_runs_from_a_checkout(releases, tmp_path, backend):
    """A change of the sources is seen by the next start, without building anew, however lists of files are written."""
    project = write_package(tmp_path / "checkout", FILES, name=NAME, backend=backend)
    spec = new_spec(version="dev")
    settings = {"DKIST_DEV_PROJECT": str(project)}
    run(spec, releases, **settings).check("INFO team: good, recipe run 42")
    tasks = project / "src/dkist_script_test/tasks.py"
    tasks.write_text(tasks.read_text().replace("good, recipe run", "changed, recipe run"))
    run(spec, releases, **settings).check("INFO team: changed, recipe run 42", "environment reused")


def test_a_release_that_is_built_again_is_taken_by_the_next_build(releases, tmp_path):
    """Not the wheel of the same name that the installer knows; a start in the old environment says that it is old."""
    wheels = shutil.copytree(releases, tmp_path / "wheels")
    settings = {"UV_CACHE_DIR": str(tmp_path / "uv")}
    assert "is newer than this environment" not in run("Good", wheels, **settings).check().stdout
    project = write_package(tmp_path / "project", FILES, name=NAME)
    tasks = project / "src/dkist_script_test/tasks.py"
    tasks.write_text(tasks.read_text().replace("good, recipe run", "changed, recipe run"))
    build_wheel(project, wheels)
    warning = "is newer than this environment of it. The environment is used as it is."
    run("Good", wheels, **settings).check("INFO team: good, recipe run 42", warning)
    shutil.rmtree(tmp_path / "environments")
    run("Good", wheels, **settings).check("INFO team: changed, recipe run 42")


def test_dev_without_a_checkout_says_what_to_set(releases):
    """There is no release of that version, so the variable is named."""
    message = "DKIST_DEV_PROJECT is ''. Set DKIST_DEV_PROJECT to a checkout of the package"
    run(new_spec(version="dev"), releases).check(message, status=78)


UV_THAT_RECORDS = """\
#!/bin/sh
printf '%s\\n' "$@" "$PWD" >>{file}
test "$1" = venv
"""


def test_credentials_of_the_index_are_in_no_argument_list(releases, tmp_path):
    """They reach the installer by its environment, since everybody can read arguments."""
    path = first_on_path(tmp_path / "tools", "uv", UV_THAT_RECORDS.format(file=tmp_path / "arguments"))
    settings = {"PIP_INDEX_URL": "http://user:s3cret@127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "http://u:s3cret@h/"}
    done = run("Good", releases, PATH=path, **settings).check(status=69)
    arguments = (tmp_path / "arguments").read_text()
    assert "venv" in arguments
    assert "s3cret" not in arguments + done.stdout


def test_nothing_of_the_current_folder_decides_what_is_installed(releases, tmp_path):
    """Neither settings of uv there, nor those in a folder above the cache, nor a version of Python."""
    (tmp_path / "uv.toml").write_text('no-index = true\nfind-links = ["/none"]\n')
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nindex-url = "http://127.0.0.1:9/simple"\n')
    (tmp_path / ".python-version").write_text("2.7\n")
    (tmp_path / "packaging.py").write_text("raise RuntimeError\n")
    run("Good", releases).check()


def test_a_task_that_waits_for_a_builder_gives_up(releases, environment):
    """After the time that is set, with exit status 69; a signal ends the wait at once."""
    (environment / ".ready").unlink()
    with environment.with_name(f"{environment.name}.build").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("Good", releases, DKIST_BUILD_WAIT_SECONDS="1")
        done.check("gave up waiting after 1 s for another task that is building", status=69)
        process = start(new_spec(), releases)
        read_until(process, "waiting for it")
        process.terminate()
        ended(process).check(status=143)


def test_a_build_is_ended_by_a_signal(releases, tmp_path):
    """The installer as well, and what it has built so far is removed."""
    cache = tmp_path / "environments"
    process = start(new_spec(), releases)
    read_until(process, "building the environment")
    process.terminate()
    ended(process).check(status=143)
    assert environments(cache) == []

"""The script that runs a node: real bash, real environments, a real release."""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import is_alive, wait_for, wait_until_dead
from support.releases import VERSION, build_wheel, with_links, write_package
from support.script_package import FILES, NAME

from dkist_processing_core.environments import prune
from dkist_processing_core.rendering.task_script import node_environment, runnable_script, task_script
from dkist_processing_core.spec import NodeSpec, WorkflowSpec

pytestmark = pytest.mark.network
REQUIREMENT = f"{NAME}[frozen]==1.0"


@pytest.fixture(scope="session")
def releases(core_wheel, tmp_path_factory):
    """A folder with the wheels of this library and of a team's release."""
    folder = tmp_path_factory.mktemp("releases")
    for wheel in core_wheel.glob("*.whl"):
        shutil.copy(wheel, folder)
    project = write_package(tmp_path_factory.mktemp("sources"), FILES, name=NAME)
    build_wheel(project, folder)
    return folder


@pytest.fixture(scope="session")
def warm_cache(releases, tmp_path_factory):
    """A cache in which the environment of the release is ready."""
    cache = tmp_path_factory.mktemp("warm_cache")
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 0, done.stdout
    return cache


def new_spec(task="Good", *, name=NAME, version="1.0", extras=("frozen",)):
    node = NodeSpec(
        name=task,
        task=f"dkist_script_test.tasks:{task}",
        upstreams=(),
        queue="default",
        pool="default_pool",
        extras=extras,
        retries=0,
        retry_delay_seconds=60,
        doc="",
    )
    return WorkflowSpec(
        name="a_to_b_script",
        version=version,
        dag_id=f"a_to_b_script_{version}",
        package="dkist_script_test.workflows",
        distribution=name,
        tags=(),
        nodes=(node,),
    )


def start(spec, releases, **environment):
    variables = {"DKIST_RECIPE_RUN_ID": "42", **with_links(releases), **environment}
    return subprocess.Popen(
        ["bash", "-c", runnable_script(spec, spec.nodes[0])],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(spec, releases, **environment):
    spec = new_spec(spec) if isinstance(spec, str) else spec
    process = start(spec, releases, **environment)
    try:
        stdout, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, "")


def environments(cache):
    return [each for each in Path(cache).iterdir() if each.is_dir()]


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
        started = time.monotonic()
        settings = {"PIP_INDEX_URL": address, "PIP_TIMEOUT": "1", "PIP_RETRIES": str(retries)}
        done = run("Good", tmp_path, UV_CACHE_DIR=str(tmp_path / "uv"), **settings)
        took = time.monotonic() - started
        index.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()
    thread.join(5)
    assert done.returncode == 69, done.stdout
    assert "could not be built; the installer's messages are above" in done.stdout
    assert len(connections) >= retries + 1
    assert took < 10 + 10 * retries


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
            timeout=60,
        )
    assert outcomes["warm"].returncode == 0, outcomes["warm"].stdout
    assert outcomes["cold"].returncode == 69, outcomes["cold"].stdout


def test_a_half_built_environment_is_built_anew(releases, warm_cache, tmp_path):
    """Without the ready marker nothing of it is trusted."""
    cache = tmp_path / "cache"
    [ready] = environments(warm_cache)
    half = cache / ready.name
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
    (half / "bin" / "python").chmod(0o755)
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 0, done.stdout
    assert "INFO team: good, recipe run 42" in done.stdout
    assert (half / ".ready").read_text() == f"{REQUIREMENT}\n"


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
    for name in ("unused-1-x", "used-1-x"):
        (cache / name).mkdir()
        (cache / name / ".ready").write_text("old[frozen]==1\n")
        (cache / f"{name}.use").touch()
        os.utime(cache / f"{name}.use", (0, 0))
    with (cache / "used-1-x.use").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        done = run(new_spec(extras=("frozen", "other")), releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 0, done.stdout
    assert f"removed the unused environment {cache / 'unused-1-x'}" in done.stdout
    assert "used-1-x" in {each.name for each in environments(cache)}
    assert len(environments(cache)) == 3


def test_an_environment_that_runs_is_not_pruned(releases, warm_cache, tmp_path):
    """The lock that counts is the one that the task itself has inherited."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    facts = tmp_path / "facts"
    process = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(cache), FACTS=str(facts))
    wait_for(facts)
    assert prune(cache, older_than=timedelta(0), max_size=0) == []
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
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
    try:
        with ThreadPoolExecutor(2) as pool:
            starts = pool.map(lambda _: run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache)), range(8))
            done = list(starts)
    finally:
        stop.set()
        remover.join()
    assert [each.returncode for each in done] == [0] * 8, [each.stdout for each in done if each.returncode]
    assert any("building the environment" in each.stdout for each in done)


@pytest.mark.parametrize(
    "flock", [None, "#!/bin/sh\necho flock: No locks available >&2; exit 71\n"], ids=["absent", "unsupported"]
)
def test_a_cache_that_cannot_be_locked_is_refused(releases, tmp_path, flock):
    """Without flock, or on a file system without it, nothing would keep two builders apart."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "mkdir", "sed", "touch"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    if flock:
        (tools / "flock").write_text(flock)
        (tools / "flock").chmod(0o755)
    done = run("Good", releases, PATH=str(tools))
    assert done.returncode == 78
    what = (
        "cannot be locked (flock). Set DKIST_ENVIRONMENT_CACHE to a local folder." if flock else "there is no flock on"
    )
    assert what in done.stdout


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


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "1 2",
        "1\n",
        "-1",
        "٣",
        "1); import os; os.system('touch owned')  #",
        "$(touch owned)",
        "`touch owned`",
        "'; touch owned; '",
    ],
    ids=["empty", "word", "two", "newline", "negative", "other-digits", "python", "substitution", "backticks", "quote"],
)
def test_a_hostile_recipe_run_id_runs_nothing(releases, tmp_path, value):
    """Exit status 65 with the value shown; no environment is built, no command in the value is run."""
    done = run("Good", releases, DKIST_RECIPE_RUN_ID=value)
    assert done.returncode == 65
    assert "ERROR: recipe_run_id must be an integer, not" in done.stdout
    assert list(tmp_path.rglob("owned")) == []
    assert not (tmp_path / "environments").exists()


@pytest.mark.parametrize("name", ["DKIST_TASK", "DKIST_REQUIREMENT", "DKIST_WORKFLOW_NAME", "DKIST_WORKFLOW_VERSION"])
def test_a_missing_variable_is_named(name):
    """The bare script says which variable it needs."""
    spec = new_spec()
    variables = {**node_environment(spec, spec.nodes[0]), "DKIST_RECIPE_RUN_ID": "1"}
    del variables[name]
    done = subprocess.run(
        ["bash", "-c", task_script()], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert f"ERROR: {name} is not set" in done.stderr


def test_the_task_sees_nothing_of_airflow(releases, warm_cache, tmp_path):
    """Neither settings nor secrets nor Python paths of the worker's own environment reach it."""
    facts = tmp_path / "facts.json"
    unwanted = {
        "AIRFLOW__CORE__FERNET_KEY": "k",
        "AIRFLOW_CONN_DB": "c",
        "AIRFLOW_VAR_X": "v",
        "_AIRFLOW__AS_LIBRARY": "1",
        "AIRFLOW_HOME": "/a",
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": "x",
    }
    done = run(
        "ShowsItsPlace",
        releases,
        DKIST_ENVIRONMENT_CACHE=str(warm_cache),
        FACTS=str(facts),
        MINE="kept",
        AIRFLOW_CTX_DAG_RUN_ID="r",
        SSL_CERT_FILE=os.environ.get("SSL_CERT_FILE", ""),
        PIP_CERT=os.environ.get("PIP_CERT", ""),
        **unwanted,
    )
    assert done.returncode == 0, done.stdout
    seen = json.loads(facts.read_text())
    assert not set(unwanted) & set(seen["variables"])
    assert not seen["has_airflow"]
    assert seen["recipe_run_id"] == 42
    assert seen["prefix"] == str(environments(warm_cache)[0])
    assert seen["variables"]["MINE"] == "kept"
    assert seen["variables"]["AIRFLOW_CTX_DAG_RUN_ID"] == "r"
    assert str(tmp_path) not in seen["path"]
    assert seen["variables"]["PATH"].startswith(f"{seen['prefix']}/bin:")
    assert "DKIST_DEV_INSTALL" not in seen["variables"]
    assert "UV_INDEX_STRATEGY" not in seen["variables"]


def before(line, insertion, script):
    """Return the script with something inserted, to widen a window in which something else may happen."""
    assert script.count(f"\n{line}\n") == 1
    return script.replace(f"\n{line}\n", f"\n{insertion}\n{line}\n")


BEGINNING_OF_THE_TASK = 'set -m\n"$dkist_environment/bin/python" -P -m dkist_processing_core.run_task "$DKIST_TASK" \\'
BEGINNING_OF_THE_WAIT = "dkist_status="


@pytest.mark.parametrize("line", [BEGINNING_OF_THE_TASK, BEGINNING_OF_THE_WAIT], ids=["before-the-start", "after-it"])
def test_a_signal_is_not_lost_while_the_task_is_being_started(releases, warm_cache, tmp_path, line):
    """Wherever it arrives, the task is told, and none is left running."""
    facts = tmp_path / "facts"
    spec = new_spec("Waits")
    process = subprocess.Popen(
        ["bash", "-c", before(line, "echo now; sleep 1", runnable_script(spec, spec.nodes[0]))],
        env={
            **os.environ,
            **with_links(releases),
            "DKIST_ENVIRONMENT_CACHE": str(warm_cache),
            "DKIST_RECIPE_RUN_ID": "1",
            "FACTS": str(facts),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while process.stdout.readline() != "now\n":
        pass
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 143, stdout
    if facts.exists():
        wait_until_dead([int(facts.read_text())], 5)


def test_names_of_the_worker_are_not_changed_for_the_task(releases, warm_cache, tmp_path):
    """A variable of the worker reaches the task as it is, whatever its name."""
    facts = tmp_path / "facts.json"
    theirs = dict.fromkeys(("name", "environment", "cache", "task", "python", "home", "key", "status"), "mine")
    done = run("ShowsItsPlace", releases, DKIST_ENVIRONMENT_CACHE=str(warm_cache), FACTS=str(facts), **theirs)
    assert done.returncode == 0, done.stdout
    seen = json.loads(facts.read_text())["variables"]
    assert theirs.items() <= seen.items()
    assert not [name for name in seen if name.startswith("dkist_")]


@pytest.mark.parametrize("name", ["DKIST_GRACE_SECONDS", "DKIST_BUILD_WAIT_SECONDS"])
@pytest.mark.parametrize("value", ["abc", "1.5", "-1"])
def test_a_time_that_is_none_is_refused(releases, name, value):
    """Before anything is started that could then not be ended."""
    done = run("Good", releases, **{name: value})
    assert done.returncode == 78
    assert f"ERROR: {name} is '{value}'; it must be a number of seconds." in done.stdout


def test_the_exit_status_is_that_of_the_task(releases, warm_cache):
    """A task that raises gives 1, with its traceback in the log."""
    done = run("Bad", releases, DKIST_ENVIRONMENT_CACHE=str(warm_cache))
    assert done.returncode == 1
    assert "RuntimeError: the flat is missing" in done.stdout
    assert "task dkist_script_test.tasks:Bad ended with exit status 1" in done.stdout


@pytest.mark.parametrize("delay", ["0", "0.3"], ids=["at-once", "reaped-before-the-wait"])
def test_the_exit_status_of_a_task_that_dies_at_once_is_not_lost(releases, warm_cache, tmp_path, delay):
    """Also if it has ended before the script begins to wait for it."""
    cache = shutil.copytree(warm_cache, tmp_path / "copy", symlinks=True)
    [environment] = environments(cache)
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/bin/false")
    spec = new_spec()
    delayed = before(BEGINNING_OF_THE_WAIT, f"sleep {delay}", runnable_script(spec, spec.nodes[0]))
    variables = {
        **os.environ,
        **with_links(releases),
        "DKIST_RECIPE_RUN_ID": "1",
        "DKIST_ENVIRONMENT_CACHE": str(cache),
    }
    for _ in range(10):
        done = subprocess.run(["bash", "-c", delayed], env=variables, capture_output=True, text=True)
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stderr == ""


def test_sigterm_ends_the_task_in_order(releases, warm_cache, tmp_path):
    """What Airflow sends to the group ends the task: its teardown runs, and nothing is left."""
    facts = tmp_path / "facts"
    process = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(warm_cache), FACTS=str(facts))
    pids = wait_for(facts)
    os.killpg(process.pid, signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 143, stdout
    assert "told to end" in stdout
    assert "torn down" in stdout
    assert "Done" not in stdout
    assert "Terminated  " not in stdout
    wait_until_dead(pids, 5)


def test_a_task_that_ignores_sigterm_is_killed_with_its_children(releases, warm_cache, tmp_path):
    """After the grace period neither it nor its child is left."""
    facts = tmp_path / "facts"
    process = start(
        new_spec("Stubborn"),
        releases,
        DKIST_ENVIRONMENT_CACHE=str(warm_cache),
        FACTS=str(facts),
        DKIST_GRACE_SECONDS="2",
    )
    pids = wait_for(facts)
    assert all(map(is_alive, pids))
    os.killpg(process.pid, signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 137
    assert "the task was killed (SIGKILL)" in stdout
    wait_until_dead(pids, 5)


@pytest.mark.parametrize("task", ["Waits", "Stubborn"])
def test_a_task_does_not_outlive_airflow(releases, warm_cache, tmp_path, task):
    """When the process that started the script is killed, the task ends by itself."""
    facts = tmp_path / "facts"
    spec = new_spec(task)
    program = "import subprocess, sys; subprocess.run(['bash', '-c', sys.argv[1]], start_new_session=True)"
    parent = subprocess.Popen(
        [sys.executable, "-c", program, runnable_script(spec, spec.nodes[0])],
        env={
            **os.environ,
            **with_links(releases),
            "DKIST_ENVIRONMENT_CACHE": str(warm_cache),
            "DKIST_RECIPE_RUN_ID": "1",
            "DKIST_GRACE_SECONDS": "2",
            "FACTS": str(facts),
            "AIRFLOW_CTX_DAG_ID": "d",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pids = wait_for(facts)
    parent.kill()
    parent.wait()
    wait_until_dead(pids, 10)


def test_what_a_task_leaves_running_is_ended(releases, warm_cache, tmp_path):
    """A task that succeeds while a child of it still runs is a success, and the child is gone."""
    facts = tmp_path / "facts"
    started = time.monotonic()
    done = run("LeavesAChild", releases, DKIST_ENVIRONMENT_CACHE=str(warm_cache), FACTS=str(facts))
    assert done.returncode == 0
    assert "processes that the task had left behind were killed" in done.stdout
    assert time.monotonic() - started < 60
    wait_until_dead(wait_for(facts), 5)


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


def test_dev_without_a_checkout_says_what_to_set(releases):
    """There is no release of that version, so the variable is named."""
    done = run(new_spec(version="dev"), releases)
    assert done.returncode == 78
    assert "DKIST_DEV_PROJECT is ''. Set DKIST_DEV_PROJECT to a checkout of the package" in done.stdout


def test_without_uv_pip_does_the_work(releases, tmp_path):
    """On a worker that has Python and bash only, the same environment is built, more slowly."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "flock", "mkdir", "mv", "rm", "sed", "sleep", "touch"):
        (tools / name).symlink_to(shutil.which(name))
    python = tools / "python3"
    python.symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    done = run("Good", releases, PATH=str(tools))
    assert done.returncode == 0, done.stdout
    assert "there is no uv on PATH" in done.stdout
    assert "INFO team: good, recipe run 42" in done.stdout


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DKIST_PYTHON": "no-such-python"}, "no no-such-python on PATH="),
        ({"DKIST_ENVIRONMENT_CACHE": "/proc/none"}, "the environment cache /proc/none cannot be written"),
    ],
    ids=["python", "cache"],
)
def test_a_setting_that_cannot_be_used_is_named(releases, environment, message):
    """Exit status 78, the variable, its value and what to do."""
    done = run("Good", releases, **environment)
    assert done.returncode == 78
    assert f"ERROR: {message}" in done.stdout
    assert f"DKIST_{'PYTHON' if 'DKIST_PYTHON' in environment else 'ENVIRONMENT_CACHE'}" in done.stdout


def describe(**environment):
    """Return the name of the folder that an environment has, and the settings for the installer."""
    program = (Path(task_script.__wrapped__.__code__.co_filename).parent / "describe_environment.py").read_text()
    kept = {name: os.environ[name] for name in ("HOME", "PATH")}
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=program,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    key, *assignments = done.stdout.rstrip("\0").split("\0")
    return key, dict(each.split("=", 1) for each in assignments)


@pytest.mark.parametrize(
    "change",
    [
        {"DKIST_REQUIREMENT": "x[frozen]==1.1"},
        {"DKIST_REQUIREMENT": "y[frozen]==1.0"},
        {"DKIST_REQUIREMENT": "x[frozen,asdf]==1.0"},
        {"PIP_INDEX_URL": "http://other/simple"},
        {"PIP_EXTRA_INDEX_URL": "http://other/simple"},
        {"UV_DEFAULT_INDEX": "http://other/simple"},
        {"UV_FIND_LINKS": "/elsewhere"},
        {"PIP_NO_INDEX": "1"},
        {"PIP_PRE": "1"},
        {"UV_EXCLUDE_NEWER": "2026-01-01"},
    ],
    ids="-".join,
)
def test_every_input_changes_the_key(change):
    """Another release, name, extra or source of packages is another environment."""
    base = {"DKIST_REQUIREMENT": "x[frozen]==1.0"}
    assert describe(**base)[0] != describe(**{**base, **change})[0]


def test_the_contents_of_constraints_change_the_key(tmp_path):
    """The file's text counts, not only its name."""
    file = tmp_path / "constraints.txt"
    keys = []
    for text in ("a==1", "a==2"):
        file.write_text(text)
        keys.append(describe(DKIST_REQUIREMENT="x[frozen]==1.0", PIP_CONSTRAINT=str(file))[0])
    assert keys[0] != keys[1]


@settings(max_examples=10, deadline=None)
@given(st.permutations(["frozen", "asdf", "quality", "Big_Extra"]))
def test_what_means_the_same_has_the_same_key(extras):
    """Order and spelling of extras, and the password of an index, make no other environment."""
    key, _ = describe(DKIST_REQUIREMENT=f"Some_Name[{','.join(extras)}]==1.0", PIP_INDEX_URL="http://u:one@h/simple")
    same, _ = describe(
        DKIST_REQUIREMENT="some-name[asdf,big-extra,frozen,quality]==1.0", PIP_INDEX_URL="http://u:two@h/simple"
    )
    assert key == same


def test_settings_of_pip_reach_uv(tmp_path):
    """From pip.conf and from the environment, which wins; what is set for uv itself stays."""
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = http://conf/simple\nextra-index-url =\n    http://one/simple\n    http://two/simple\n"
        "timeout = 33\n[install]\nfind-links = /a /b\nno-index = no\ntrusted-host = h1\n"
    )
    _, found = describe(DKIST_REQUIREMENT="x[frozen]==1.0", PIP_CONFIG_FILE=str(conf))
    assert found["UV_DEFAULT_INDEX"] == "http://conf/simple"
    assert found["UV_INDEX"] == "http://one/simple http://two/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert (found["UV_HTTP_TIMEOUT"], found["UV_HTTP_RETRIES"], found["UV_INSECURE_HOST"]) == ("33", "5", "h1")
    assert "UV_NO_INDEX" not in found
    _, found = describe(
        DKIST_REQUIREMENT="x[frozen]==1.0",
        PIP_CONFIG_FILE=str(conf),
        PIP_INDEX_URL="http://env/simple",
        UV_FIND_LINKS="/c",
    )
    assert found["UV_DEFAULT_INDEX"] == "http://env/simple"
    assert "UV_FIND_LINKS" not in found


def test_a_broken_configuration_of_pip_is_named_and_not_shown(tmp_path):
    """A line of it may hold a password."""
    conf = tmp_path / "pip.conf"
    conf.write_text("index-url = https://user:s3cret@host/simple\n")
    program = (Path(task_script.__wrapped__.__code__.co_filename).parent / "describe_environment.py").read_text()
    variables = {"HOME": "/", "DKIST_REQUIREMENT": "x[frozen]==1", "PIP_CONFIG_FILE": str(conf)}
    done = subprocess.run([sys.executable, "-I", "-"], input=program, env=variables, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"{conf} cannot be read (MissingSectionHeaderError)" in done.stderr
    assert "s3cret" not in done.stderr


def test_times_of_pip_are_whole_seconds_for_uv():
    """pip takes fractions, uv does not."""
    assert describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_TIMEOUT="2.5")[1]["UV_HTTP_TIMEOUT"] == "3"


def test_constraints_at_an_address_need_not_be_read_for_the_key():
    """The address itself counts."""
    one, _ = describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="https://u:p@host/one.txt")
    two, _ = describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="https://u:p@host/two.txt")
    assert one != two


def test_a_malformed_requirement_is_refused():
    """What the exported DAG could not have set is named."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        describe(DKIST_REQUIREMENT="x; rm -rf /")
    assert "DKIST_REQUIREMENT is 'x; rm -rf /'; it must read name[extra,...]==version" in caught.value.stderr


def test_the_other_forms_of_the_node_run_too(warm_cache):
    """The run command and the Python statements of a node do what the script does, in its environment."""
    from support.tasks import First

    from dkist_processing_core.node import Node

    [environment] = environments(warm_cache)
    node = Node("a_to_b_script", "1.0", "dkist_script_test.workflows", First)
    spec = dataclasses.replace(node.spec, task="dkist_script_test.tasks:Good")
    variables = {**os.environ, "DKIST_RECIPE_RUN_ID": "7", "PATH": f"{environment}/bin:{os.environ['PATH']}"}
    command = node.run_command.replace(node.spec.task, spec.task)
    done = subprocess.run(["bash", "-c", command], env=variables, capture_output=True, text=True, check=True)
    assert "INFO team: good, recipe run 7" in done.stderr
    program = node.python.replace(node.spec.task, spec.task)
    subprocess.run([environment / "bin/python", "-c", program], env=variables, check=True)
    assert node.install_command.startswith("uv pip install '")

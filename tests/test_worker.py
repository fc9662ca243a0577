"""The script that runs a node: real bash, a real environment, a real release."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.processes import is_alive, wait_for, wait_until_dead
from support.releases import with_links
from support.script_runs import environments, new_spec, run, start
from support.tasks import First

from dkist_processing_core.node import Node
from dkist_processing_core.rendering.script import node_environment, runnable_script, task_script

pytestmark = pytest.mark.network


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


BEGINNING_OF_THE_TASK = "start_task"

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


def test_the_other_forms_of_the_node_run_too(warm_cache):
    """The run command and the Python statements of a node do what the script does, in its environment."""
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

"""The worker program: a real environment, a real release, real signals."""

import dataclasses
import json
import logging
import os
import platform
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support.command_line import ended, first_on_path, read_until, run_command, run_python
from support.processes import is_alive, session_members, wait_for, wait_until_dead
from support.script_runs import PATIENT_GRACE, WORKER, environments, new_spec, run, start
from support.tasks import First
from support.waiting import PATIENCE_SECONDS

import dkist_processing_core
from dkist_processing_core.common.environment import read_description
from dkist_processing_core.common.log_lines import OUTCOME, Line, parse
from dkist_processing_core.common.metadata import ENVIRONMENT_IDENTITY
from dkist_processing_core.common.outcome import INCOMPLETE, OUTCOME_VARIABLE, Outcome
from dkist_processing_core.node import Node
from dkist_processing_core.rendering.script import node_variables, runnable_script
from dkist_processing_core.worker import log

pytestmark = pytest.mark.network


HOSTILE = {
    "empty": "",
    "word": "x",
    "two": "1 2",
    "newline": "1\n",
    "negative": "-1",
    "other-digits": "٣",
    "zero": "0",
    "65-bits": "9223372036854775808",
    "long": "1" * 5000,
    "python": "1); import os; os.system('touch owned')  #",
    "substitution": "$(touch owned)",
    "backticks": "`touch owned`",
    "quote": "'; touch owned; '",
}


@pytest.fixture
def warm(warm_cache, tmp_path):
    """The variables of a worker whose environment is ready, with a file that its tasks write to."""
    return {"DKIST_ENVIRONMENT_CACHE": str(warm_cache), "FACTS": str(tmp_path / "facts")}


@pytest.fixture
def facts(tmp_path):
    """The file that tasks write to."""
    return tmp_path / "facts"


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_recipe_run_id_runs_nothing(releases, tmp_path, value):
    """Exit status 65 with the value shown; no environment is built, no command in the value is run."""
    run("Good", releases, DKIST_RECIPE_RUN_ID=value).check("ERROR: recipe_run_id must be an integer, not", status=65)
    assert list(tmp_path.rglob("owned")) == []
    assert not (tmp_path / "environments").exists()


@pytest.mark.parametrize("name", ["DKIST_TASK", "DKIST_REQUIREMENT", "DKIST_WORKFLOW_NAME", "DKIST_WORKFLOW_VERSION"])
def test_a_missing_variable_is_named(name):
    """The program says which variable it needs."""
    spec = new_spec()
    variables = {**node_variables(spec, spec.nodes[0]), "DKIST_RECIPE_RUN_ID": "1"}
    del variables[name]
    run_command(*WORKER, **variables).check(f"ERROR: {name} is not set", status=78)


def test_the_program_needs_the_standard_library_alone():
    """It starts in a Python that has nothing else."""
    folder = Path(dkist_processing_core.__file__).parents[1]
    program = f"""
import sys
sys.path.insert(0, {str(folder)!r})
from dkist_processing_core.worker import collector, install
from dkist_processing_core.worker.__main__ import main
outside = [each for each in sys.modules if each.partition(".")[0] not in sys.stdlib_module_names]
assert {{each.partition(".")[0] for each in outside}} == {{"__main__", "dkist_processing_core"}}, outside
sys.exit(main())
"""
    command = [f"{sys.base_prefix}/bin/python3", "-I", "-S", "-c", program]
    run_command(*command, env={}).check("DKIST_TASK is not set", status=78)


def test_the_task_sees_nothing_of_airflow(releases, warm, warm_cache, facts, tmp_path):
    """No setting, secret or Python path of the worker's own environment; all other variables, whatever their names."""
    secrets = ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_DB", "AIRFLOW_CONN_MY-DB", "AIRFLOW_DATABASE_PASSWORD")
    settings = ("AIRFLOW_VAR_X", "_AIRFLOW__AS_LIBRARY", "AIRFLOW_HOME", "PYTHONSTARTUP")
    unwanted = {**dict.fromkeys((*secrets, *settings), "x"), "PYTHONPATH": str(tmp_path)}
    names = "name", "environment", "cache", "task", "python", "home", "key", "status", "AIRFLOW_CTX_DAG_RUN_ID"
    wanted = dict.fromkeys(names, "mine")
    certificates = {name: os.environ.get(name, "") for name in ("SSL_CERT_FILE", "PIP_CERT")}
    run("ShowsItsPlace", releases, **warm, **wanted, **certificates, **unwanted).check()
    seen = json.loads(facts.read_text())
    assert not set(unwanted) & set(seen["variables"])
    assert wanted.items() <= seen["variables"].items()
    assert not seen["has_airflow"]
    assert seen["recipe_run_id"] == 42
    assert seen["prefix"] == str(environments(warm_cache)[0])
    assert str(tmp_path) not in seen["path"]
    assert seen["variables"]["PATH"].startswith(f"{seen['prefix']}/bin:")
    assert "UV_INDEX_STRATEGY" not in seen["variables"]
    assert seen["variables"][ENVIRONMENT_IDENTITY] == read_description(environments(warm_cache)[0])["identity"]


WINDOWS = {
    "before-the-start": "subprocess.Popen.__init__",
    "after-it": "supervise.Supervisor._wait",
    "before-the-locks": "environment_locks.EnvironmentLocks.__init__",
    "before-the-request": "request.Request.from_environment",
}
# The worker program, after a change of it.
CHANGED = """
import subprocess, sys, time
from dkist_processing_core.worker import __main__ as program, environment_locks, request, supervise
exec(sys.argv[1])
sys.exit(program.main())
"""
PAUSE = """
real = {step}
def paused(*arguments, **named):
    print("now", flush=True)
    time.sleep({seconds})
    return real(*arguments, **named)
{step} = paused
"""


def pause(window, seconds):
    """Return a change by which the program pauses before a step, to widen a window in which something may happen."""
    return PAUSE.format(step=WINDOWS[window], seconds=seconds)


def start_changed(change, releases, task, **environment):
    """Start the worker program after a change of it."""
    return start(new_spec(task), releases, sys.executable, "-P", "-c", CHANGED, change, **environment)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_signal_is_not_lost_while_the_task_is_being_started(releases, warm, facts, window):
    """In whatever step it arrives, the task is ended or never started, and none is left running."""
    process = start_changed(pause(window, 1), releases, "Waits", **warm)
    read_until(process, "now\n")
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGTERM)
    ended(process).check("SIGTERM was received", status=143)
    if facts.exists() and (pid := facts.read_text()):
        wait_until_dead([int(pid)])


def test_a_signal_is_not_lost_at_any_moment(releases, warm_cache, tmp_path):
    """Thirty times at a random moment of the start: the exit status tells it, and no process is left."""
    moments = random.Random(11)
    for number in range(30):
        facts = tmp_path / f"facts-{number}"
        process = start(new_spec("Waits"), releases, DKIST_ENVIRONMENT_CACHE=str(warm_cache), FACTS=str(facts))
        time.sleep(moments.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGTERM)
        stdout, _ = process.communicate(timeout=PATIENCE_SECONDS)
        # Python itself ends by the signal before the program has begun.
        assert process.returncode == (143 if "dkist: " in stdout else -signal.SIGTERM), stdout
        assert session_members(process.pid) == []


@pytest.mark.parametrize("delay", [0, 0.3], ids=["at-once", "reaped-before-the-wait"])
def test_the_exit_status_of_a_task_that_dies_at_once_is_not_lost(releases, environment, delay):
    """Also if it has ended before the program begins to wait for it."""
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/bin/false")
    for _ in range(10):
        ended(start_changed(pause("after-it", delay), releases, "Good")).check(status=1)


@pytest.mark.parametrize("task", ["Waits", "WaitsUnaware", "WaitsStopped"])
def test_sigterm_ends_the_task_in_order(releases, warm, facts, task):
    """What Airflow sends to the group ends the task: its teardown runs, and nothing is left, also if it looked away."""
    process = start(new_spec(task), releases, **warm)
    pids = wait_for(facts)
    os.killpg(process.pid, signal.SIGTERM)
    received = f"SIGTERM was received; the task has {PATIENT_GRACE} s to end"
    done = ended(process).check(received, "torn down", status=143)
    assert "Done" not in done.stdout
    wait_until_dead(pids)


def test_a_task_that_ignores_sigterm_is_killed_with_its_children(releases, warm, facts):
    """After the grace period neither it nor its child is left."""
    process = start(new_spec("Stubborn"), releases, **warm, DKIST_GRACE_SECONDS="2")
    pids = wait_for(facts)
    assert all(map(is_alive, pids))
    os.killpg(process.pid, signal.SIGTERM)
    ended(process).check("the task was killed, since it did not end within 2 s (DKIST_GRACE_SECONDS)", status=137)
    wait_until_dead(pids)


def test_a_task_does_not_outlive_a_worker_program_that_is_killed(releases, warm, facts):
    """Nobody is left to end it then, so the kernel asks it to end; its teardown runs."""
    process = start(new_spec("Waits"), releases, **warm)
    pids = wait_for(facts)
    process.send_signal(signal.SIGKILL)
    ended(process).check("torn down", status=-signal.SIGKILL)
    wait_until_dead(pids)


def test_a_workflow_may_have_a_name_that_begins_like_an_option(releases, warm):
    """A hyphen is a legal character of a dag id, wherever it is."""
    run(dataclasses.replace(new_spec(), name="-x_y"), releases, **warm).check()


def start_below(spec, releases, **variables):
    """Start the script of a node as Airflow does, from a process that can be killed; return that process."""
    program = "import subprocess, sys; subprocess.run(['bash', '-c', sys.argv[1]], start_new_session=True)"
    command = [sys.executable, "-c", program, runnable_script(spec, spec.nodes[0])]
    return start(spec, releases, *command, AIRFLOW_CTX_DAG_ID="d", **variables)


@pytest.mark.parametrize("task", ["Waits", "Stubborn"])
def test_a_task_does_not_outlive_airflow(releases, warm, facts, task):
    """When the process that started the worker program is killed, the task is ended."""
    parent = start_below(new_spec(task), releases, **warm, DKIST_GRACE_SECONDS="2")
    pids = wait_for(facts)
    parent.kill()
    ended(parent)
    wait_until_dead(pids)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_task_is_not_started_for_an_airflow_that_is_gone(releases, warm, window):
    """Whatever the worker program did when the process died that had started it, nothing is left."""
    program = "import subprocess, sys; subprocess.run([sys.executable, '-P', '-c', *sys.argv[1:]])"
    command = [sys.executable, "-c", program, CHANGED, pause(window, 1)]
    parent = start(new_spec("Waits"), releases, *command, AIRFLOW_CTX_DAG_ID="d", **warm)
    read_until(parent, "now\n")
    parent.kill()
    ended(parent).check("the process that started this one has ended", status=-signal.SIGKILL)
    wait_until_dead(session_members(parent.pid))
    assert session_members(parent.pid) == []


def test_what_a_task_leaves_running_is_ended(releases, warm, facts):
    """A task that succeeds while a child of it still runs is a success, and the child is gone."""
    run("LeavesAChild", releases, **warm).check("processes that the task had left behind were killed")
    wait_until_dead(wait_for(facts))


@pytest.mark.parametrize("stays", ["", "1"], ids=["succeeds", "is-ended"])
def test_what_a_task_has_daemonised_is_ended_with_it(releases, warm, facts, stays):
    """All generations, in whatever sessions, are gone at once, although they hold the log open."""
    process = start(new_spec("Daemonises"), releases, **warm, STAYS=stays)
    wait_for(facts)
    if stays:
        os.kill(process.pid, signal.SIGTERM)
    # Until nobody has the log open any more.
    ended(process).check("processes that the task had left behind were killed", status=143 if stays else 0)
    daemons = [int(word) for word in facts.with_suffix(".daemons").read_text().split()]
    assert len(daemons) >= 6
    assert not any(map(is_alive, daemons))


def test_what_ends_by_itself_is_not_killed(releases, warm, facts):
    """A child may finish what it does for a moment after the task has ended; the moment is longer here."""
    change = "supervise.REMAINDER_SECONDS = 120.0"
    done = ended(start_changed(change, releases, "LeavesABriefChild", **warm)).check()
    assert facts.read_text() == "finished\n"
    assert "left behind" not in done.stdout


def test_no_zombie_is_left_while_the_task_runs(releases, warm, facts):
    """An orphan becomes a child of the worker program, which takes note of its end."""
    run("LooksForZombies", releases, **warm).check()
    task, children = json.loads(facts.read_text())
    assert children == [task]


def test_a_build_ends_with_airflow(tmp_path, facts):
    """When the process that started the worker program is killed, neither it nor the installer is left."""
    path = first_on_path(tmp_path / "tools", "uv", f"#!/bin/sh\necho $$ $PPID >{facts}\nexec sleep 600\n")
    parent = start_below(new_spec(), tmp_path, PATH=path)
    pids = wait_for(facts)
    parent.kill()
    ended(parent)
    wait_until_dead(pids)
    assert environments(tmp_path / "environments") == []


def test_success_without_an_outcome_is_a_failure(releases, warm):
    """A task that ends its process in the middle has not succeeded, whatever the exit status."""
    message = "ERROR: the task ended with exit status 0 before it was complete"
    run("ExitsSilently", releases, **warm).check(message, status=70)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("ClosesEverything", "RuntimeError: the flat is missing"),
        ("OpensTooMany", "OSError: [Errno 24] Too many open files: '/dev/null'"),
    ],
)
def test_the_error_of_a_task_is_shown_whatever_became_of_its_descriptors(releases, warm, tmp_path, task, error):
    """In the log and in the outcome, and no file of the task is written to."""
    done = run(task, releases, DKIST_LOG_MARK=MARK, **warm).check(status=1)
    outcome = Outcome.from_json(marked(done)[-1].text)
    assert outcome.summary == error
    assert [line.kind for line in marked(done) if line.text.endswith(f"\n{error}")] == ["40"]
    assert [file for file in tmp_path.glob("facts.*") if file.stat().st_size] == []


MARK = "0123456789abcdef"


def marked(done):
    """Return what the output of a worker program says to Airflow's operator."""
    return [each for line in done.stdout.removesuffix("\n").split("\n") for each in parse(line, mark=MARK)]


def test_lines_keep_their_level_and_the_outcome_comes_last(releases, warm):
    """With a mark, as Airflow's operator sets it; a task that raises gives 1, with its traceback in the log."""
    done = run("Bad", releases, **warm, DKIST_LOG_MARK=MARK).check(status=1)
    *lines, last = marked(done)
    ended = "dkist: task dkist_script_test.tasks:Bad ended with exit status 1"
    assert [line.kind for line in lines if line.text.startswith(ended)] == ["20"]
    assert all(line.kind == "20" for line in lines if line.text.startswith("dkist: "))
    assert last.kind == OUTCOME
    outcome = Outcome.from_json(last.text)
    assert (outcome.state, outcome.exit_status) == ("failed", 1)
    assert outcome.summary == "RuntimeError: the flat is missing"
    assert "RuntimeError: the flat is missing" in "".join(line.text for line in lines)
    done = run("Good", releases, **warm, DKIST_LOG_MARK=MARK)
    last = marked(done)[-1]
    [identity] = re.findall(r", identity ([0-9a-f]{64})", done.stdout)
    succeeded = Outcome(state="succeeded", exit_status=0, environment_identity=identity)
    assert (last.kind, Outcome.from_json(last.text)) == (OUTCOME, succeeded)


@pytest.mark.parametrize(
    ("variables", "status", "text"),
    [
        ({"DKIST_RECIPE_RUN_ID": "x"}, 65, "recipe_run_id must be an integer"),
        ({"DKIST_GRACE_SECONDS": "x"}, 78, "DKIST_GRACE_SECONDS is 'x'"),
        ({"UV_FIND_LINKS": "/none", "PIP_NO_INDEX": "1"}, 69, "could not be built"),
    ],
    ids=["recipe-run-id", "setting", "build"],
)
def test_a_failure_of_the_program_itself_is_an_outcome(releases, variables, status, text):
    """The summary is the error, the last line but one at level ERROR says the same."""
    done = run("Good", releases, DKIST_LOG_MARK=MARK, **variables)
    error, last = marked(done)[-2:]
    outcome = Outcome.from_json(last.text)
    assert (done.returncode, outcome.exit_status, outcome.state) == (status, status, "failed")
    assert text in outcome.summary
    assert error == Line("40", f"dkist: {outcome.summary}")


def test_a_fault_of_the_program_is_shown_and_is_an_outcome(tmp_path):
    """The log has all that a report of it needs."""
    program = "from dkist_processing_core.worker.ending import run_to_outcome; exit(run_to_outcome(lambda _: 1 / 0))"
    done = run_python(program, **{OUTCOME_VARIABLE: tmp_path / "outcome"})
    outcome = Outcome.from_json((tmp_path / "outcome").read_text())
    assert (done.returncode, outcome.exit_status, outcome.state) == (INCOMPLETE, INCOMPLETE, "failed")
    assert outcome.summary == "the worker program failed: ZeroDivisionError('division by zero')"
    assert "ERROR: the worker program failed; please report this.\nTraceback (most recent call last):" in done.stderr


# A worker at its limit on processes, which nobody can reach for certain: what the system then says is simulated.
LIMITS = {
    "task": """
        import errno, os, subprocess
        class Popen(subprocess.Popen):
            def __init__(self, command, **options):
                if "dkist_processing_core.runtime" in command:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                super().__init__(command, **options)
        subprocess.Popen = Popen
    """,
    "thread": """
        import threading
        def start(self):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = start
    """,
}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("task", "the task cannot be started: Resource temporarily unavailable. One of the limits"),
        ("thread", "uv, which builds environments, cannot be started: Resource temporarily unavailable."),
    ],
)
def test_a_limit_of_the_worker_is_no_fault_of_the_program(releases, warm_cache, tmp_path, what, text):
    """Whether the task cannot be started, or what builds its environment."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(LIMITS[what]))
    cache = warm_cache if what == "task" else tmp_path / "cache"
    done = run("Good", releases, PYTHONPATH=str(tmp_path), DKIST_ENVIRONMENT_CACHE=str(cache)).check(status=69)
    [line] = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert text in line
    assert "Traceback" not in done.stdout


def test_the_log_says_where_a_task_runs_and_within_which_limits(releases, warm):
    """The limits are those that count, and of the variables of Nomad those that name the allocation."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    try:
        done = run("Good", releases, NOMAD_ALLOC_ID="the-allocation", NOMAD_TOKEN="s3cret", **warm)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    done.check(f"worker {os.uname().nodename}, folder /", f", Python {platform.python_version()}\n")
    assert re.search(r"limits: address space unlimited, open files 1000, processes \w+, core files \w+\n", done.stdout)
    assert "NOMAD_ALLOC_ID=the-allocation\n" in done.stdout
    assert "s3cret" not in done.stdout
    assert re.search(r"ended with exit status 0 after \d{1,3} s\n", done.stdout)


def test_without_a_mark_warnings_and_errors_are_on_standard_error():
    """What happens is on standard output; the levels are those of logging."""
    assert (log.INFO, log.WARNING, log.ERROR) == (logging.INFO, logging.WARNING, logging.ERROR)
    done = run_python("from dkist_processing_core.worker import log; log.info('a'); log.warning('b'); log.error('c')")
    written = [[line.split("dkist: ")[1] for line in text.splitlines()] for text in (done.stdout, done.stderr)]
    assert written == [["a"], ["WARNING: b", "ERROR: c"]]


def test_without_a_mark_a_line_has_the_time_with_its_zone(releases, warm):
    """As a person at a terminal wants it."""
    done = run("Good", releases, **warm, TZ="Pacific/Honolulu")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d-10:00 dkist: task dkist_script_test", done.stdout)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DKIST_PYTHON", "no-such-python", "DKIST_PYTHON is 'no-such-python', which cannot be used: no such program"),
        ("DKIST_ENVIRONMENT_CACHE", "/proc/none", "the environment cache /proc/none cannot be written"),
        ("DKIST_ENVIRONMENT_CACHE", "some/cache", "the environment cache 'some/cache' is not an absolute path"),
        *(
            (name, value, f"{name} is '{value}'; it must be a whole number of seconds.")
            for name in ("DKIST_GRACE_SECONDS", "DKIST_BUILD_WAIT_SECONDS")
            for value in ("abc", "1.5", "-1")
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(releases, name, value, message):
    """Exit status 78, the variable, its value and what to do, before anything is started."""
    done = run("Good", releases, **{name: value}).check(status=78)
    [error] = [line for line in done.stdout.splitlines() if "ERROR: " in line]
    assert message in error
    assert name in error


def test_the_other_forms_of_the_node_run_too(warm_cache):
    """The run command and the Python statements of a node do what the worker does, in its environment."""
    [environment] = environments(warm_cache)
    node = Node("a_to_b_script", "1.0", "dkist_script_test.workflows", First)
    spec = dataclasses.replace(node.spec, task="dkist_script_test.tasks:Good")
    variables = {**os.environ, "DKIST_RECIPE_RUN_ID": "7", "PATH": f"{environment}/bin:{os.environ['PATH']}"}
    command = node.run_command.replace(node.spec.task, spec.task)
    done = run_command("bash", "-c", command, env=variables).check()
    assert "INFO team: good, recipe run 7" in done.stderr
    program = node.python.replace(node.spec.task, spec.task)
    subprocess.run([environment / "bin/python", "-c", program], env=variables, check=True)
    assert node.install_command.startswith("uv pip install '")

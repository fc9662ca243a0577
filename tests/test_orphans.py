"""What tasks leave in a container whose first process never waits for orphans."""

import json
import os
import subprocess
import sys

import pytest
from support.command_line import run_command
from support.releases import with_links
from support.script_runs import new_spec

from dkist_processing_core.rendering.script import runnable_script

TASKS = int(os.environ.get("DKIST_TEST_KILLS", "200"))  # read before the tests isolate themselves
# As in a container: its processes and its shared memory are its own.
AS_ROOT = () if os.geteuid() == 0 else ("--map-root-user",)
CONTAINER = ["unshare", *AS_ROOT, "--pid", "--fork", "--mount", "--mount-proc", "sh", "-c"]
MOUNT = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
# It waits for the worker programs that it starts, as Airflow does, and for nothing else.
INIT = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

def left():
    states = [file.read_text().rpartition(")")[2].split()[0] for file in Path("/proc").glob("[1-9]*/stat")]
    return {"processes": len(states), "zombies": states.count("Z"), "shared memory": os.listdir("/dev/shm")}

before = left()
statuses = []
for command, variables, facts in json.load(sys.stdin):
    process = subprocess.Popen(command, env=variables, stdout=sys.stderr, start_new_session=True)
    if facts:
        deadline = time.monotonic() + 120
        while not os.path.exists(facts) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        os.unlink(facts)
    statuses.append(process.wait())
print(json.dumps([os.getpid(), statuses, before, left()]))
"""
# What is run, how, and the status it gives.
KINDS = [
    ("Good", "", 0),
    ("SharesMemory", "alone", 1),
    ("SharesMemory", "forked", 1),
    ("SharesMemory", "in-a-session", 1),
    ("SharesMemory", "stubborn", 137),
    ("Daemonises", "", 0),
    ("LeavesAChild", "", 0),
]


def run_in_a_container(releases, warm_cache, folder, number):
    """Run tasks one after the other; return their statuses, those expected, and what was there before and after."""
    try:
        subprocess.run([*CONTAINER, MOUNT, "sh", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespaces can be made here (unshare): {error}")
    chosen = [KINDS[each % len(KINDS)] for each in range(number)]
    runs = []
    for index, (task, how, _) in enumerate(chosen):
        spec, facts = new_spec(task), str(folder / f"facts-{index}")
        own = {"HOW": how, "FACTS": facts, "DKIST_RECIPE_RUN_ID": "42", "DKIST_GRACE_SECONDS": "1"}
        variables = {**os.environ, **with_links(releases), "DKIST_ENVIRONMENT_CACHE": str(warm_cache), **own}
        command = ["bash", "-c", runnable_script(spec, spec.nodes[0])]
        runs.append([command, variables, facts if how == "stubborn" else ""])
    done = run_command(*CONTAINER, MOUNT, "sh", sys.executable, "-c", INIT, text=json.dumps(runs)).check()
    pid, statuses, before, after = json.loads(done.stdout)
    assert pid == 1
    assert statuses == [status for _, _, status in chosen], done.stderr
    return before, after, done.stderr


def test_nothing_is_left_where_nobody_reaps(releases, warm_cache, tmp_path):
    """No process, no zombie and no shared memory, however a task ends."""
    before, after, log = run_in_a_container(releases, warm_cache, tmp_path, len(KINDS))
    assert after == before == {"processes": 1, "zombies": 0, "shared memory": []}, log


@pytest.mark.kills
@pytest.mark.timeout(3600)
def test_nothing_is_left_of_many_tasks(releases, warm_cache, tmp_path):
    """As many as make a worker run out of processes otherwise."""
    before, after, log = run_in_a_container(releases, warm_cache, tmp_path, TASKS)
    print(f"before {TASKS} tasks: {before}; after them: {after}")
    assert after == before, log

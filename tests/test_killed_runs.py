"""A run that is killed at any moment is taken up again, and every task succeeds once."""

import random
import time
from collections import Counter

import pytest
from support.command_line import PROGRAM, run_program, start_command
from support.sources import write_sources

from dkist_processing_core.local import runs

NAME = "killed_of_a_test"
MODULE = """
    import time
    from dkist_processing_core import TaskBase, Workflow

    class Base(TaskBase):
        def run(self):
            time.sleep(0.1)

    flow = Workflow(input_data="a", output_data="b", category="cam",
                    workflow_package=__package__, workflow_version="1.0")
    names = [f"Task{number}" for number in range(8)]
    for number, name in enumerate(names):
        globals()[name] = type(name, (Base,), {"__module__": __name__})
        flow.add_node(globals()[name], upstreams=globals()[names[number - 2]] if number > 1 else None)
"""
SECONDS = 2.0


@pytest.mark.parametrize("count", [5, pytest.param(50, marks=[pytest.mark.kills, pytest.mark.timeout(1200)])])
def test_killed_runs_are_resumed(tmp_path, count):
    """Some before their first task, some in the middle, some after their end."""
    write_sources(tmp_path, {"flow.py": MODULE}, name=NAME)
    cut = 0
    for number in range(1, count + 1):
        command = ["run", f"{NAME}.flow", "--recipe-run-id", number, "--parallel", "2"]
        process = start_command(PROGRAM, *command)
        time.sleep(random.uniform(0, SECONDS))
        process.kill()
        process.communicate()
        folder = runs.latest("a_to_b_cam", number)
        if folder is None:  # it was killed before it had begun
            continue
        run_program(*command, "--resume").check()
        events = list(runs.events(folder))
        started = Counter(each["task"] for each in events if each["event"] == "task_started")
        succeeded = Counter(
            each["task"] for each in events if each["event"] == "task_ended" and each["state"] == "success"
        )
        tries = [(name, each) for name, task in runs.state(folder).tasks.items() for each in task.tries]
        interrupted = Counter(name for name, each in tries if each.state == "interrupted")
        assert set(succeeded.values()) == {1}
        assert len(succeeded) == 8
        assert started == succeeded + interrupted
        cut += interrupted.total()
    print(f"{count} runs killed, {cut} tries of tasks cut off")
    assert cut > 0 or count == 5

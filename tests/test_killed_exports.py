"""Exports that are killed while somebody reads the folder: ten here, and a hundred by ``make test-kills``."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support.command_line import ended, start_command
from support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.once

KILLS = int(os.environ.get("DKIST_TEST_KILLS", "100"))  # read before the tests isolate themselves
WORKFLOWS = 12
NODES = 25

# Exports again and again, each time with another content, so that it is nearly always about to write something.
EXPORTER = f"""
    import logging
    import sys
    from types import ModuleType
    from dkist_processing_core import TaskBase, Workflow
    from dkist_processing_core.authoring import airflow
    from dkist_processing_core.build_utils import export_dags

    logging.disable(logging.WARNING)
    sys.modules["airflow"] = None
    package = ModuleType("killed_of_a_test")
    sys.modules[package.__name__] = package
    for number in range({NODES}):
        setattr(package, f"Task{{number}}", type(f"Task{{number}}", (TaskBase,), {{
            "run": lambda self: None, "__module__": package.__name__, "__doc__": "Do it."
        }}))
    tasks = [getattr(package, f"Task{{number}}") for number in range({NODES})]
    for number in range({WORKFLOWS}):
        workflow = Workflow(input_data="a", output_data="b", category="c", detail=f"n{{number}}",
                            workflow_package=package.__name__, workflow_version="dev")
        for task, before in zip(tasks, [None, *tasks], strict=False):
            workflow.add_node(task, upstreams=before)
        setattr(package, f"workflow{{number}}", workflow)
    print("ready", flush=True)
    for turn in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):
        tasks[0].__doc__ = f"Do it for the {{turn}}th time." + "\\nAnd on." * (turn % 50)
        export_dags(package, sys.argv[1])
"""

# As much of Airflow as an exported file uses, and a loop that ends when the file "stop" is there, and writes into it
# how often it has read all files. Neither a half file nor one that does not load is ever excused.
READER = f"""
    import json, sys
    from pathlib import Path
    from types import ModuleType

    class DAG:
        def __init__(self, **arguments): self.params, self.tasks = {{}}, []
        def __enter__(self): return self
        def __exit__(self, *error): pass

    class BaseOperator:
        def __init__(self, **arguments): pass
        def set_upstream(self, others): pass

    def add(name, **values):
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(values)

    add("airflow", __path__=[])
    add("airflow.sdk", BaseOperator=BaseOperator, DAG=DAG, Param=dict)
    folder, stop = Path(sys.argv[1]), Path(sys.argv[2])
    rounds = 0
    while not stop.exists():
        for file in folder.glob("*.json"):
            json.loads(file.read_text())
        files = list(folder.glob("*.py"))
        for file in files:
            names = {{}}
            exec(compile(file.read_text(), str(file), "exec"), names)
            assert (len(names["nodes"]), bool(names["dag"].params)) == ({NODES}, True), file
        rounds += len(files) == {WORKFLOWS}
    stop.write_text(str(rounds))
"""


def start(program, *arguments, **options):
    return start_command(sys.executable, "-c", program, *arguments, **options)


def hidden(folder):
    return [each for each in folder.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("kills", [10, pytest.param(KILLS, marks=[pytest.mark.kills, pytest.mark.timeout(3600)])])
def test_killed_exports_leave_no_half_file(tmp_path, kills):
    """
    Whoever executes the files meanwhile, in a loop, finds every one whole.

    In the end all are as the manifest says, and an export an hour later removes what the kills have left.
    """
    folder, stop = tmp_path / "dags", tmp_path / "stop"
    folder.mkdir()
    exporter = textwrap.dedent(EXPORTER)
    reading = start(textwrap.dedent(READER), folder, stop, stdout=subprocess.DEVNULL)
    moments = random.Random(11)
    interrupted = 0
    try:
        for number in range(kills):
            before = hidden(folder)
            exporting = start(exporter, folder, 1000 * number, 1000)
            assert exporting.stdout.readline() == "ready\n", exporting.communicate()[1]
            time.sleep(moments.uniform(0.02, 0.4))
            exporting.send_signal(signal.SIGKILL)
            ended(exporting).check(status=-signal.SIGKILL, stderr="")
            interrupted += len(hidden(folder)) > len(before)
            assert reading.poll() is None, reading.communicate()[1]
        ended(start(exporter, folder, 0, 1)).check(stderr="")
    finally:
        stop.touch()
        error = reading.communicate(timeout=PATIENCE_SECONDS)[1]
    assert (reading.returncode, error) == (0, "")
    rounds = int(stop.read_text())
    print(f"{kills} exports killed, {interrupted} of them while writing; the whole folder was read {rounds} times")
    assert rounds > 0
    if kills == KILLS:
        assert interrupted > kills / 4
        assert rounds > kills / 4
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["files"]) == WORKFLOWS == len(list(folder.glob("*.py")))
    for each in manifest["files"]:
        assert hashlib.sha256((folder / each["file"]).read_bytes()).hexdigest() == each["sha256"]
    for each in hidden(folder):
        os.utime(each, (0, 0))
    ended(start(exporter, folder, 1, 1)).check(stderr="")
    assert hidden(folder) == []

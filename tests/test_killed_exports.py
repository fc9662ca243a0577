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
from support.command_line import start_command
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

# A reader ends when the file "stop" is there, and writes into it how often it has read all files. Neither a half file
# nor one that does not load is ever excused.
READER = f"""
    import json, os, sys
    from pathlib import Path
    folder, stop = Path(sys.argv[1]), Path(sys.argv[2])
    rounds = 0
    while not stop.exists():
        for file in folder.glob("*.json"):
            json.loads(file.read_text())
        found = read(folder)
        assert all(number == {NODES} for number in found.values()), found
        rounds += len(found) == {WORKFLOWS}
    stop.write_text(str(rounds))
"""

# As much of Airflow as an exported file uses.
STUB = """
    import types
    from types import ModuleType

    class DAG:
        def __init__(self, **arguments): self.params, self.tasks = {}, []
        def __enter__(self): return self
        def __exit__(self, *error): pass

    class BaseOperator:
        def __init__(self, **arguments): self.upstreams = []
        def set_upstream(self, others): self.upstreams += others

    def add(name, **values):
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(values)

    import sys
    add("airflow", __path__=[])
    add("airflow.sdk", BaseOperator=BaseOperator, DAG=DAG, Param=dict)

    def read(folder):
        found = {}
        for file in folder.glob("*.py"):
            names = {}
            exec(compile(file.read_text(), str(file), "exec"), names)
            found[file.name] = len(names["nodes"]) if names["dag"].params else 0
        return found
"""
DAG_BAG = """
    import logging
    from dkist_processing_core.validation.dag_files import dag_bag

    logging.disable(logging.WARNING)

    def read(folder):
        bag = dag_bag(folder)
        assert not bag.import_errors, bag.import_errors
        return {name: len(dag.tasks) for name, dag in bag.dags.items()}
"""


def start(program, *arguments, **options):
    return start_command(sys.executable, "-c", program, *arguments, **options)


def hidden(folder):
    return [each for each in folder.iterdir() if each.name.startswith(".")]


def kill_exports(folder, reader, *, kills):
    """Kill exports while a reader reads; return how often that has read all files, and how many kills left a trace."""
    folder.mkdir()
    exporter = textwrap.dedent(EXPORTER)
    stop = folder.with_name("stop")
    reading = start(textwrap.dedent(reader) + textwrap.dedent(READER), folder, stop, stdout=subprocess.DEVNULL)
    moments = random.Random(11)
    interrupted = 0
    try:
        for number in range(kills):
            before = hidden(folder)
            exporting = start(exporter, folder, 1000 * number, 1000)
            assert exporting.stdout.readline() == "ready\n", exporting.communicate()[1]
            time.sleep(moments.uniform(0.02, 0.4))
            exporting.send_signal(signal.SIGKILL)
            _, error = exporting.communicate(timeout=PATIENCE_SECONDS)
            assert (exporting.returncode, error) == (-signal.SIGKILL, "")
            interrupted += len(hidden(folder)) > len(before)
            assert reading.poll() is None, reading.communicate()[1]
        last = start(exporter, folder, 0, 1)
        assert last.communicate(timeout=PATIENCE_SECONDS)[1] == ""
    finally:
        stop.touch()
        error = reading.communicate(timeout=PATIENCE_SECONDS)[1]
    assert (reading.returncode, error) == (0, "")
    return int(stop.read_text()), interrupted


def assert_is_whole(folder):
    """All files are as the manifest says, and what the kills have left is removed by an export an hour later."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["files"]) == WORKFLOWS == len(list(folder.glob("*.py")))
    for each in manifest["files"]:
        assert hashlib.sha256((folder / each["file"]).read_bytes()).hexdigest() == each["sha256"]
    for each in hidden(folder):
        os.utime(each, (0, 0))
    assert start(textwrap.dedent(EXPORTER), folder, 1, 1).communicate(timeout=PATIENCE_SECONDS)[1] == ""
    assert hidden(folder) == []


def test_ten_killed_exports_leave_no_half_file(tmp_path):
    """Whoever executes the files meanwhile, in a loop, finds every one whole."""
    rounds, _ = kill_exports(tmp_path / "dags", STUB, kills=10)
    assert rounds > 0
    assert_is_whole(tmp_path / "dags")


@pytest.mark.kills
@pytest.mark.airflow
@pytest.mark.timeout(3600)
def test_a_hundred_killed_exports_never_give_airflow_an_error(tmp_path):
    """A real Airflow loads the folder, in a loop, and meets neither a half file nor one that it cannot import."""
    rounds, interrupted = kill_exports(tmp_path / "dags", DAG_BAG, kills=KILLS)
    print(
        f"{KILLS} exports killed, {interrupted} of them while writing; Airflow loaded the whole folder {rounds} times"
    )
    assert interrupted > KILLS / 4
    assert rounds > KILLS / 4
    assert_is_whole(tmp_path / "dags")

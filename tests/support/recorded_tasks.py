"""Run a task in a process of its own, as a worker does, and return how it ended."""

import sys
import textwrap
from pathlib import Path

from support.command_line import ended, start_command

TASK = """
    from dkist_processing_core import TaskBase

    class Calibrate(TaskBase):
        def pre_run(self):
            with self.apm_step("read", span_type="storage.fits.read", labels={"frames": 3}) as span:
                span.set_attribute("bytes", 12)
        def run(self):
            with self.telemetry_span("outer", attributes={"a": 1}):
                with self.apm_step("inner") as span:
                    span.set_attributes({"b": 2.5, "c": "x", "d": True})
                with self.apm_step("second"):
                    pass
            print("done")
"""

FAILING_TASK = TASK.replace('print("done")', 'raise RuntimeError("no flat")')

# Name, attributes and children of each phase and step.
CORE = {"type": "core"}
PHASES = [
    ("Pre Run", CORE, [("read", {"frames": 3, "bytes": 12}, [])]),
    ("Run", CORE, [("outer", {"a": 1}, [("inner", {"b": 2.5, "c": "x", "d": True}, []), ("second", {}, [])])]),
    ("Post Run", CORE, []),
]
# Some number of spans, one after the other.
MANY = """
    from dkist_processing_core import TaskBase

    class Calibrate(TaskBase):
        def run(self):
            for number in range({count}):
                with self.apm_step(f"step {{number}}", labels={{"number": number}}) as span:
                    span.set_attribute("again", number)
            print("done")
"""


WORKFLOW = ("--workflow-name", "l0_to_l1_cam", "--workflow-version", "1.0")


def start_task(source, *, name="Calibrate", module="recorded_task", **environment):
    """Start a task of a module, as the worker program does, in the current folder."""
    write_task(source, module)
    command = [sys.executable, "-m", "dkist_processing_core.runtime", f"{module}:{name}", *WORKFLOW]
    return start_command(*command, **{"PYTHONPATH": Path.cwd(), "DKIST_RECIPE_RUN_ID": "7", **environment})


def run_task(source, **options):
    """Run such a task to its end."""
    return ended(start_task(source, **options))


def write_task(source, module="recorded_task"):
    """Write a module of tasks into the current folder."""
    Path(f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")


def assert_unchanged(done, *, stdout="done\n", returncode=0):
    """Assert that a task ended as it does without telemetry."""
    assert (done.returncode, done.stdout) == (returncode, stdout), done.stderr

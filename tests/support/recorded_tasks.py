"""Run a task in a process of its own, as a worker does, and return how it ended."""

import sys
import textwrap
from pathlib import Path

from support.command_line import run_command

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


# What a task may put on a span, and what is recorded of it by either back end.
ODD_TASK = """
    import math
    from dkist_processing_core import TaskBase

    class Evil:
        def __str__(self):
            raise ValueError("no text")

    class Calibrate(TaskBase):
        def run(self):
            odd = {
                "none": None, "list": [1, 2], "mixed": [1, "a"], "dict": {"a": 1}, "bytes": b"x", "evil": Evil(),
                5: "key", "surrogate": "a\\udc80", "surrogates": ["a\\udc80"], "huge": "x" * 10_000_000,
                "int": 10**30, "endless": 10**5000, "nan": math.nan, "infinite": -math.inf,
                "elements": list(range(3_000_000)), "self": "self", "dotted.name": 1, "umlaut": "\\u00fc",
                Evil(): "evil key", "\\udc81": "key", "complex": 1j,
            }
            with self.apm_step("labels", labels=odd) as span:
                span.set_attributes(odd)
                span.set_attribute("late", Evil())
                span.set_attribute("name", "name")
                span.add_event("\\udc80", odd)
                span.record_exception(ValueError("\\udc80"), attributes=odd)
                span.set_status("nonsense")
            for name in (5, None, "", b"b", Evil(), "n" * 5000, "\\udc80"):
                with self.apm_step(name) as span:
                    span.update_name(name)
            for kind in (None, "", "a.b.c.d.e", ".", "..", "x" * 5000, 5, Evil()):
                with self.apm_step("kind", span_type=kind):
                    pass
            print("done")
"""
ODD_LABELS = {
    "mixed": "[1, 'a']",
    "dict": "{'a': 1}",
    "bytes": "b'x'",
    "evil": "<Evil without text: ValueError>",
    "5": "key",
    "surrogate": "a\\udc80",
    "int": str(10**30),
    "endless": "<int without text: ValueError>",
    "self": "self",
    "umlaut": "ü",
    "<Evil without text: ValueError>": "evil key",
    "\\udc81": "key",
    "complex": "1j",
    "late": "<Evil without text: ValueError>",
    "name": "name",
}
# Seven odd names and eight kinds, three phases and the one with the labels.
ODD_SPANS = 7 + 8 + 3 + 1
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


def run_task(source, *, name="Calibrate", module="recorded_task", **environment):
    """Run a task of a module, as the worker program does, in the current folder."""
    write_task(source, module)
    command = [sys.executable, "-m", "dkist_processing_core.runtime", f"{module}:{name}", *WORKFLOW]
    return run_command(*command, **{"PYTHONPATH": Path.cwd(), "DKIST_RECIPE_RUN_ID": "7", **environment})


def write_task(source, module="recorded_task"):
    """Write a module of tasks into the current folder."""
    Path(f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")


def assert_unchanged(done, *, stdout="done\n", returncode=0):
    """Assert that a task ended as it does without telemetry."""
    assert (done.returncode, done.stdout) == (returncode, stdout), done.stderr

"""
Measure what ``dkist-processing-core run`` adds to the time of the tasks of a workflow.

One task, a row of tasks after it, and one task after the whole row, none of which does anything, run

* with ``dkist-processing-core run``, the whole command from its start to the report,
* as processes of ``python -c "import dkist_processing_core"``, in the same order and with the same parallelism,
* as processes of ``python -c "from dkist_processing_core import TaskBase"``, the minimum of a task, likewise,

in turn. Then larger numbers of tasks run with the command alone, to measure the time per task and the peak memory of
the runner's process.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BARE = "import dkist_processing_core"
LEAST = "from dkist_processing_core import TaskBase"
PACKAGE = {
    "idle/__init__.py": "",
    "idle/tasks.py": """\
        from dkist_processing_core import TaskBase

        class Idle(TaskBase):
            def run(self):
                pass

        def __getattr__(name):
            if not name.startswith("Idle"):
                raise AttributeError(name)
            made = globals()[name] = type(name, (Idle,), {"__module__": __name__})
            return made
        """,
    "idle/workflows.py": """\
        import os
        from dkist_processing_core import Workflow
        from idle import tasks

        flow = Workflow(
            input_data="a", output_data="b", category="c", workflow_package=__package__, workflow_version="1.0"
        )
        first, *row, last = [getattr(tasks, f"Idle{number}") for number in range(int(os.environ["TASKS"]))]
        flow.add_node(first)
        for each in row:
            flow.add_node(each, upstreams=first)
        flow.add_node(last, upstreams=row)
        """,
}


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def bare(code: str, tasks: int, parallel: int) -> None:
    """Run processes that only import, in the order of the workflow."""

    def process(_number: int) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    process(0)
    with ThreadPoolExecutor(parallel) as threads:
        list(threads.map(process, range(tasks - 2)))
    process(0)


def command(folder: Path, tasks: int, parallel: int) -> int:
    """Run the workflow with the command, and return the peak memory of its process, in bytes."""
    program = Path(sys.executable).with_name("dkist-processing-core")
    arguments = [program, "run", "idle.workflows", "--recipe-run-id", "1", "--parallel", str(parallel)]
    environment = {**os.environ, "TASKS": str(tasks), "DKIST_RUNS": str(folder / "runs")}
    with (folder / "output").open("wb+") as output:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode()
    if process.returncode or not re.search(rf"^success: {tasks} success$", text, re.MULTILINE):
        sys.exit(f"exit status {process.returncode}\n{text}")
    return usage.ru_maxrss * 1024


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=25)
    parser.add_argument("--more", type=int, nargs="*", default=[250, 1000], help="larger numbers of tasks")
    parser.add_argument("--parallel", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in PACKAGE.items():
            file = folder / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(textwrap.dedent(text))
        memory = [0]
        ways: dict[str, Callable[[], object]] = {
            "run": lambda: memory.append(command(folder, options.tasks, options.parallel)),
            BARE: lambda: bare(BARE, options.tasks, options.parallel),
            LEAST: lambda: bare(LEAST, options.tasks, options.parallel),
        }
        for way in ways.values():  # once unmeasured, to fill the caches
            way()
        times: dict[str, list[float]] = {key: [] for key in ways}
        for _ in range(options.rounds):
            for key, way in ways.items():
                times[key].append(seconds(way))
        print(f"{options.tasks} tasks, {options.parallel} at once, {options.rounds} rounds; quickest, median")
        for key, each in times.items():
            print(f"  {key:45} {min(each):7.3f} s {statistics.median(each):7.3f} s")
        for code in (BARE, LEAST):
            ratios = [ours / theirs for ours, theirs in zip(times["run"], times[code], strict=True)]
            quickest = min(times["run"]) / min(times[code])
            print(f"  run / {code:39} {quickest:7.2f}   {statistics.median(ratios):7.2f}")
        print(f"{options.tasks} tasks: runner {max(memory) / 2**20:.0f} MB")
        for tasks in options.more:
            began = time.perf_counter()
            used = command(folder, tasks, options.parallel)
            took = time.perf_counter() - began
            each = (took - min(times["run"])) / (tasks - options.tasks)
            print(f"{tasks} tasks: {took:.2f} s, {1000 * each:.1f} ms for each more, runner {used / 2**20:.0f} MB")


if __name__ == "__main__":
    main()

"""
Measure the check and the export of packages of 10, 100 and 1,000 workflows of 25 nodes: time, memory and growth.

One package of each size is generated, built and installed. Its workflows are

* checked by this library without Airflow,
* checked by this library with Airflow, which loads every rendered file twice and serialises it,
* exported by this library, checks included, without and with Airflow,
* checked and exported by the published library (7.5.0), which requires Airflow,

in turn, each in a process of its own, with the same Python. The times include the imports of the library, of the
package and of its modules. Growth is computed from the processor time of all processes together, which hardly depends
on the load of the machine. Memory is that of the largest process. The benchmark needs Python 3.13, which the published
library requires, and about ten minutes; ``--sizes 10,100`` takes less time.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = "7.5.0"
PYTHON = "3.13"
NODES = 25

PROJECT = """\
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"
    [project]
    name = "{name}"
    version = "1.0"
    dependencies = ["dkist-processing-core"]
    [project.optional-dependencies]
    frozen = []
    """
TASK = '''

class Task{number}(TaskBase):
    """
    Do one thing.

    With a docstring of some lines, as tasks have.
    """

    def run(self):
        pass
'''
WORKFLOW = """\
from dkist_processing_core import Workflow
from {package} import tasks

flow = Workflow(
    input_data="l0",
    output_data="l1",
    category="bench",
    detail="n{number}",
    workflow_package=__package__,
    workflow_version="1.0",
)
names = ["Task%d" % each for each in range({nodes})]
for number, name in enumerate(names):
    # A line of tasks with a shortcut here and there.
    before = [names[each] for each in (number - 1, number - 5) if each >= 0]
    flow.add_node(getattr(tasks, name), upstreams=[getattr(tasks, each) for each in before])
"""
MEASURE = """
import sys, time
started = time.perf_counter()
import importlib, json, logging, os, resource
logging.disable(logging.WARNING)
verb, package, answer = sys.argv[1:]
from dkist_processing_core import build_utils
workflows = importlib.import_module(package + ".workflows")
if verb == "validate":
    build_utils.validate_workflows(workflows)
else:
    build_utils.export_dags(workflows, "dags")
seconds = time.perf_counter() - started
usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = sum(each.ru_utime + each.ru_stime for each in usages)
megabytes = max(each.ru_maxrss for each in usages) / 1000
files = len([name for name in os.listdir("dags") if name.endswith(".py")]) if verb == "export" else None
with open(answer, "w") as file:
    json.dump({"seconds": seconds, "cpu": cpu, "megabytes": megabytes, "files": files}, file)
"""


def uv(*arguments: object, **environment: str) -> None:
    """Run uv."""
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | environment)


class Bench:
    """The packages, and an environment for each library that checks them."""

    def __init__(self, folder: Path, sizes: list[int]) -> None:
        self.folder = folder
        self.sizes = sizes
        self.index = folder / "index"
        self.found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for project in (ROOT, *map(self.project, sizes)):
            uv("build", "--wheel", "--quiet", "--out-dir", self.index, project)
        [wheel] = self.index.glob("dkist_processing_core-*.whl")
        pins = ["--constraint", ROOT / "constraints.txt"]
        self.pythons = {
            "without Airflow": self.environment("light", wheel),
            "with Airflow": self.environment("airflow", f"{wheel}[airflow]", *pins),
            "published": self.environment("published", f"dkist-processing-core=={PUBLISHED}"),
        }

    def project(self, size: int) -> Path:
        """Write the sources of a package with the given number of workflows."""
        project = self.folder / f"sources-{size}"
        package = project / f"bench_{size}"
        (package / "workflows").mkdir(parents=True)
        (project / "pyproject.toml").write_text(textwrap.dedent(PROJECT).format(name=f"bench-{size}"))
        (package / "__init__.py").touch()
        (package / "workflows" / "__init__.py").touch()
        tasks = [TASK.format(number=number) for number in range(NODES)]
        (package / "tasks.py").write_text("".join(["from dkist_processing_core import TaskBase\n", *tasks]))
        for number in range(size):
            text = WORKFLOW.format(package=package.name, number=number, nodes=NODES)
            (package / "workflows" / f"flow{number}.py").write_text(text)
        return project

    def environment(self, name: str, *requirements: object) -> Path:
        """Create an environment with a library and all packages, and return its Python."""
        venv = self.folder / name
        uv("venv", "--quiet", "--python", shutil.which(f"python{PYTHON}") or PYTHON, venv)
        links = " ".join(filter(None, [os.environ.get("UV_FIND_LINKS"), str(self.index)])).replace(" ", ",")
        python = venv / "bin" / "python"
        into = ["pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        uv(*into, *requirements, UV_FIND_LINKS=links)
        uv(*into, "--no-deps", *(f"bench-{size}" for size in self.sizes), UV_FIND_LINKS=links)
        return python

    def run(self, library: str, verb: str, size: int, *, is_noted: bool = True) -> None:
        """Check or export a package once, and record time and memory."""
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            done = subprocess.run(
                [self.pythons[library], "-P", "-c", MEASURE, verb, f"bench_{size}", "answer.json"],
                cwd=work,
                env={**os.environ, "AIRFLOW_HOME": f"{work}/airflow", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            answer = Path(work, "answer.json")
            if done.returncode or not answer.exists():
                sys.exit(f"{library}, {verb}, {size} workflows failed:\n{done.stdout[-3000:]}")
            found = json.loads(answer.read_text())
        if found["files"] not in {None, size}:
            sys.exit(f"{library} exported {found['files']} files of {size}")
        if is_noted:
            label = f"{library}, {verb}"
            self.found.setdefault((label, size), []).append(found)
            figures = f"{found['seconds']:.2f} s, processor {found['cpu']:.2f} s, {found['megabytes']:.0f} MB"
            print(f"  {label}, {size}: {figures}", flush=True)

    def report(self) -> None:
        """Print medians, and the increase per workflow."""
        print(f"\nPython {PYTHON}, {NODES} nodes a workflow, medians")
        print(f"  {'':<28}{'workflows':>10}{'time':>12}{'processor':>12}{'one more':>12}{'memory':>10}")
        for label in dict.fromkeys(label for label, _ in self.found):
            before = None
            for size in self.sizes:
                took, cpu, memory = (
                    statistics.median(each[key] for each in self.found[label, size])
                    for key in ("seconds", "cpu", "megabytes")
                )
                more = "" if before is None else f"{1000 * (cpu - before[1]) / (size - before[0]):.1f} ms"
                print(f"  {label:<28}{size:>10}{took:>10.2f} s{cpu:>10.2f} s{more:>12}{memory:>7.0f} MB")
                before = size, cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, but one for more than 100 workflows")
    parser.add_argument("--sizes", default="10,100,1000", help="numbers of workflows, separated by commas")
    parser.add_argument("--without-published", action="store_true", help="measure this library alone")
    options = parser.parse_args()
    sizes = [int(each) for each in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), sizes)
        libraries = [each for each in bench.pythons if not (options.without_published and each == "published")]
        for library in libraries:
            bench.run(library, "export", sizes[0], is_noted=False)  # fills the file cache
        for size in sizes:
            for _ in range(options.rounds if size <= 100 else 1):
                for library in libraries:
                    for verb in ("validate", "export"):
                        bench.run(library, verb, size)
        bench.report()


if __name__ == "__main__":
    main()

"""
Measure the start of a task that does nothing: this library, the published one, and the bare minimum.

For a package that needs only the library, and with ``--client`` also for a real instrument package, it runs

* the script that the published library (7.5.0) generates, which installs everything each time,
* the worker program of this library with an empty cache (cold) and with a ready environment (warm),
* Airflow's own PythonVirtualenvOperator, cold and warm, as ``operator="python_virtualenv"`` uses it,
* ``python -c pass`` in a prepared environment,

in turn, all with the same Python, the same package index, and the caches of pip and uv after one unmeasured run of
each. Then it compares the resident memory of the worker program while a task runs with that of a bash that waits for a
program. It needs Python 3.13, which the published library requires, and about 15 minutes with ``--client``.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = "7.5.0"
PYTHON = "3.13"
CLIENT, CLIENT_VERSION = "dkist-processing-test", "1.45.0"
NAME = "dkist-do-nothing"

PACKAGE = {
    "pyproject.toml": """\
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "dkist-do-nothing"
        version = "1.0"
        dependencies = ["dkist-processing-core"]
        [project.optional-dependencies]
        frozen = []
        """,
    "dkist_do_nothing/__init__.py": "",
    "dkist_do_nothing/tasks.py": """\
        import time

        from dkist_processing_core import TaskBase

        class DoNothing(TaskBase):
            def run(self):
                pass

        class Wait(TaskBase):
            def run(self):
                print("waits", flush=True)
                time.sleep(60)
        """,
    "dkist_do_nothing/workflows/__init__.py": "",
    "dkist_do_nothing/workflows/flow.py": """\
        from dkist_processing_core import Workflow
        from dkist_do_nothing.tasks import DoNothing, Wait

        flow = Workflow(
            input_data="a", output_data="b", category="c", workflow_package=__package__, workflow_version="1.0"
        )
        flow.add_node(DoNothing)
        flow.add_node(Wait)
        """,
}
PRINT_SCRIPT = """
import importlib, sys
module, workflow, task = sys.argv[1:]
nodes = {node.task.__name__: node for node in getattr(importlib.import_module(module), workflow).nodes}
print(nodes[task].bash_script)
"""
EXECUTE_OPERATOR = """
import sys, time
from importlib.machinery import SourceFileLoader
from types import SimpleNamespace
from dkist_processing_core import Workflow
from dkist_do_nothing.tasks import DoNothing
workflow = Workflow(
    input_data="a",
    output_data="b",
    category="c",
    workflow_package="dkist_do_nothing.workflows",
    workflow_version="1.0",
    operator="python_virtualenv",
)
workflow.add_node(DoNothing)
# From its file, as Airflow loads it, since the operator reads the source of the function that it runs.
operator = SourceFileLoader("exported", str(workflow.export_dag("dags"))).load_module().nodes["DoNothing"]
context = {"dag_run": SimpleNamespace(conf={"recipe_run_id": 1}), "params": {}, "ti": SimpleNamespace()}
operator.render_template_fields(context)
operator._bundle_path = None  # which Airflow sets from what it knows of the run
operator.pre_execute(context)
started = time.perf_counter()
operator.execute_callable()
print("seconds", time.perf_counter() - started)
"""


class Bench:
    """The folders, the Python and the environment variables that all runs share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = folder / "index"
        self.cache = folder / "environments"
        self.host = folder / "host"
        self.times: dict[tuple[str, str], list[float]] = {}
        for path, text in PACKAGE.items():
            file = folder / "package" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        for project in (ROOT, folder / "package"):
            self.uv("build", "--wheel", "--quiet", "--out-dir", self.index, project)
        [wheel] = self.index.glob("dkist_processing_core-*.whl")
        self.new_pin = folder / "ours.txt"
        self.new_pin.write_text(f"dkist-processing-core=={wheel.name.split('-')[1]}\n")
        python = shutil.which(f"python{PYTHON}") or PYTHON
        # The Python for the tasks of the worker; the published script upgrades its pip each time.
        self.uv("venv", "--quiet", "--seed", "--python", python, self.host)
        links = " ".join(filter(None, [os.environ.get("PIP_FIND_LINKS"), str(self.index)]))
        self.environment = {
            **os.environ,
            "PATH": f"{self.host / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PIP_FIND_LINKS": links,
            "UV_FIND_LINKS": links.replace(" ", ","),
            "DKIST_ENVIRONMENT_CACHE": str(self.cache),
            "DKIST_RECIPE_RUN_ID": "1",
        }
        # Permanently installed modules are compiled, whatever the variables of this shell are.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def path_with(self, python: Path) -> str:
        """Return a PATH that begins with the folder of a Python."""
        return f"{python.parent}{os.pathsep}{self.environment['PATH']}"

    def uv(self, *arguments: object, **environment: str) -> None:
        """Run uv."""
        command = [sys.executable, "-m", "uv", *map(str, arguments)]
        subprocess.run(command, check=True, env=os.environ | environment)

    def seconds(self, command: list[object], **environment: str) -> float:
        """Run a command in an empty folder, and return the time."""
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            started = time.perf_counter()
            done = subprocess.run(
                [str(word) for word in command],
                cwd=work,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            took = time.perf_counter() - started
        if done.returncode != 0:
            sys.exit(f"{command[0]} failed:\n{done.stdout[-3000:]}")
        return took

    def measure(self, subject: str, what: str, run: Callable[[], float]) -> None:
        """Run a function once more and record the time."""
        took = run()
        self.times.setdefault((subject, what), []).append(took)
        print(f"  {subject}: {what}: {took:.2f} s", flush=True)

    def median(self, subject: str, what: str) -> float:
        """Return the median of the recorded times."""
        return statistics.median(self.times[subject, what])

    def author(self, name: str, *requirements: object, **environment: str) -> Path:
        """Create an environment with the given distributions, and return its Python."""
        venv = self.folder / name
        self.uv("venv", "--quiet", "--python", self.host / "bin" / "python3", venv)
        self.uv(
            "pip", "install", "--quiet", "--python", venv / "bin/python", *requirements,
            **{"UV_FIND_LINKS": self.environment["UV_FIND_LINKS"], **environment},
        )  # fmt: skip
        return venv / "bin" / "python"

    def script(self, python: Path, module: str, workflow: str, task: str, name: str) -> Path:
        """Write the script that the library in an environment generates for a node."""
        done = subprocess.run(
            [python, "-P", "-c", PRINT_SCRIPT, module, workflow, task],
            check=True,
            capture_output=True,
            text=True,
            env=self.environment | {"BUILD_VERSION": CLIENT_VERSION, "AIRFLOW_HOME": str(self.folder / "airflow")},
        )
        file = self.folder / f"{name}.script"
        # The published script gets the recipe run id from a template of Airflow's, which is rendered here.
        text = done.stdout.replace("{{dag_run.conf['recipe_run_id']}}", "1")
        file.write_text(text[text.index("#") :] if text.startswith("#") else text)
        return file


def disk(folder: Path) -> tuple[int, int]:
    """Return the number of distributions in an environment, and its disk space in MB."""
    count = len(list(folder.glob("lib/python*/site-packages/*.dist-info")))
    size = sum(each.lstat().st_blocks * 512 for each in folder.rglob("*") if not each.is_symlink())
    return count, size // 1_000_000


def compare(
    bench: Bench, subject: str, published: Path, ours: Path, *, rounds: int, warm: int, settings: dict[str, str]
) -> None:
    """Run the published script and ours in turn, ours with the Python in which its library is installed."""

    def cold() -> float:
        shutil.rmtree(bench.cache, ignore_errors=True)
        return bench.seconds(["bash", ours], **settings)

    cold()
    for _ in range(rounds):
        bench.measure(subject, "published", lambda: bench.seconds(["bash", published]))
        bench.measure(subject, "ours, cold", cold)
        for _ in range(warm):
            bench.measure(subject, "ours, warm", lambda: bench.seconds(["bash", ours], **settings))


def do_nothing(bench: Bench, rounds: int) -> None:
    """Measure a package that needs only the library."""
    subject = "nothing but the library"
    old_pin = bench.folder / "published.txt"
    old_pin.write_text(f"dkist-processing-core=={PUBLISHED}\n")
    old = bench.author("published", f"{NAME}==1.0", UV_CONSTRAINT=str(old_pin))
    new = bench.author("ours", f"{NAME}==1.0", UV_CONSTRAINT=str(bench.new_pin))
    module = "dkist_do_nothing.workflows.flow"
    published = bench.script(old, module, "flow", "DoNothing", "published")
    ours = bench.script(new, module, "flow", "DoNothing", "ours")
    # A constraint selects the library for each of them, in the form that its installer requires.
    settings = {"PIP_CONSTRAINT": "", "UV_CONSTRAINT": str(bench.new_pin), "PATH": bench.path_with(new)}
    bench.environment["PIP_CONSTRAINT"] = str(old_pin)
    compare(bench, subject, published, ours, rounds=rounds, warm=5, settings=settings)
    [environment] = [each for each in (bench.cache / "v1").iterdir() if each.is_dir()]
    for _ in range(5 * rounds):
        bench.measure(subject, "bare", lambda: bench.seconds([environment / "bin/python", "-c", "pass"]))
    print_disk("ours", environment)
    print_disk("published", old.parents[1])
    memory(bench, bench.script(new, module, "flow", "Wait", "waits"), settings)


def memory(bench: Bench, script: Path, settings: dict[str, str]) -> None:
    """Print the resident memory of the worker program while a task runs, and of a bash that waits for a program."""
    waiting = ["bash", "-c", "set -m; sleep 60 & echo waits; wait; :"]
    for label, command in (("the worker program", ["bash", str(script)]), ("bash", waiting)):
        process = subprocess.Popen(
            command,
            env=bench.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while process.stdout.readline() not in {"waits\n", ""}:
            pass
        status = Path(f"/proc/{process.pid}/status").read_text()
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        lines = [line.split() for line in (status + rollup).splitlines() if line.endswith(" kB")]
        values = {words[0]: int(words[1]) / 1024 for words in lines}
        private = values["Private_Clean:"] + values["Private_Dirty:"]
        print(f"  memory of {label}: {values['VmRSS:']:.1f} MB resident, {private:.1f} MB of it shared with nobody")
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def print_disk(label: str, folder: Path) -> None:
    """Print the size of an environment."""
    count, size = disk(folder)
    print(f"  environment of {label}: {count} distributions, {size} MB")


def operator(bench: Bench, rounds: int) -> None:
    """Measure Airflow's own operator, executed as Airflow does, with the Python that has Airflow."""
    subject = "nothing but the library"
    settings = {
        "AIRFLOW_HOME": str(bench.folder / "airflow"),
        "PYTHONPATH": str(bench.folder / "package"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONSTRAINT": "",
        "UV_CONSTRAINT": str(bench.new_pin),
    }

    def execute() -> float:
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE_OPERATOR],
            cwd=bench.folder,
            env=bench.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("seconds ")]
        if not lines:
            sys.exit(f"the operator failed:\n{done.stdout[-3000:]}")
        return float(lines[0].split()[1])

    for _ in range(rounds):
        shutil.rmtree(bench.cache, ignore_errors=True)
        bench.measure(subject, "PythonVirtualenvOperator, cold", execute)
        for _ in range(2):
            bench.measure(subject, "PythonVirtualenvOperator, warm", execute)


def client(bench: Bench, rounds: int) -> None:
    """Measure a real instrument package; for our runs, with this library in place of the published one."""
    bench.environment.pop("PIP_CONSTRAINT", None)
    old = bench.author("published-client", f"{CLIENT}=={CLIENT_VERSION}")
    new = bench.author("our-client", f"{CLIENT}=={CLIENT_VERSION}", UV_OVERRIDE=str(bench.new_pin))
    module = "dkist_processing_test.workflows.noop"
    published = bench.script(old, module, "noop", "NoOpTask", "published-client")
    ours = bench.script(new, module, "noop", "NoOpTask", "our-client")
    settings = {"UV_OVERRIDE": str(bench.new_pin), "PATH": bench.path_with(new)}
    compare(bench, f"{CLIENT} {CLIENT_VERSION}", published, ours, rounds=rounds, warm=2, settings=settings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each of the slow ones")
    parser.add_argument("--client", action="store_true", help="measure a real instrument package as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary))
        do_nothing(bench, options.rounds)
        operator(bench, options.rounds)
        if options.client:
            client(bench, options.rounds)
        print(f"\nPython {PYTHON}, medians")
        for (subject, what), its in bench.times.items():
            ratio = bench.median(subject, "published") / bench.median(subject, what)
            print(f"  {subject:<30}{what:<32}{statistics.median(its):>9.2f} s{ratio:>9.1f} x faster than published")
        overhead = bench.median("nothing but the library", "ours, warm") - bench.median(
            "nothing but the library", "bare"
        )
        print(f"  a warm start takes {overhead:.2f} s more than the bare one")


if __name__ == "__main__":
    main()

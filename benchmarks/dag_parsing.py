"""
Measure what an exported file costs Airflow's DAG processor at each parse, compared with a hand-written file.

The DAG processor has imported Airflow and forks a process for each file. So each parse of a file repeats all imports
beyond Airflow. This benchmark does the same: a parent that has imported Airflow forks a child for each measurement,
with the two files in turn. The child measures how long ``DagBag`` takes to load the file. It also prints how long a
child takes for the imports of an exported file, and the sizes of the files and of the serialised DAGs.
"""

import compileall
import json
import logging
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dag_support.hand_written import hand_written

import dkist_processing_core

NODES = 25
ROUNDS = 81


def exported(folder: Path) -> Path:
    """Export a workflow with the given number of nodes."""
    from dkist_processing_core import TaskBase, Workflow

    workflow = Workflow(
        input_data="l0", output_data="l1", category="bench", workflow_package="bench", workflow_version="1.0"
    )
    previous = None
    for number in range(NODES):
        task = type(
            f"Task{number}",
            (TaskBase,),
            {"run": lambda _: None, "__doc__": "Do one thing.\n\nWith a docstring of some lines,\nas tasks have."},
        )
        workflow.add_node(task, upstreams=previous)
        previous = task
    return workflow.export_dag(folder)


def in_fork(measure: Callable[[], float]) -> float:
    """Return the result of a function that is called in a fork of this process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, struct.pack("d", measure()))
        os._exit(0)
    os.close(write)
    [measured] = struct.unpack("d", os.read(read, 8))
    os.close(read)
    os.waitpid(child, 0)
    return float(measured)


def seconds_to_load(file: Path) -> float:
    """Load a file in a fork of this process and return how long it took there."""

    def load() -> float:
        from airflow.dag_processing.dagbag import DagBag

        started = time.perf_counter()
        bag = DagBag(str(file))
        took = time.perf_counter() - started
        is_good = not bag.import_errors and [len(dag.tasks) for dag in bag.dags.values()] == [NODES]
        return took if is_good else -1.0

    took = in_fork(load)
    if took < 0:
        sys.exit(f"{file} does not load as {NODES} tasks")
    return took


def seconds_to_import() -> float:
    """Import what an exported file imports, and return the time."""
    started = time.perf_counter()
    from dkist_processing_core.scheduling import TaskOperator, workflow_dag  # noqa: F401

    return time.perf_counter() - started


def seconds_to_import_nothing() -> float:
    """Import an empty module of an empty package: the minimum cost of an import in a fork."""
    started = time.perf_counter()
    import empty_package.empty_module  # noqa: F401

    return time.perf_counter() - started


def empty_package(folder: Path) -> None:
    """Write an empty package with an empty module to a folder from which it can be imported."""
    for name in ("__init__.py", "empty_module.py"):
        file = folder / "empty_package" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    sys.path.append(str(folder))


def serialised_bytes(file: Path) -> float:
    """Return the size of the serialised DAG of a file."""
    from dkist_processing_core.validation.dag_files import dag_bag, serialisation

    [dag] = dag_bag(file).dags.values()
    return float(len(json.dumps(serialisation().to_dict(dag))))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        ours = exported(folder / "exported")
        theirs = folder / "hand_written.py"
        theirs.write_text(hand_written("hand_written", nodes=NODES))
        empty_package(folder)

        # The children inherit the imports of the parent: Airflow in both forms, and nothing of this library.
        import airflow.dag_processing.dagbag
        import airflow.providers.standard.operators.bash
        import airflow.sdk

        logging.disable(logging.WARNING)
        # Airflow compiles a file once, and stores the result beside it.
        sys.dont_write_bytecode = False
        # An installer compiles the modules that it installs; those of a checkout may not be compiled yet.
        compileall.compile_dir(str(Path(dkist_processing_core.__file__).parent), quiet=1)
        for name in [name for name in sys.modules if name.startswith("dkist_processing_core")]:
            del sys.modules[name]

        times: dict[str, list[float]] = {"hand-written": [], "exported": []}
        for round_number in range(ROUNDS + 1):
            for label, file in (("hand-written", theirs), ("exported", ours)):
                took = seconds_to_load(file)
                if round_number:  # the first round warms the file cache
                    times[label].append(took)
        compileall.compile_dir(str(folder / "empty_package"), quiet=1)
        # In turn, since the speed of a shared machine varies.
        imports = [(in_fork(seconds_to_import), in_fork(seconds_to_import_nothing)) for _ in range(ROUNDS)]
        sizes = [each.stat().st_size for each in (theirs, ours)]
        stored = [in_fork(partial(serialised_bytes, each)) for each in (theirs, ours)]
    print(f"one file of {NODES} nodes, {ROUNDS} rounds, Airflow {airflow.__version__}, Python {sys.version.split()[0]}")
    print(f"{'file':<14}{'median':>10}{'min':>10}{'max':>10}")
    for label, its in times.items():
        print(
            f"{label:<14}" + "".join(f"{1000 * each:>7.1f} ms" for each in (statistics.median(its), min(its), max(its)))
        )
    ratio = statistics.median(times["exported"]) / statistics.median(times["hand-written"])
    pairs = [one / other for one, other in zip(times["exported"], times["hand-written"], strict=True)]
    print(f"exported / hand-written: {ratio:.2f} (medians), {statistics.median(pairs):.2f} (median of the pairs)")
    for label, its in zip(
        ("what an exported file imports", "an empty module"), zip(*imports, strict=True), strict=True
    ):
        print(f"{label}: {1000 * statistics.median(its):.1f} ms, quickest {1000 * min(its):.1f} ms")
    for label, (one, other) in {"file": sizes, "serialised DAG": stored}.items():
        print(f"{label}: {other:,.0f} bytes, hand-written {one:,.0f}, ratio {other / one:.2f}")


if __name__ == "__main__":
    main()

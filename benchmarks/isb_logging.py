"""
What it costs a task to send its log to the interservice bus: a task that logs in a tight loop, with it and without.

The same task runs in turn with ``DKIST_ISB_LOGGING`` off and on, the latter with a broker that is up, away (connections
are refused), slow (100 KB in a second), and silent (it takes connections and says nothing). The run time is that of the
whole process of the task, start and end included. Each run that is on is given time until its log shipper has gone, so
it is not measured with the next one.

What the task writes goes to a file, where nobody is in its way, and, on its own, to what reads it in Airflow: the hook
of Airflow's bash operator. A third reader, ``--sink reader``, does nothing but read. It is quicker than the task, so it
sleeps before each line, and what the task then feels most is the price of waking it, which a virtual machine asks.

What is printed are the quickest run of each situation, since what others do on the machine only ever adds to a run, and
the medians. The processor time is that of the task's process and all its threads.
"""

import argparse
import contextlib
import importlib.util
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, Protocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.logs import QUEUE  # noqa: E402 - found by the line above
from support.peers import mesh_config, peer, relay  # noqa: E402
from support.ports import free_ports  # noqa: E402
from support.rabbitmq import RabbitMQ  # noqa: E402

SLOW_BYTES_PER_SECOND = 100_000
LIFE_CYCLE_RECORDS = 8
TASK = """
import logging, os, time
from pathlib import Path
from dkist_processing_core import TaskBase

logger = logging.getLogger("bench.camera")

class Logs(TaskBase):
    def run(self):
        began = time.perf_counter()
        pause = float(os.environ["WORK_SECONDS"])
        for number in range(int(os.environ["RECORDS"])):
            due = time.perf_counter() + pause
            logger.info("frame %d of %s: mean %.3f", number, "a burst", 1.5)
            while time.perf_counter() < due:
                pass
        Path(os.environ["LOOP"]).write_text(str(time.perf_counter() - began))
        # getrusage would tell the peak of the process that this one was forked from, if that was higher.
        status = Path("/proc/self/status").read_text()
        Path(os.environ["PEAK"]).write_text(status.partition("VmHWM:")[2].split()[0])
"""
READ_LINES = "import sys\nfor line in sys.stdin.buffer: pass"


class Run(NamedTuple):
    """What was measured of one run of the task."""

    seconds: float
    processor_seconds: float
    megabytes: float
    arrived: int = 0
    told_dropped: int = 0


def run_task(sink: "Sink", folder: Path, records: int, **settings: str) -> Run:
    """Run the task once while its output goes to the sink."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONUNBUFFERED": "1",
        "DKIST_RECIPE_RUN_ID": "1",
        "RECORDS": str(records),
        "PEAK": str(folder / "peak"),
        **settings,
    }
    # As in the environment of a task, where what is compiled once is kept.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-P", "-m", "dkist_processing_core.runtime", "bench_tasks:Logs"]
    status, seconds, processor_seconds = sink(
        [*command, "--workflow-name", "bench", "--workflow-version", "1"], environment
    )
    if status != 0:
        sys.exit(f"the task failed with exit status {status}")
    return Run(seconds, processor_seconds, int((folder / "peak").read_text()) / 1024)


class Sink(Protocol):
    """Where the output of a task goes."""

    def __call__(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
        """Run a command; return its exit status, how long it took, and its processor time."""


def timed(command: list[str], environment: Mapping[str, str], output: IO[bytes]) -> tuple[int, float, float]:
    """Run a command whose output goes to a file or a pipe."""
    began = time.perf_counter()
    task = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    _, status, used = os.wait4(task.pid, 0)
    seconds = time.perf_counter() - began
    task.returncode = os.waitstatus_to_exitcode(status)
    return task.returncode, seconds, used.ru_utime + used.ru_stime


def to_file(command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Run a command whose output goes to a file."""
    with tempfile.TemporaryFile() as output:
        return timed(command, environment, output)


def to_reader(command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Run a command whose output is read, and no more, by another process."""
    reader = subprocess.Popen([sys.executable, "-c", READ_LINES], stdin=subprocess.PIPE)
    assert reader.stdin
    time.sleep(0.1)  # its own start is not what is measured
    done = timed(command, environment, reader.stdin)
    reader.communicate()
    return done


def by_the_hook(command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Run a command as Airflow's bash operator does; to be called in a process of its own."""
    from airflow.providers.standard.hooks.subprocess import SubprocessHook

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    result = SubprocessHook().run_command(command, env=dict(environment))
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result.exit_code, seconds, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def log_to(path: Path) -> None:
    """Let what this process prints, which is Airflow's log of the task, go to a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


@contextlib.contextmanager
def sinks(names: list[str], folder: Path) -> Iterator[dict[str, Sink]]:
    """Yield what has these names and can be had here."""
    found: dict[str, Sink] = {"file": to_file, "reader": to_reader}
    with contextlib.ExitStack() as stack:
        if "airflow" in names and importlib.util.find_spec("airflow"):
            os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(1, initializer=log_to, initargs=[folder / "airflow.log"]))
            found["airflow"] = lambda *arguments: pool.apply(by_the_hook, arguments)
        elif "airflow" in names:
            print("Airflow is not installed; what its hook adds is not measured")
        yield {name: found[name] for name in names if name in found}


def take_all(broker: RabbitMQ) -> tuple[int, int]:
    """Take everything out of the queue; return how many records it was, and how many it said were dropped."""
    arrived = dropped = 0
    with contextlib.closing(broker.connect()) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
        for method, _, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=1):
            if method is None:
                break
            for line in body.splitlines():
                lost = json.loads(line)["droppedRecords"]
                arrived += lost is None
                dropped += lost or 0
    return arrived, dropped


@contextlib.contextmanager
def places(broker: RabbitMQ) -> Iterator[dict[str, str]]:
    """Yield the value of MESH_CONFIG for each kind of broker."""

    def slowly(data: bytes) -> bytes:
        time.sleep(len(data) / SLOW_BYTES_PER_SECOND)
        return data

    with relay(broker.port, to_broker=slowly) as slow, peer(lambda _: None) as silent:
        yield {
            "up": broker.mesh_config,
            "away": mesh_config(free_ports(1)[0]),
            "slow": mesh_config(slow),
            "silent": mesh_config(silent),
        }


def measure(
    broker: RabbitMQ, folder: Path, names: list[str], *, rounds: int, records: int
) -> dict[tuple[str, str], list[Run]]:
    """Run the task in all situations in turn."""
    with places(broker) as settings, sinks(names, folder) as found:
        runs: dict[tuple[str, str], list[Run]] = {(sink, name): [] for sink in found for name in ["off", *settings]}
        for number in range(-1, rounds):  # the first round is for the caches
            # Not always the same one after the other: what one leaves behind must not always meet the same next one.
            order = list(runs)
            random.Random(number).shuffle(order)
            for sink, name in order:
                if name == "off":
                    run = run_task(found[sink], folder, records)
                else:
                    run = run_task(found[sink], folder, records, DKIST_ISB_LOGGING="true", MESH_CONFIG=settings[name])
                    arrived, dropped = take_all(broker)
                    run = run._replace(arrived=arrived, told_dropped=dropped)
                if number >= 0:
                    runs[sink, name].append(run)
                    print(f"  {sink} {name}: {run.seconds:.2f} s", flush=True)
    return runs


def show(sink: str, runs: Mapping[str, list[Run]], records: int) -> None:
    """Print what was measured with one sink."""
    print(
        f"\n{sink:<10}{'quickest':>16}{'median':>16}{'processor time':>18}{'memory':>10}{'arrived':>10}"
        f"{'told dropped':>14}{'missing':>9}"
    )
    quickest = {name: Run(*(min(values) for values in zip(*its, strict=True))) for name, its in runs.items()}
    medians = {name: Run(*(statistics.median(each) for each in zip(*its, strict=True))) for name, its in runs.items()}
    for name in runs:
        best, middle = quickest[name], medians[name]
        missing = 0 if name == "off" else records + LIFE_CYCLE_RECORDS - middle.arrived
        print(
            f"{name:<10}{best.seconds:>9.2f} s{best.seconds / quickest['off'].seconds:>6.2f}"
            f"{middle.seconds:>9.2f} s{middle.seconds / medians['off'].seconds:>6.2f}"
            f"{best.processor_seconds:>10.2f} s{best.processor_seconds / quickest['off'].processor_seconds:>6.2f}"
            f"{max(each.megabytes for each in runs[name]):>7.0f} MB"
            f"{middle.arrived:>10.0f}{middle.told_dropped:>14.0f}{missing:>9.0f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="runs in each situation")
    parser.add_argument("--records", type=int, default=100_000, help="records of a run")
    parser.add_argument("--sink", nargs="+", choices=["file", "airflow", "reader"], default=["file", "airflow"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "bench_tasks.py").write_text(textwrap.dedent(TASK))
        broker = RabbitMQ.new(folder)
        broker.start()
        try:
            runs = measure(broker, folder, options.sink, rounds=options.rounds, records=options.records)
        finally:
            broker.close()
    print(f"\n{options.records} records, {options.rounds} runs")
    for sink in options.sink:
        of_sink = {name: its for (its_sink, name), its in runs.items() if its_sink == sink}
        if of_sink:
            show(sink, of_sink, options.records)


if __name__ == "__main__":
    main()

"""
Measure what it costs a task to send its log to the interservice bus.

The same task runs in turn with ``DKIST_ISB_LOGGING`` off and on, the latter with a broker that is up, away (connections
are refused), slow (100 KB per second), and silent (it accepts connections and sends nothing). The task logs in a tight
loop or, with ``--rate``, the given number of records per second, with processor work between them. This work allocates
nothing: the speed of a loop that creates objects depends on where the allocator places them, and an import or an idle
thread changes it by 5 % in either direction.

The benchmark prints the time of the loop (minimum and median, since other processes can only increase it), the time
from the end of the loop to the end of the process, and the processor time of the process with all its threads,
including start and end.

The output of the task goes to a file, where nothing slows it down, and in other runs to its reader in Airflow, the hook
of Airflow's bash operator. A third reader, ``--sink reader``, only reads. It is faster than the task, so it sleeps
before each line. The cost for the task is then mainly that of waking the reader, which is high on a virtual machine.
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
import timeit
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Protocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.logs import QUEUE  # noqa: E402 - found by the line above
from support.mesh import mesh_config  # noqa: E402
from support.peers import peer, relay  # noqa: E402
from support.ports import free_ports  # noqa: E402
from support.rabbitmq import RabbitMQ  # noqa: E402

SLOW_BYTES_PER_SECOND = 100_000
LIFE_CYCLE_RECORDS = 8
WORK_BYTES = 20_000
TASK = """
import logging, os, time
from pathlib import Path
from dkist_processing_core import TaskBase

logger = logging.getLogger("bench.camera")

class Logs(TaskBase):
    def run(self):
        data, work = bytes(int(os.environ["BYTES"])), range(int(os.environ["WORK"]))
        began = time.monotonic()
        for number in range(int(os.environ["RECORDS"])):
            logger.info("frame %d of %s: mean %.3f", number, "a burst", 1.5)
            for _ in work:
                data.count(b"ab")
        ended = time.monotonic()
        Path(os.environ["LOOP"]).write_text(f"{ended - began} {ended}")
        # getrusage would tell the peak of the process that this one was forked from, if that was higher.
        status = Path("/proc/self/status").read_text()
        Path(os.environ["PEAK"]).write_text(status.partition("VmHWM:")[2].split()[0])
"""
READ_LINES = "import sys\nfor line in sys.stdin.buffer: pass"


class Run(NamedTuple):
    """The measurements of one run of the task."""

    loop_seconds: float
    end_seconds: float
    processor_seconds: float
    megabytes: float
    arrived: int = 0
    said_dropped: int = 0


def run_task(sink: "Sink", folder: Path, records: int, work: int, **settings: str) -> Run:
    """Run the task once while its output goes to the sink."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONUNBUFFERED": "1",
        "DKIST_RECIPE_RUN_ID": "1",
        "RECORDS": str(records),
        "WORK": str(work),
        "BYTES": str(WORK_BYTES),
        "LOOP": str(folder / "loop"),
        "PEAK": str(folder / "peak"),
        **settings,
    }
    # As in the environment of a task, in which compiled modules are kept.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-P", "-m", "dkist_processing_core.runtime", "bench_tasks:Logs"]
    status, ended, processor_seconds = sink(
        [*command, "--workflow-name", "bench", "--workflow-version", "1"], environment
    )
    if status != 0:
        sys.exit(f"the task failed with exit status {status}")
    loop_seconds, loop_ended = map(float, (folder / "loop").read_text().split())
    return Run(loop_seconds, ended - loop_ended, processor_seconds, int((folder / "peak").read_text()) / 1024)


class Sink(Protocol):
    """The destination of the output of a task."""

    def __call__(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
        """Run a command; return its exit status, the time of its end, and its processor time."""


def timed(command: list[str], environment: Mapping[str, str], output: IO[bytes]) -> tuple[int, float, float]:
    """Run a command whose output goes to a file or a pipe."""
    task = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    _, status, used = os.wait4(task.pid, 0)
    ended = time.monotonic()
    task.returncode = os.waitstatus_to_exitcode(status)
    return task.returncode, ended, used.ru_utime + used.ru_stime


def to_file(command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Run a command whose output goes to a file."""
    with tempfile.TemporaryFile() as output:
        return timed(command, environment, output)


def to_reader(command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Run a command whose output another process reads and discards."""
    reader = subprocess.Popen([sys.executable, "-c", READ_LINES], stdin=subprocess.PIPE)
    assert reader.stdin
    time.sleep(0.1)  # its own start is not measured
    done = timed(command, environment, reader.stdin)
    reader.communicate()
    return done


def by_the_hook(command: list[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Run a command as Airflow's bash operator does. Call it in a process of its own."""
    from airflow.providers.standard.hooks.subprocess import SubprocessHook

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = SubprocessHook().run_command(command, env=dict(environment))
    ended = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result.exit_code, ended, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def log_to(path: Path) -> None:
    """Redirect the output of this process, which is Airflow's log of the task, to a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


@contextlib.contextmanager
def sinks(names: list[str], folder: Path) -> Iterator[dict[str, Sink]]:
    """Yield the sinks with these names that are available here."""
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
    """Empty the queue; return the number of records, and the number of those that were reported as dropped."""
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
    broker: RabbitMQ, folder: Path, names: list[str], *, rounds: int, records: int, work: int
) -> dict[tuple[str, str], list[Run]]:
    """Run the task in all situations in turn."""
    with places(broker) as settings, sinks(names, folder) as found:
        runs: dict[tuple[str, str], list[Run]] = {(sink, name): [] for sink in found for name in ["off", *settings]}
        for number in range(-1, rounds):  # the first round fills the caches
            # In varying order, so that the effects of one situation do not always affect the same next one.
            order = list(runs)
            random.Random(number).shuffle(order)
            for sink, name in order:
                if name == "off":
                    run = run_task(found[sink], folder, records, work)
                else:
                    run = run_task(
                        found[sink], folder, records, work, DKIST_ISB_LOGGING="true", MESH_CONFIG=settings[name]
                    )
                    arrived, dropped = take_all(broker)
                    run = run._replace(arrived=arrived, said_dropped=dropped)
                if number >= 0:
                    runs[sink, name].append(run)
                    print(f"  {sink} {name}: {run.loop_seconds:.2f} s, end {run.end_seconds:.2f} s", flush=True)
    return runs


def show(sink: str, runs: Mapping[str, list[Run]], records: int) -> None:
    """Print the measurements with one sink."""
    print(
        f"\n{sink:<10}{'quickest loop':>16}{'median':>16}{'longest end':>13}{'processor time':>18}{'memory':>10}"
        f"{'arrived':>10}{'said dropped':>14}{'missing':>9}"
    )
    quickest = {name: Run(*(min(values) for values in zip(*its, strict=True))) for name, its in runs.items()}
    medians = {name: Run(*(statistics.median(each) for each in zip(*its, strict=True))) for name, its in runs.items()}
    for name in runs:
        best, middle = quickest[name], medians[name]
        missing = 0 if name == "off" else records + LIFE_CYCLE_RECORDS - middle.arrived
        print(
            f"{name:<10}{best.loop_seconds:>9.2f} s{best.loop_seconds / quickest['off'].loop_seconds:>6.2f}"
            f"{middle.loop_seconds:>9.2f} s{middle.loop_seconds / medians['off'].loop_seconds:>6.2f}"
            f"{max(each.end_seconds for each in runs[name]):>11.2f} s"
            f"{best.processor_seconds:>10.2f} s{best.processor_seconds / quickest['off'].processor_seconds:>6.2f}"
            f"{max(each.megabytes for each in runs[name]):>7.0f} MB"
            f"{middle.arrived:>10.0f}{middle.said_dropped:>14.0f}{missing:>9.0f}"
        )


def work_for(rate: int) -> int:
    """Return the number of steps of work that take the time between two records; 0 for no pause."""
    if not rate:
        return 0
    steps = 1000
    seconds = min(timeit.repeat(partial(bytes(WORK_BYTES).count, b"ab"), number=steps)) / steps
    return int(1 / rate / seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="runs in each situation")
    parser.add_argument("--records", type=int, default=100_000, help="records of a run")
    parser.add_argument("--sink", nargs="+", choices=["file", "airflow", "reader"], default=["file", "airflow"])
    parser.add_argument("--rate", type=int, default=0, help="records in a second; as many as possible by default")
    options = parser.parse_args()
    work = work_for(options.rate)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "bench_tasks.py").write_text(textwrap.dedent(TASK))
        broker = RabbitMQ.new(folder)
        broker.start()
        try:
            runs = measure(broker, folder, options.sink, rounds=options.rounds, records=options.records, work=work)
        finally:
            broker.close()
    print(f"\n{options.records} records, {options.rounds} runs")
    for sink in options.sink:
        of_sink = {name: its for (its_sink, name), its in runs.items() if its_sink == sink}
        if of_sink:
            show(sink, of_sink, options.records)


if __name__ == "__main__":
    main()

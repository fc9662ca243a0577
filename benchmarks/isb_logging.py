"""
What it costs a task to send its log to the interservice bus: a task that logs in a tight loop, with it and without.

The same task runs in turn with ``DKIST_ISB_LOGGING`` off and on, the latter with a broker that is up, away (connections
are refused), slow (100 KB in a second), and silent (it takes connections and says nothing). A process of its own reads
what the task writes, as Airflow would. The run time is that of the whole process of the task, start and end included.
Each run that is on is given time until its log shipper has gone, so it is not measured with the next one.

What is printed are medians, and the quickest run of each situation: what others do on the machine only ever adds to a
run. The processor time is that of the task's process and all its threads.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.logs import QUEUE, wait_until_nobody_sends  # noqa: E402 - they are found by the line above
from support.peers import mesh_config, peer, relay  # noqa: E402
from support.ports import free_ports  # noqa: E402
from support.rabbitmq import RabbitMQ  # noqa: E402

SLOW_BYTES_PER_SECOND = 100_000
LIFE_CYCLE_RECORDS = 8
TASK = """
import logging, os
from pathlib import Path
from dkist_processing_core import TaskBase

logger = logging.getLogger("bench.camera")

class Logs(TaskBase):
    def run(self):
        for number in range(int(os.environ["RECORDS"])):
            logger.info("frame %d of %s: mean %.3f", number, "a burst", 1.5)
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


def run_task(folder: Path, records: int, **settings: str) -> Run:
    """Run the task once while somebody reads its output."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONUNBUFFERED": "1",
        "DKIST_RECIPE_RUN_ID": "1",
        "RECORDS": str(records),
        "PEAK": str(folder / "peak"),
        **settings,
    }
    command = [sys.executable, "-P", "-m", "dkist_processing_core.run_task", "bench_tasks:Logs"]
    reader = subprocess.Popen([sys.executable, "-c", READ_LINES], stdin=subprocess.PIPE)
    time.sleep(0.1)  # its own start is not what is measured
    began = time.perf_counter()
    task = subprocess.Popen(
        [*command, "--workflow-name", "bench", "--workflow-version", "1"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=reader.stdin,
        stderr=reader.stdin,
    )
    _, status, used = os.wait4(task.pid, 0)
    seconds = time.perf_counter() - began
    task.returncode = os.waitstatus_to_exitcode(status)
    reader.communicate()
    if task.returncode != 0:
        sys.exit(f"the task failed with exit status {task.returncode}")
    return Run(seconds, used.ru_utime + used.ru_stime, int((folder / "peak").read_text()) / 1024)


def take_all(broker: RabbitMQ) -> tuple[int, int]:
    """Take everything out of the queue; return how many records it was, and how many it said were dropped."""
    arrived = dropped = 0
    with contextlib.closing(broker.connect()) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
        for method, _, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=1):
            if method is None:
                break
            lost = json.loads(body)["droppedRecords"]
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


def measure(broker: RabbitMQ, folder: Path, *, rounds: int, records: int) -> dict[str, list[Run]]:
    """Run the task in all situations in turn."""
    with places(broker) as settings:
        runs: dict[str, list[Run]] = {"off": [], **{name: [] for name in settings}}
        run_task(folder, records)
        for number in range(rounds):
            # Not always the same one after the other: what one leaves behind must not always meet the same next one.
            names = list(runs)
            random.Random(number).shuffle(names)
            for name in names:
                if name == "off":
                    run = run_task(folder, records)
                else:
                    run = run_task(folder, records, DKIST_ISB_LOGGING="true", MESH_CONFIG=settings[name])
                    wait_until_nobody_sends(settings[name])
                    arrived, dropped = take_all(broker)
                    run = run._replace(arrived=arrived, told_dropped=dropped)
                runs[name].append(run)
                print(f"  {name}: {run.seconds:.2f} s", flush=True)
    return runs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="runs in each situation")
    parser.add_argument("--records", type=int, default=100_000, help="records of a run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "bench_tasks.py").write_text(textwrap.dedent(TASK))
        broker = RabbitMQ.new(folder)
        broker.start()
        try:
            runs = measure(broker, folder, rounds=options.rounds, records=options.records)
        finally:
            broker.close()
    print(f"\n{options.records} records, medians of {options.rounds} runs")
    print(
        f"{'':<8}{'run time':>16}{'quickest':>16}{'processor time':>18}{'memory':>10}{'arrived':>10}"
        f"{'told dropped':>14}{'missing':>9}"
    )
    medians = {
        name: Run(*(statistics.median(values) for values in zip(*its, strict=True))) for name, its in runs.items()
    }
    off = medians["off"]
    quickest = {name: min(run.seconds for run in its) for name, its in runs.items()}
    for name, run in medians.items():
        missing = 0 if name == "off" else options.records + LIFE_CYCLE_RECORDS - run.arrived
        print(
            f"{name:<8}{run.seconds:>9.2f} s{run.seconds / off.seconds:>6.2f}"
            f"{quickest[name]:>9.2f} s{quickest[name] / quickest['off']:>6.2f}"
            f"{run.processor_seconds:>10.2f} s{run.processor_seconds / off.processor_seconds:>6.2f}"
            f"{max(each.megabytes for each in runs[name]):>7.0f} MB"
            f"{run.arrived:>10.0f}{run.told_dropped:>14.0f}{missing:>9.0f}"
        )


if __name__ == "__main__":
    main()

"""
Measure the cost of 100,000 pending messages: listing them, callbacks that find them, and sending them by hand.

The messages go to a real RabbitMQ. Each callback is a process of its own, as in Airflow. The benchmark prints the time
and the peak memory of each process, including Python and all imports, and the number of messages that it sent.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.messages import new_envelope  # noqa: E402 - found by the line above
from support.rabbitmq import RabbitMQ  # noqa: E402

from dkist_processing_core.isb import spool  # noqa: E402

CALLBACK = """
import time
from dkist_processing_core.failure_callback import chat_ops_notification
began = time.monotonic()
chat_ops_notification({"run_id": "benchmark", "exception": ValueError("no flat")}, "w", "1", "T")
print(f"{time.monotonic() - began:.1f}")
"""
COMMAND = [sys.executable, "-m", "dkist_processing_core", "messages"]
ERROR = "Traceback (most recent call last):\n" + "  File 'task.py', line 1, in run\n" * 19 + "ValueError: no flat"


class Run(NamedTuple):
    """The measurements of one process."""

    seconds: float
    megabytes: float


def fill(folder: Path, count: int) -> None:
    """Write messages as callbacks do, but without waiting for the disk."""
    spool.prepare(folder)
    now = time.time_ns()
    body = {"workflowName": "w", "workflowVersion": "1", "taskName": "T", "dagRunId": "r", "error": ERROR}
    for number in range(count):
        envelope = new_envelope(number, body=json.dumps(body), type="recipe.run.failure", timestamp=1789000000)
        (folder / f"{now + number:020d}-{number:032x}.json").write_text(envelope.to_json())


def waiting(folder: Path) -> int:
    """Count the messages in the folder."""
    return sum(entry.name.endswith(".json") for entry in os.scandir(folder))


def measure(command: list[str], output: Path) -> Run:
    """Run a command with its output in a file."""
    began = time.monotonic()
    with output.open("wb") as opened:
        process = subprocess.Popen(command, stdout=opened, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} failed with {process.returncode}: {output.read_text()[-1000:]}")
    return Run(time.monotonic() - began, used.ru_maxrss / 1024)


def show(name: str, run: Run, rest: str = "") -> None:
    """Print the measurements."""
    print(f"{name:<16}{run.seconds:>8.1f} s{run.megabytes:>8.0f} MB  {rest}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="how many wait")
    parser.add_argument("--callbacks", type=int, default=5, help="how many callbacks find them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "spool", Path(temporary) / "output"
        broker = RabbitMQ.new(Path(temporary))
        os.environ |= {"DKIST_ISB_SPOOL": str(folder), "MESH_CONFIG": broker.mesh_config}
        fill(folder, options.messages)
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{options.messages} messages; the benchmark itself has {mine:.0f} MB, which no figure can be below")
        broker.start()
        try:
            show("list", measure([*COMMAND, "list"], output), output.read_text().splitlines()[-1])
            show("list --json", measure([*COMMAND, "list", "--json"], output), f"{output.stat().st_size} bytes")
            for number in range(options.callbacks):
                before = waiting(folder)
                run = measure([sys.executable, "-c", CALLBACK], output)
                sent = f"{before - waiting(folder)} sent, the call itself {output.read_text().splitlines()[-1]} s"
                show(f"callback {number + 1}", run, sent)
            show("send", measure([*COMMAND, "send"], output), output.read_text().splitlines()[-1])
            print(f"{waiting(folder)} messages are left")
        finally:
            broker.close()


if __name__ == "__main__":
    main()

"""Components of Airflow that are measured: their processes, processor time and memory."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from dkist_processing_core.common.programs import end, family

TICKS = os.sysconf("SC_CLK_TCK")
OWN, CHILDREN = (11, 12), (13, 14)  # user and system time in /proc/PID/stat, counted from the state


@contextlib.contextmanager
def component(arguments: list[str], environment: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a component of Airflow."""
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", *arguments],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def processor_seconds(*pids: int, fields_of: tuple[int, ...] = (*OWN, *CHILDREN)) -> float:
    """Return the processor time of some processes, of their children that have ended, or of both."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(fields[each]) for each in fields_of)
    return ticks / TICKS


def megabytes(pid: int) -> float:
    """Return the proportional set size of a process with all its descendants."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError, AttributeError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return total / 1000


class Peak:
    """The peak memory of a process and its descendants, sampled every half second."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.megabytes = max(self.megabytes, megabytes(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def tail(log: Path) -> str:
    """Return the end of a log."""
    return log.read_text(errors="replace")[-3000:]

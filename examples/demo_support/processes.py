"""The programs that the demo starts, and how all of them come to an end when it does."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["DemoError", "end_with_descendants", "run"]

# The task script gives a task 10 s to end in an orderly way, and needs a moment to see to the rest.
GRACE_SECONDS = 13.0
TAIL_LINES = 15


class DemoError(Exception):
    """The demo cannot go on. The message says why, and what to do or where to read more."""


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    on_line: Callable[[str], str | None] | None = None,
) -> str:
    """
    Run a program to its end and return what it said.

    Parameters
    ----------
    command
        The program and its arguments.
    environment
        All of its environment variables.
    folder
        Where it runs.
    log
        The file that gets what it says, at once; what was there before is replaced.
    on_line
        Called with each line. It may return another text for the log.

    Raises
    ------
    DemoError
        If the program fails.
    """
    lines: list[str] = []
    # In a session of its own it is not reached by Ctrl-C, so that it is ended by us: everything, and in order.
    process = subprocess.Popen(
        [os.fspath(word) for word in command],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        with process, log.open("w", encoding="utf-8", buffering=1) as file:
            for line in process.stdout or ():
                lines.append(line)
                replacement = on_line(line.rstrip("\n")) if on_line else None
                file.write(line if replacement is None else f"{replacement}\n")
            status = process.wait()
    except BaseException:
        end_with_descendants(process)
        raise
    if status != 0:
        tail = "".join(
            f"    {line}" for line in log.read_text(encoding="utf-8").splitlines(keepends=True)[-TAIL_LINES:]
        )
        raise DemoError(
            f"{Path(command[0]).name} ended with exit status {status}. Its last lines:\n{tail.rstrip()}\n"
            f"  Everything that it said is in {log}"
        )
    return "".join(lines)


def end_with_descendants(process: subprocess.Popen[str]) -> None:
    """End a program and everything that it started: at first politely, after a while, or a second Ctrl-C, not."""
    family = {process.pid, *_descendants(process.pid)}
    _signal(family, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        while time.monotonic() < deadline and (process.poll() is None or any(map(_is_alive, family))):
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    finally:
        _signal({pid for pid in family if _is_alive(pid)}, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _is_alive(pid: int) -> bool:
    return pid in _parents()


def _descendants(ancestor: int) -> set[int]:
    """Return the processes that come from one; those of a task are in sessions of their own, so they are looked up."""
    parents = _parents()
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {ancestor}} - found:
        found |= more
    return found


def _parents() -> dict[int, int]:
    """Return the parent of each process that has not ended, from /proc or, where there is none, from ``ps``."""
    if not Path("/proc/self/stat").exists():
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,state="], check=True, capture_output=True, text=True)
        rows = [line.split() for line in table.stdout.splitlines()]
        return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            # The name of the program comes second, in parentheses, and may itself hold spaces and parentheses.
            state, parent, *_ = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if state != "Z":
                parents[int(file.parent.name)] = int(parent)
    return parents

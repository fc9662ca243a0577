"""
Run a program within a time limit, and end programs together with their descendants.

Runs in: author and CI, worker, with the standard library alone.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["end", "family", "parents", "run_program", "send_signal"]

GRACE_SECONDS = 15.0  # a worker gives a task 10 s to end in an orderly way
KILL_SECONDS = 5.0
POLL_SECONDS = 0.05
THREADS = 15  # where their number is in /proc/PID/stat (proc_pid_stat(5)), after state and parent


def run_program(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: Path | None = None,
    on_line: Callable[[str], object] | None = None,
) -> tuple[int, str]:
    """
    Run a program in a session of its own, and return its exit status and its output.

    The program gets only the variables in ``environment``. ``on_line`` is called with each line as soon as it is
    printed. Whatever happens, the program, its descendants and its process group are ended before this returns.

    Raises
    ------
    subprocess.TimeoutExpired
        If the program takes longer than ``seconds``.
    """
    import tempfile

    deadline = time.monotonic() + seconds
    # A file, not a pipe: a daemon that the program leaves behind would keep a pipe open, and this function waiting. The
    # file has no name, so nothing of it is left whatever happens.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(  # noqa: S603 - callers start programs of their own
            [os.fspath(word) for word in command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            rest, position = b"", 0
            while True:
                has_ended = process.poll() is not None
                # The program writes where the file ends, and reading must not move that.
                read = os.pread(output.fileno(), os.fstat(output.fileno()).st_size - position, position)
                position += len(read)
                *lines, rest = (rest + read).split(b"\n")
                for line in [*lines, rest] if has_ended and rest else lines:
                    if on_line:
                        on_line(line.decode(errors="replace"))
                if has_ended:
                    break
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(process.args, seconds)
                time.sleep(POLL_SECONDS)
        finally:
            end(process)
        output.seek(0)
        return process.returncode, output.read()


def end(*processes: subprocess.Popen[Any]) -> None:
    """
    End programs and their descendants with SIGTERM; after a while, or after a Ctrl-C, with SIGKILL.

    Each program must have been started in a session of its own.
    """
    members = {process.pid for process in processes}
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        members = send_signal(number, *members)
        deadline = time.monotonic() + seconds
        with suppress(KeyboardInterrupt):
            while (members := members & parents().keys()) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_SECONDS)


def send_signal(number: int, *pids: int) -> set[int]:
    """Send a signal to processes and all their descendants, and return them."""
    members: set[int] = set()
    try:
        # Stop them first: a stopped process starts no child that would be missed.
        while new := family(*pids, *members) - members:
            members |= new
            _kill(signal.SIGSTOP, new)
        _kill(number, members)
    finally:
        _kill(signal.SIGCONT, members)
    return members


def _kill(number: int, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def family(*pids: int) -> set[int]:
    """Return those of the processes and their descendants that are running; these may be in sessions of their own."""
    known = parents()
    found = set(pids) & known.keys()
    while more := {child for child, parent in known.items() if parent in found} - found:
        found |= more
    return found


def parents() -> dict[int, int]:
    """Return the parent of each process that has not ended, from /proc; an empty mapping where there is no /proc."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            # The name of the program comes second, in parentheses, and may itself contain spaces and parentheses.
            state, parent, *rest = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            # A process also looks like a zombie if its first thread has ended while other threads run.
            if state != "Z" or int(rest[THREADS]) > 1:
                found[int(file.parent.name)] = int(parent)
    return found

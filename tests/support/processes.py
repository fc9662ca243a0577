"""Look at processes of this machine through /proc."""

import contextlib
import os
from pathlib import Path

from support.waiting import wait_until


def wait_for(file):
    """Wait for a file with text, and return the numbers in it."""
    wait_until(lambda: file.exists() and file.read_text(), f"{file} did not appear", interval=0.05)
    return [int(word) for word in file.read_text().split()]


def wait_until_dead(pids):
    """Wait for the end of processes."""
    wait_until(lambda: not any(map(is_alive, pids)), lambda: f"still alive: {[pid for pid in pids if is_alive(pid)]}")


def fields(pid):
    """Return the fields of /proc/PID/stat behind the name of the program: state, parent, process group, session, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_alive(pid):
    """Return whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return fields(pid)[0] != "Z"
    return False


def parent_of(pid):
    """Return the process that started a process."""
    return int(fields(pid)[1])


def session_members(session):
    """Return the processes of a session that are alive."""
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, own, *_ = fields(process.name)
            if int(own) == session and state != "Z":
                members.append(int(process.name))
    return members


def with_variable(text):
    """Return the processes, but this one, with a text among their environment variables; a zombie has none."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if text.encode() in file.read_bytes():
                found.add(int(file.parent.name))
    return found - {os.getpid()}


def commands():
    """Return the command of every process."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(process.read_text(errors="replace"))
    return found

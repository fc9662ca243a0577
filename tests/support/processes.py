"""Look at processes of this machine, by /proc."""

import contextlib
import time
from pathlib import Path


def wait_for(file, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if file.exists() and file.read_text():
            return [int(word) for word in file.read_text().split()]
        time.sleep(0.05)
    raise AssertionError(f"{file} did not appear")


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(pids, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(is_alive, pids)):
            return
        time.sleep(0.1)
    raise AssertionError(f"still alive after {seconds} s: {[pid for pid in pids if is_alive(pid)]}")


def parent_of(pid):
    """Return the process that a process comes from."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def session_members(session):
    """Return the processes of a session that are alive."""
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "stat").read_text().rpartition(")")[2].split()
            if int(words[3]) == session and words[0] != "Z":
                members.append(int(process.name))
    return members


def commands():
    """Return the command of every process."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(process.read_text(errors="replace"))
    return found

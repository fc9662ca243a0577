"""
The folders of local runs.

Runs in: author and CI. Each run has a folder of its own, with ``journal.jsonl``, its events, one per line (JSON);
``logs`` and ``spans``, one file for each try of a task; and ``report.html``. An empty file ``.dkist-processing-core``
marks it; a folder without this file, or with a name of another form, is not a run and is left alone. The journal is
open for appending and locked (:manpage:`flock(2)`) by the runner and by the parent process of the tasks. So an active
run is not resumed.
"""

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dkist_processing_core.exceptions import DamagedRunError, RunActiveError
from dkist_processing_core.local.state import INTERRUPTED, RUNNING, RunState

__all__ = ["JOURNAL", "Journal", "events", "folders", "latest", "new_folder", "runs_folder", "spans_file", "state"]

JOURNAL = "journal.jsonl"
OWNER_MARK = ".dkist-processing-core"
NAME = re.compile(r".+-\d+-\d{8}T\d{6}-\d{6}")  # workflow, recipe run, and time to the microsecond
LOCK_POLL_SECONDS = 0.05


def runs_folder() -> Path:
    """Return the folder of all runs: ``DKIST_RUNS``, or ``dkist-processing-core/runs`` in the state folder (XDG)."""
    if configured := os.environ.get("DKIST_RUNS"):
        return Path(configured).absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "dkist-processing-core", "runs")


def new_folder(workflow_name: str, recipe_run_id: int) -> Path:
    """Create the folder of a new run and return it. Its name is the id of the run."""
    while True:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%f")
        folder = runs_folder() / f"{workflow_name}-{recipe_run_id}-{moment}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # another one began in the same microsecond
            continue
        (folder / OWNER_MARK).touch()
        for each in ("logs", "spans"):
            (folder / each).mkdir()
        return folder


def spans_file(folder: Path, task: str, number: int) -> Path:
    """Return the path of the file with the spans of one try of a task. It may not exist."""
    return folder / "spans" / f"{task}.{number}.json"


def folders() -> list[Path]:
    """Return the folders of all runs, the latest first."""
    found = [
        mark.parent
        for mark in runs_folder().glob(f"*/{OWNER_MARK}")
        if NAME.fullmatch(mark.parent.name) and not mark.parent.is_symlink()
    ]
    return sorted(found, key=lambda each: each.name.rsplit("-", 2)[-2:], reverse=True)


def latest(workflow_name: str, recipe_run_id: int) -> Path | None:
    """Return the folder of the last run of a workflow for a recipe run; None if there is none."""
    beginning = f"{workflow_name}-{recipe_run_id}-"
    return next((each for each in folders() if each.name.rsplit("-", 2)[0] == beginning[:-1]), None)


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """
    Yield the events of a run, without an incomplete last line of a killed runner.

    Raises
    ------
    DamagedRunError
        If the journal contains anything but events.
    """
    try:
        content = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:  # the run was killed before it began
        return
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DamagedRunError(folder.name, str(folder / JOURNAL), f"line {number}: {error}") from error
        if not isinstance(event, dict):
            raise DamagedRunError(folder.name, str(folder / JOURNAL), f"line {number} is not an event")
        yield event


class Journal:
    """
    The journal of a run, to which events are appended.

    Each event is written with one call, so that only a power failure can leave an incomplete one. Events are flushed to
    the disk in the background, so a power failure may lose the latest ones.

    Raises
    ------
    RunActiveError
        If another process has held the journal for ``patience`` seconds.
    """

    def __init__(self, folder: Path, *, patience: float = 0) -> None:
        self.folder = folder
        self.descriptor = os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._lock(time.monotonic() + patience)
            self._forget_torn_line()
        except BaseException:
            os.close(self.descriptor)
            raise
        self._has_news = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._sync, daemon=True)
        self._thread.start()

    def _lock(self, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise RunActiveError(self.folder.name) from None
                time.sleep(LOCK_POLL_SECONDS)
            else:
                return

    def _forget_torn_line(self) -> None:
        content = (self.folder / JOURNAL).read_bytes()
        os.ftruncate(self.descriptor, content.rfind(b"\n") + 1)

    def append(self, event: Mapping[str, Any]) -> None:
        """Append one event."""
        os.write(self.descriptor, (json.dumps(event) + "\n").encode())
        self._has_news.set()

    def _sync(self) -> None:
        while not self._is_closed:
            self._has_news.wait()
            self._has_news.clear()
            os.fdatasync(self.descriptor)

    def close(self) -> None:
        """Wait until all events are on the disk, and close the journal."""
        self._is_closed = True
        self._has_news.set()
        self._thread.join()
        os.close(self.descriptor)


def state(folder: Path) -> RunState:
    """
    Return the state of a run. A running one whose journal no process holds was interrupted.

    Raises
    ------
    DamagedRunError
        If its journal is damaged.
    """
    try:
        found = RunState.after(events(folder))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        what = f"its events contradict each other ({type(error).__name__}: {error})"
        raise DamagedRunError(folder.name, str(folder / JOURNAL), what) from error
    if found.state == RUNNING and not _is_active(folder):
        found.state = INTERRUPTED
        found.interrupt()
    return found


def _is_active(folder: Path) -> bool:
    """Return whether a process holds the journal of a run."""
    descriptor = os.open(folder / JOURNAL, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

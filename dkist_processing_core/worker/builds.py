"""
Build several environments in parallel, each in a process of its own.

Runs in: worker.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import IO, NamedTuple

from dkist_processing_core.common.log_lines import MARK_VARIABLE
from dkist_processing_core.common.outcome import OUTCOME_VARIABLE, Outcome, judged
from dkist_processing_core.worker.needed import Needed
from dkist_processing_core.worker.supervise import SIGNALLED

__all__ = ["Built", "build_all"]

PROGRAM = [sys.executable, "-P", "-m", "dkist_processing_core.worker.build"]


class Built(NamedTuple):
    """The outcome of a build, its duration, and its log."""

    needed: Needed
    outcome: Outcome
    seconds: float
    log: bytes


def build_all(needed: Iterable[Needed], variables: Mapping[str, str], *, parallel: int) -> Iterator[Built]:
    """
    Build environments, and yield the result of each build as soon as it has ended.

    ``variables`` are those of the worker. If the iteration ends early, for example by Ctrl-C, running builds are ended.
    """
    running: set[subprocess.Popen[bytes]] = set()
    is_ended = threading.Event()
    variables = {key: value for key, value in variables.items() if key != MARK_VARIABLE}

    def build(each: Needed) -> Built:
        began = time.monotonic()
        # Unnamed files, of which nothing is left behind whatever happens.
        with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as file:
            process = subprocess.Popen(  # noqa: S603 - our own program
                PROGRAM,
                env={
                    **variables,
                    "DKIST_REQUIREMENT": each.requirement,
                    "DKIST_CONSTRAINTS": each.constraints,
                    "DKIST_REQUIRES_PYTHON": each.requires_python,
                    OUTCOME_VARIABLE: f"/dev/fd/{file.fileno()}",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[file.fileno()],
            )
            running.add(process)
            if is_ended.is_set():
                process.terminate()
            status = process.wait()
            running.discard(process)
            outcome = judged(_outcome(file), status if status >= 0 else SIGNALLED - status)
            log.seek(0)
            return Built(each, outcome, time.monotonic() - began, log.read())

    with ThreadPoolExecutor(parallel) as threads:
        try:
            for future in as_completed([threads.submit(build, each) for each in needed]):
                yield future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            is_ended.set()
            for process in list(running):
                with suppress(ProcessLookupError):
                    process.terminate()
            raise


def _outcome(file: IO[bytes]) -> Outcome | None:
    file.seek(0)
    try:
        return Outcome.from_json(file.read().decode(errors="replace"))
    except ValueError:
        return None

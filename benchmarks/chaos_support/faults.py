"""Faults at random moments: parts of a cluster are killed, stopped for a while, or restarted, and started again."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from support.cluster import WORKERS, Cluster
from support.processes import parent_of

from dkist_processing_core.common.programs import family, send_signal

__all__ = ["Faults"]

COMPONENTS = (*WORKERS, "rabbitmq", "postgresql", "api-server", "dag-processor", "scheduler")
# Processes of one task, from the outermost to the innermost: those of Airflow, and those of this library.
PROCESSES = ("airflow-supervisor", "airflow-task", "worker-program", "task")
ACTIONS = ("kill", "stop", "restart")
STOPPED_SECONDS = (1.0, 8.0)
DOWN_SECONDS = (0.5, 6.0)  # like RestartSec= of systemd
ORDERLY_SECONDS = 15.0
WATCH_SECONDS = 0.5
TASK_SECONDS = 15.0  # wait for a task with a process that can be killed


class Faults(threading.Thread):
    """
    Causes one fault after the other until it is stopped, and restarts parts that have ended, as systemd does.

    Parameters
    ----------
    cluster
        The running cluster.
    seed
        Seed for the choice of the faults and of their times. Which task is affected depends on what is running.
    pause
        Mean time between two faults, in seconds.
    """

    def __init__(self, cluster: Cluster, seed: int, pause: float) -> None:
        super().__init__(name="faults", daemon=True)
        self.counts: Counter[str] = Counter()
        self.restarted: Counter[str] = Counter()  # ended by themselves, such as a scheduler without a database
        self._cluster, self._random, self._pause = cluster, random.Random(seed), pause
        self._over = threading.Event()
        self._began = time.monotonic()
        self._log = cluster.home.parent / "faults.log"
        self._log.write_text("")

    def run(self) -> None:
        """Cause faults."""
        while True:
            deadline = time.monotonic() + self._random.uniform(0.5, 1.5) * self._pause
            while time.monotonic() < deadline:
                if self._over.wait(WATCH_SECONDS):
                    return
                self._start_what_has_ended()
            target = self._random.choice((*COMPONENTS, *PROCESSES))
            action = self._random.choice(ACTIONS)
            try:
                self._on_component(target, action) if target in COMPONENTS else self._on_process(target, action)
            except Exception as error:
                self._say(f"{action} {target} was not possible: {type(error).__name__}: {error}")

    def end(self) -> None:
        """Stop causing faults, and make sure that everything runs."""
        self._over.set()
        self.join()
        self._start_what_has_ended()

    def _say(self, text: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}\n")

    def _note(self, action: str, target: str, details: str = "") -> None:
        self.counts[f"{action} {target}"] += 1
        self._say(f"{action} {target} {details}".rstrip())

    def _on_component(self, target: str, action: str) -> None:
        server = {"rabbitmq": self._cluster.rabbitmq, "postgresql": self._cluster.postgresql}.get(target)
        if action == "stop":
            pid = server.process.pid if server else self._cluster.pid(target)
            self._stop_for_a_while(target, lambda: family(pid))
            return
        self._note(action, target)
        if server:
            server.kill() if action == "kill" else server.stop()
        elif action == "kill":
            self._cluster.kill(target)
        else:
            self._cluster.stop(target, ORDERLY_SECONDS)
        time.sleep(self._random.uniform(*DOWN_SECONDS))
        server.start() if server else self._cluster.start(target)

    def _on_process(self, target: str, action: str) -> None:
        deadline = time.monotonic() + TASK_SECONDS
        while not (found := self._tasks()):
            if self._over.wait(0.05) or time.monotonic() > deadline:
                return
        pid = self._random.choice(found)[target]
        if action == "stop":
            self._stop_for_a_while(target, lambda: {pid})
            return
        self._note(action, target, f"{pid}")
        os.kill(pid, signal.SIGKILL if action == "kill" else signal.SIGTERM)

    def _stop_for_a_while(self, target: str, members: Callable[[], set[int]]) -> None:
        """Stop processes with SIGSTOP and continue them, as if the machine was suspended or short of memory."""
        stopped = members()
        seconds = self._random.uniform(*STOPPED_SECONDS)
        self._note("stop", target, f"for {seconds:.1f} s")
        try:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _tasks(self) -> list[dict[str, int]]:
        """Return the processes of each running task, by the names in ``PROCESSES``."""
        found = []
        for worker in WORKERS:
            for pid in sorted(family(self._cluster.pid(worker))):
                with contextlib.suppress(OSError):
                    if b"dkist_processing_core.runtime" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        program = parent_of(pid)
                        runner = parent_of(program)
                        pids = (parent_of(runner), runner, program, pid)
                        found.append(dict(zip(PROCESSES, pids, strict=True)))
        return found

    def _start_what_has_ended(self) -> None:
        for name in self._cluster.commands:
            if self._cluster.has_ended(name):
                self._say(f"{name} has ended by itself, and is started again")
                self.restarted[name] += 1
                send_signal(signal.SIGKILL, self._cluster.pid(name))
                self._cluster.start(name)
        for name, server in (("rabbitmq", self._cluster.rabbitmq), ("postgresql", self._cluster.postgresql)):
            if server.process is None or server.process.poll() is not None:
                self._say(f"{name} does not run, and is started again")
                self.restarted[name] += 1
                server.stop()
                server.start()

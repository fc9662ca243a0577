"""
The state of a run, from its events.

Runs in: author and CI. A run is a sequence of events, which the journal stores and ``--json`` prints. To get its state,
apply them one after the other, while they happen or years later. An event is a dictionary with these keys, besides
``event`` and ``time`` (ISO 8601, UTC):

``run_started``
    ``schema_version``, ``run_id``, ``library_version``, ``recipe_run_id``, ``executor``, ``is_resumed``, ``host``,
    ``python`` (its version) and ``prefix`` of the runner, ``workflow`` (the specification), ``selection``, the names of
    the chosen tasks, null for all, and ``tasks``, the names of those that will run.
``task_started``
    ``task``, ``try`` (from 1), and ``log``, the file relative to the folder of the run.
``task_ended``
    ``task``, ``try``, ``state`` (``success``, ``failed``, ``up_for_retry`` or ``interrupted``), ``exit_status``,
    ``seconds``, ``cpu_seconds``, ``peak_memory_bytes``, ``summary`` and ``error`` of a failure, and
    ``retry_in_seconds`` before another try.
``task_skipped``
    ``task``, ``state`` (``upstream_failed``), and ``upstream``, the one that has failed.
``run_ended``
    ``state`` (``success``, ``failed`` or ``interrupted``) and ``seconds``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "RUNNING",
    "SUCCESS",
    "UPSTREAM_FAILED",
    "UP_FOR_RETRY",
    "RunState",
    "TaskState",
    "Try",
]

# Airflow's names, and one for runs and tasks that were stopped.
RUNNING = "running"
SUCCESS = "success"
FAILED = "failed"
UP_FOR_RETRY = "up_for_retry"
UPSTREAM_FAILED = "upstream_failed"
INTERRUPTED = "interrupted"


@dataclass
class Try:
    """
    One try of a task.

    Attributes
    ----------
    number
        Number of the try, from 1.
    state
        State of the task after it; ``running`` until then.
    started
        Time at which it began (ISO 8601, UTC).
    log
        Its log, relative to the folder of the run.
    exit_status
        Exit status of its process; 128 plus the number of the signal that ended it.
    seconds, cpu_seconds
        Duration, and processor time of its process and the children of that process.
    peak_memory_bytes
        Peak resident memory of the largest of these processes.
    summary, error
        The error in one line, and its last lines; None if it succeeded.
    """

    number: int
    started: str
    log: str
    state: str = RUNNING
    exit_status: int | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    summary: str | None = None
    error: str | None = None


@dataclass
class TaskState:
    """
    One task of a run.

    Attributes
    ----------
    name
        Name of the task.
    state
        Airflow's name of its state; ``interrupted`` if it was stopped; empty before it begins.
    tries
        Its tries, the first one first.
    """

    name: str
    state: str = ""
    tries: list[Try] = field(default_factory=list)


@dataclass
class RunState:
    """
    A run: its last event ``run_started``, its tasks by name, and its own state, which is empty until it begins.

    ``nodes`` contains the specification of each task from the workflow in which it last ran.
    """

    started: Mapping[str, Any] = field(default_factory=dict)
    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tasks: dict[str, TaskState] = field(default_factory=dict)
    state: str = ""
    seconds: float = 0.0

    @classmethod
    def after(cls, events: Iterable[Mapping[str, Any]]) -> "RunState":
        """Return the state after some events."""
        made = cls()
        for event in events:
            made.apply(event)
        return made

    @property
    def current(self) -> dict[str, TaskState]:
        """The tasks in the workflow when the run last began. Tasks that ran before may no longer be among them."""
        names = [node["name"] for node in self.started["workflow"]["nodes"]] if self.started else []
        return {name: self.tasks[name] for name in names}

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one more event; an event of an unknown kind changes nothing."""
        kind = event["event"]
        if kind == "run_started":
            self._start(event)
        elif kind == "run_ended":
            self.state = event["state"]
            self.seconds += event["seconds"]
        elif kind == "task_started":
            task = self.tasks[event["task"]]
            task.state = RUNNING
            task.tries.append(Try(event["try"], event["time"], event["log"]))
        elif kind == "task_ended":
            task = self.tasks[event["task"]]
            task.state = event["state"]
            last = task.tries[-1]
            for name in ("state", "exit_status", "seconds", "cpu_seconds", "peak_memory_bytes", "summary", "error"):
                setattr(last, name, event.get(name))
        elif kind == "task_skipped":
            self.tasks[event["task"]].state = event["state"]

    def interrupt(self) -> None:
        """Mark running tasks as interrupted, since no process runs them any more."""
        for task in self.tasks.values():
            if task.state == RUNNING:
                task.state = task.tries[-1].state = INTERRUPTED

    def _start(self, event: Mapping[str, Any]) -> None:
        self.started = event
        self.state = RUNNING
        self.interrupt()  # tasks that ran when the previous runner was killed
        for node in event["workflow"]["nodes"]:
            task = self.tasks.setdefault(node["name"], TaskState(node["name"]))
            if node["name"] in event["tasks"]:
                task.state = ""
                self.nodes[node["name"]] = node

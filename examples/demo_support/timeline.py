"""The log of Airflow while workflows run, shown at once and kept for the summary."""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from demo_support.console import Console

__all__ = ["Run", "Task", "Timeline"]

# What the worker program of the library logs.
SAID_BY_WORKER = re.compile(r"dkist: (.*)")
STARTED = re.compile(r"task \S+:(\w+) of (\S+) (\S+), recipe run (\d+)")
REUSED = re.compile(r"environment reused: (.+?)(, built meanwhile)?([,;] .*identity .*)?")
BUILDING = re.compile(r"building the environment (.+) for (\S+) with .+")
BUILT = re.compile(r"environment built in (\d+) s(, identity \w+)?")
ENDED = re.compile(r"task \S+ ended with exit status (\d+) after \d+ s")
SAID_BY_UV = re.compile(r"(Resolved|Downloading|Prepared|Installed|Bytecode compiled) .*")
SAID_BY_TASK = re.compile(r"dkist_processing_example[.\w]*: (.*)")
RAISED = re.compile(r"Task \S+ failed: (?:\w+\.)*(.*)")
# In Airflow's own process nothing of the library runs but the callback, whose logger is one of these.
CALLBACK = "dkist_processing_core."


@dataclass
class Task:
    """What is known of one task."""

    name: str
    began: float
    seconds: float | None = None
    state: str = "unknown"
    pool: str = ""
    environment: str = ""
    how: str = "unknown"


@dataclass
class Run:
    """What is known of one run of a workflow."""

    dag_id: str
    recipe_run_id: int
    state: str = "unknown"
    run_id: str = ""
    tasks: dict[str, Task] = field(default_factory=dict)


class Timeline:
    """
    Reads the lines of `run_in_airflow`.

    Parameters
    ----------
    console
        Where to show what happens.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._zero = 0.0
        self._task: Task | None = None
        self._last_error = ""
        self._environments: set[str] = set()
        self.dags: list[str] = []
        self.import_errors: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self._run: Run | None = None

    def read(self, line: str) -> str | None:
        """Process one line, and return it in a form for people."""
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        if "demo" in record:
            self._read_ours(record)
            return ""
        event = str(record.get("event", ""))
        timestamp = str(record.get("timestamp", ""))
        self._read_airflow(event, str(record.get("logger", "")), _seconds(timestamp))
        exceptions = [f"{each.get('exc_type')}: {each.get('exc_value')}" for each in record.get("exception") or ()]
        return " ".join([timestamp, str(record.get("level", "")).upper(), event, *exceptions])

    def _read_ours(self, record: dict[str, Any]) -> None:
        if record["demo"] == "loaded":
            self.dags = record["dags"]
            self.import_errors = record["import_errors"]
            errors = len(self.import_errors)
            self._console.detail(f"loaded {', '.join(self.dags)}; {errors or 'no'} import error{'s' * (errors > 1)}")
            self._console.detail("Airflow prepares to run them (a few seconds)")
        elif record["demo"] == "starts":
            self._run = Run(record["dag_id"], record["recipe_run_id"])
            self.runs[self._run.dag_id] = self._run
            self._zero = 0.0
        elif record["demo"] == "ended":
            run = self.runs[record["dag_id"]]
            run.state, run.run_id = record["state"], record["run_id"]
            for name, each in record["tasks"].items():
                # A task that never started is known from here only.
                task = run.tasks.setdefault(name, Task(name, 0.0, each["seconds"], how="-"))
                task.state, task.pool = each["state"], each["pool"]

    def _read_airflow(self, event: str, logger: str, now: float) -> None:
        said = SAID_BY_WORKER.fullmatch(event)
        if said:
            self._read_worker(said[1], now)
        elif logger.startswith(CALLBACK):
            self._print(now, event.partition(": {")[0])
        elif SAID_BY_UV.fullmatch(event):
            self._print(now, event)
        elif by_task := SAID_BY_TASK.fullmatch(event):
            self._print(now, by_task[1])
        elif raised := RAISED.match(event):
            self._last_error = raised[1]

    def _read_worker(self, text: str, now: float) -> None:
        if match := STARTED.fullmatch(text):
            self._start(match, now)
            return
        for pattern, read in (
            (REUSED, self._reuse),
            (BUILDING, self._build),
            (BUILT, self._finish_building),
            (ENDED, self._end),
        ):
            if self._task and (match := pattern.fullmatch(text)):
                read(self._task, match, now)

    def _start(self, match: re.Match[str], now: float) -> None:
        if not self._run:
            return
        if not self._zero:
            self._zero = now
            self._console.say(f"\n      {match[2]} {match[3]}, recipe run {match[4]}", "cyan")
        self._task = self._run.tasks[match[1]] = Task(match[1], now)
        self._last_error = ""
        self._print(now, "starts", task=match[1])

    def _reuse(self, task: Task, match: re.Match[str], now: float) -> None:
        if match[1] not in self._environments:
            self._environments.add(match[1])
            self._print(now, "reuses the environment of an earlier run")
        task.environment, task.how = match[1], "reused"

    def _build(self, task: Task, match: re.Match[str], now: float) -> None:
        self._environments.add(match[1])
        task.environment = match[1]
        self._print(now, f"builds its environment, {match[2]}")

    def _finish_building(self, task: Task, match: re.Match[str], now: float) -> None:
        task.how = f"built in {match[1]} s"
        self._print(now, match[0])

    def _end(self, task: Task, match: re.Match[str], now: float) -> None:
        task.seconds = now - task.began
        if match[1] == "0":
            self._print(now, "succeeds")
        else:
            self._print(now, f"fails with exit status {match[1]}: {self._last_error or 'see the log'}")
            self._print(now, "Airflow calls the failure callback, which sends a message (up to 10 s)")

    def _print(self, now: float, text: str, *, task: str = "") -> None:
        text = text.replace(f"{Path.cwd()}/", "")
        lead = f"{now - self._zero:9.1f} s  {task:<16}"
        room = self._console.width - len(lead) - 1
        words, line = text.split(), ""
        for word in words:
            if line and len(line) + 1 + len(word) > room:
                self._show(lead, task, line)
                lead, line, task = " " * len(lead), "", ""
            line = f"{line} {word}".strip()
        self._show(lead, task, line)

    def _show(self, lead: str, task: str, text: str) -> None:
        self._console.say(f"{self._console.styled(lead, *(['bold'] if task else ['faint']))} {text}")


def _seconds(timestamp: str) -> float:
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return 0.0

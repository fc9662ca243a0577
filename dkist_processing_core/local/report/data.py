"""
The data of a report, from the journal, the logs and the spans of a run.

Runs in: author and CI.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dkist_processing_core.exceptions import LocalRunError
from dkist_processing_core.local import runs
from dkist_processing_core.local.report.logs import end_of_log
from dkist_processing_core.local.state import RunState, TaskState, Try

__all__ = ["FIGURES", "Session", "Told", "figures", "read", "task_details"]

OF_TRY = ("state", "started", "seconds", "cpu_seconds", "peak_memory_bytes", "exit_status")  # attributes of `Try`
FIGURES = ("task", "try", *OF_TRY)
# Limits of a page: for all tries together, and the least and the most for one of them.
LOG_BYTES = (4_000_000, 4_000, 64_000)
SPANS = (10_000, 50, 1_000)
LONGEST_ATTRIBUTE = 500
LARGEST_SPANS_FILE = 64_000_000


@dataclass
class Session:
    """The time in which one runner worked on a run, from ``started``, the event that began or resumed the run."""

    started: Mapping[str, Any]
    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """Duration of the session."""
        return (self.end - self.begin).total_seconds()


@dataclass
class Told:
    """
    The data of a run from its events.

    ``session_of`` contains the index of the session of each try, by task and number of the try.
    """

    folder: Path
    state: RunState
    sessions: list[Session] = field(default_factory=list)
    session_of: dict[tuple[str, int], int] = field(default_factory=dict)

    def tries(self) -> Iterable[tuple[TaskState, Try]]:
        """Yield each try, with its task."""
        return ((task, each) for task in self.state.tasks.values() for each in task.tries)


def read(folder: Path) -> Told:
    """
    Return the data of a run from its events.

    Raises
    ------
    LocalRunError
        If the run was killed before its first event.
    """
    told = Told(folder, RunState())
    for event in runs.events(folder):
        moment = datetime.fromisoformat(event["time"])
        if event["event"] == "run_started":
            told.sessions.append(Session(event, moment, moment))
        elif event["event"] == "task_started":
            told.session_of[event["task"], event["try"]] = len(told.sessions) - 1
        told.sessions[-1].end = max(told.sessions[-1].end, moment)
        told.state.apply(event)
    if not told.sessions:
        raise LocalRunError(f"the run {folder.name} was killed before its first event, so there is nothing to report")
    return told


def figures(told: Told) -> list[dict[str, Any]]:
    """Return the `FIGURES` of each try, in the order in which they began."""
    rows = [
        {"task": task.name, "try": each.number, **{name: getattr(each, name) for name in OF_TRY}}
        for task, each in told.tries()
    ]
    return sorted(rows, key=lambda row: datetime.fromisoformat(row["started"]))


def task_details(told: Told, redact: Callable[[str], str]) -> dict[str, dict[str, Any]]:
    """Return everything that the page shows of each task, without secrets, in the order of the workflow."""
    nodes = {node["name"]: node for node in told.state.started["workflow"]["nodes"]}
    downstreams: dict[str, list[str]] = {name: [] for name in told.state.tasks}
    for node in nodes.values():
        for upstream in node["upstreams"]:
            downstreams[upstream].append(node["name"])
    count = sum(1 for _ in told.tries()) or 1
    log_bytes, spans = (max(least, min(most, total // count)) for total, least, most in (LOG_BYTES, SPANS))
    found = {}
    for name, task in told.state.tasks.items():
        node = nodes.get(name, {})  # empty if the task is no longer in the workflow
        made = {
            "name": name,
            "state": task.state,
            "class": node.get("task", ""),
            "doc": node.get("doc", "").strip(),
            "queue": node.get("queue", ""),
            "retries": node.get("retries", 0),
            "upstreams": list(node.get("upstreams", ())),
            "downstreams": downstreams[name],
            "tries": [_try(told, task, each, node) for each in task.tries],
        }
        found[name] = _redacted(made, redact)
        for shown, each in zip(found[name]["tries"], task.tries, strict=True):
            shown["spans"] = _spans(runs.spans_file(told.folder, name, each.number), spans)
            log = end_of_log(told.folder / each.log, log_bytes, redact)
            shown["log"] = log and {"records": log.records, "left_out_bytes": log.left_out_bytes}
    return found


def _try(told: Told, task: TaskState, each: Try, node: Mapping[str, Any]) -> dict[str, Any]:
    started = told.sessions[told.session_of[task.name, each.number]].started
    return {
        **{name: getattr(each, name) for name in ("number", *OF_TRY, "summary", "error")},
        "log_file": each.log,
        "executor": started["executor"],
        "environment": _environment(started, node),
    }


def _environment(started: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    if started["executor"] == "environments":
        workflow = started["workflow"]
        return f"{workflow['distribution']}[{','.join(node.get('extras', ()))}]=={workflow['version']}"
    return f"Python {started.get('python', '')} in {started.get('prefix', '')}"


def _spans(file: Path, most: int) -> dict[str, Any] | None:
    """
    Return the spans of a try; None if it has no file of spans, or one in another format or too large.

    The file contains no secrets, see `telemetry.memory.file`.
    """
    try:
        if file.stat().st_size > LARGEST_SPANS_FILE:
            return None
        data = json.loads(file.read_text(encoding="utf-8"))
        spans = data["spans"]
        return {
            "seconds": data["task"]["seconds"],
            "left_out": data["spans_left_out"] + max(0, len(spans) - most),
            "spans": [_span(each) for each in spans[:most]],
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _span(span: Mapping[str, Any]) -> dict[str, Any]:
    # A span comes after its parent, so the parents of the first spans are among them.
    made = {name: span[name] for name in ("name", "type", "start", "seconds", "parent", "error")}
    attributes = span["attributes"] if span["type"] != "code.core" else {}
    made["attributes"] = {name: _short(value) for name, value in attributes.items()}
    if span["events"]:
        made["events"] = [
            [name, {key: _short(value) for key, value in attributes.items()}] for name, attributes in span["events"]
        ]
    return made


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_ATTRIBUTE else f"{text[: LONGEST_ATTRIBUTE - 3]}..."


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _redacted(each, redact) for name, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each, redact) for each in value]
    return value

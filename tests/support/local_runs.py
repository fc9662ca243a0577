"""Folders of local runs that nobody ran, with as much in them as a test needs."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class WrittenRun:
    """The journal of a run, event by event, on a clock that stands still unless it is moved."""

    def __init__(self, folder: Path, graph: Mapping[str, Iterable[str]], *, executor: str = "processes") -> None:
        self.folder = folder
        for each in ("logs", "spans"):
            (folder / each).mkdir(parents=True)
        (folder / ".dkist-processing-core").touch()
        self.graph = graph
        self.executor = executor
        self.now = BEGIN
        self.has_begun = False

    def add(self, kind: str, **values: Any) -> None:
        """Append an event."""
        event = {"event": kind, "time": self.now.isoformat(timespec="milliseconds"), **values}
        with (self.folder / "journal.jsonl").open("a") as journal:
            journal.write(f"{json.dumps(event)}\n")

    def wait(self, seconds: float) -> None:
        """Move the clock."""
        self.now += timedelta(seconds=seconds)

    def start(self, **changes: Any) -> None:
        """Begin the run, or resume it."""
        usual = {"queue": "default", "extras": ["frozen"], "retries": 1}
        nodes = [
            {"name": name, "task": f"pipeline.tasks:{name}", "upstreams": [*each], "doc": f"The task {name}.", **usual}
            for name, each in self.graph.items()
        ]
        workflow = {"name": "l0_to_l1_cam", "version": "1.0", "distribution": "pipeline", "nodes": nodes}
        values = {
            "schema_version": 1,
            "run_id": self.folder.name,
            "library_version": "8.0.0",
            "recipe_run_id": 7,
            "executor": self.executor,
            "is_resumed": self.has_begun,
            "host": "worker-1",
            "python": "3.12.1",
            "prefix": "/opt/pipeline",
            "workflow": workflow,
            "selection": None,
            "tasks": list(self.graph),
        }
        self.add("run_started", **{**values, **changes})
        self.has_begun = True

    def begin(self, name: str, number: int = 1) -> None:
        """Begin a try."""
        self.add("task_started", task=name, **{"try": number}, log=f"logs/{name}.{number}.log")

    def end(self, name: str, seconds: float, number: int = 1, state: str = "success", **values: Any) -> None:
        """End a try, after some time."""
        self.wait(seconds)
        known = {"exit_status": 0 if state == "success" else 1, "cpu_seconds": seconds / 2, "peak_memory_bytes": 10**8}
        self.add("task_ended", task=name, **{"try": number}, state=state, seconds=seconds, **{**known, **values})

    def log(self, name: str, text: str, number: int = 1) -> None:
        """Write the log of a try."""
        (self.folder / "logs" / f"{name}.{number}.log").write_text(text)

    def spans(self, name: str, spans: Iterable[Mapping[str, Any]], number: int = 1, seconds: float = 1.0) -> None:
        """Write the spans of a try."""
        usual = {"type": "code.custom", "attributes": {}, "start": 0.0, "seconds": 0.1, "parent": None, "error": None}
        data = {
            "schema_version": 1,
            "task": {"seconds": seconds},
            "spans": [{**usual, "events": [], **each} for each in spans],
            "spans_left_out": 0,
        }
        (self.folder / "spans" / f"{name}.{number}.json").write_text(json.dumps(data))


def large_run(folder: Path, tasks: int) -> WrittenRun:
    """Write a run with many tasks, each with a long log and a few hundred spans."""
    names = [f"CalibrateBeam{number:03}" for number in range(tasks)]
    graph = {
        name: [names[each] for each in sorted({number // 3, number - 1, number // 2}) if 0 <= each < number]
        for number, name in enumerate(names)
    }
    made = WrittenRun(folder, graph)
    lines = "2026-01-02 03:04:05.000+00:00 INFO pipeline: a line of the log of a task, as long as most\n" * 1200
    spans = [{"name": f"step {each}", "start": each / 300, "parent": each // 4 or None} for each in range(300)]
    made.start()
    for number, name in enumerate(names):
        made.log(name, lines)
        made.spans(name, spans)
        made.begin(name)
        made.end(name, 1.0, peak_memory_bytes=10**8 + number)
    made.add("run_ended", state="success", seconds=float(tasks))
    return made

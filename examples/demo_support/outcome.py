"""The results of the demo, and whether they are as expected."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_support.stage import Stage
from demo_support.timeline import Run, Timeline

__all__ = ["FAILING", "FAILING_TASK", "GOOD", "RECIPE_RUNS", "Outcome"]

GOOD = "raw_to_level1_example"
FAILING = "raw_to_level1_example_failing"
FAILING_TASK = "FailOnPurpose"
# Ids of recipe runs: any will do, and each gives another Sun.
RECIPE_RUNS = {GOOD: 42, FAILING: 43}
EXPECTED_STATES = {
    GOOD: dict.fromkeys(["SimulateFrames", "MakeDark", "MakeFlat", "CalibrateScience", "MakePreview"], "success"),
    FAILING: {"SimulateFrames": "success", FAILING_TASK: "failed"},
}
EXPECTED_FILES = 5
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass
class Outcome:
    """
    The results of the demo.

    Attributes
    ----------
    stage
        The folders of the demo.
    timeline
        The runs and their tasks.
    messages
        The messages of the runs, with where each was found.
    """

    stage: Stage
    timeline: Timeline
    messages: list[dict[str, Any]]

    @property
    def folder(self) -> Path:
        """Where the products of the good workflow are."""
        return self.stage.products / f"recipe_run_{RECIPE_RUNS[GOOD]:06d}"

    @property
    def preview(self) -> Path:
        """The picture."""
        return self.folder / "preview.png"

    @property
    def fits_files(self) -> list[Path]:
        """The FITS files that were calibrated, or that were needed for that."""
        return sorted([*self.folder.glob("calibration/*.fits"), *self.folder.glob("level1/*.fits")])

    def run_of(self, workflow: str) -> Run | None:
        """Return the run of a workflow, None if it never began."""
        return self.timeline.runs.get(self.stage.dag_id(workflow))

    def problems(self) -> Iterator[str]:
        """Yield everything that is not as expected."""
        for file, error in self.timeline.import_errors.items():
            yield f"Airflow cannot load {file}: {error}"
        yield from self._run_problems(GOOD, "success")
        yield from self._run_problems(FAILING, "failed")
        yield from self._message_problems()
        if len(self.fits_files) != EXPECTED_FILES:
            yield f"there are {len(self.fits_files)} FITS files in {self.folder} instead of {EXPECTED_FILES}"
        if not (self.preview.is_file() and self.preview.read_bytes().startswith(PNG_SIGNATURE)):
            yield f"there is no picture {self.preview}"

    def _run_problems(self, workflow: str, state: str) -> Iterator[str]:
        run = self.run_of(workflow)
        if run is None:
            yield f"{workflow} did not run"
            return
        if run.state != state:
            yield f"{workflow} ended as {run.state} instead of {state}"
        states = {task.name: task.state for task in run.tasks.values()}
        if states != EXPECTED_STATES[workflow]:
            yield f"the tasks of {workflow} ended as {states} instead of {EXPECTED_STATES[workflow]}"
        for task in run.tasks.values():
            if task.how == "unknown":
                yield f"the log does not say where the environment of {task.name} in {workflow} came from"

    def _message_problems(self) -> Iterator[str]:
        if len(self.messages) != 1:
            yield f"{len(self.messages)} failure messages went out instead of exactly one"
        run = self.run_of(FAILING)
        expected = {
            "workflowName": FAILING,
            "workflowVersion": self.stage.version,
            "taskName": FAILING_TASK,
            "dagRunId": run.run_id if run else None,
        }
        for message in self.messages:
            said = {key: message["body"].get(key) for key in expected}
            if said != expected:
                yield f"the message says {said} instead of {expected}"


def spooled_messages(spool: Path, run_ids: set[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the messages of some runs that wait in the spool folder, each with its ``file``."""
    for file in sorted(spool.glob("*.json")):
        envelope = json.loads(file.read_text(encoding="utf-8"))
        body = json.loads(envelope["body"])
        if body.get("dagRunId") in run_ids:
            yield envelope | {"body": body, "file": file}

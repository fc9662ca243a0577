"""The runs of the rehearsal, as Airflow's API describes them, and the failure messages about them."""

import json
from dataclasses import dataclass
from typing import Any

from support.messages import QUEUE
from support.waiting import wait_until

from rehearsal_support.releases import DARK_DONE, FLAT_MISSING
from rehearsal_support.site import Site
from rehearsal_support.transcript import Transcript

__all__ = ["History", "Run"]

RUN_SECONDS = 1500.0
PARSE_SECONDS = 600.0


@dataclass(frozen=True)
class Run:
    """A run that was triggered."""

    dag_id: str
    number: int
    address: str

    @property
    def run_id(self) -> str:
        """Airflow's id of it."""
        return self.address.rpartition("/")[2]

    @property
    def is_good(self) -> bool:
        """Whether it has to succeed."""
        return "_two_" not in self.dag_id

    @property
    def expected(self) -> dict[str, str]:
        """How its tasks have to end."""
        if not self.is_good:
            return {"Check": "failed"}
        return dict.fromkeys(["Dark"] if self.dag_id.endswith("_1.0") else ["Dark", "Science"], "success")


class History:
    """
    All runs.

    Parameters
    ----------
    site
        Where they run.
    transcript
        Gets the results.
    """

    def __init__(self, site: Site, transcript: Transcript) -> None:
        self.site, self.transcript, self.api = site, transcript, site.log_in()
        self.facts = site.home.parent / "facts"
        self._ended: dict[Run, dict[str, Any]] = {}
        self._messages: list[dict[str, Any]] = []

    def wait_for_task(self, run: Run, state: str) -> None:
        """Wait until the task of a run that has to fail has a state."""
        wait_until(lambda: self.state(run, "Check") == state, f"{run} is not {state}", seconds=RUN_SECONDS, interval=1)

    def trigger(self, dag_id: str, number: int) -> Run:
        """Start a run."""
        return Run(dag_id, number, self.api.trigger(dag_id, {"recipe_run_id": number}))

    def pause(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause or unpause a DAG."""
        status, found = self.api.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": is_paused})
        text = f"{dag_id} is {'paused' if is_paused else 'no longer paused'}"
        self.transcript.expect(text, (status, found.get("is_paused")), (200, is_paused))

    def active(self) -> list[str]:
        """Return the DAGs that Airflow can run."""
        return sorted(each["dag_id"] for each in self.api.call("GET", "/api/v2/dags")[1]["dags"])

    def refusal(self, dag_id: str) -> int:
        """Try to start a run; return the status of Airflow's answer."""
        return self.api.call(
            "POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {"recipe_run_id": 1}}
        )[0]

    def state(self, run: Run, task: str = "") -> str | None:
        """Return the state of a run, or of a task of it."""
        path = f"{run.address}/taskInstances/{task}" if task else run.address
        return self.api.call("GET", path)[1]["state"]

    def expect(self, run: Run, library: str) -> None:
        """Wait for the end of a run, which has to be that of its workflow, and in its task environments."""
        self.api.wait_for_end(run.address, RUN_SECONDS)
        self._ended[run] = self.seen(run)
        state, tasks = ("success", []) if run.is_good else ("failed", ["Check"])
        states = ", ".join(f"{name} {each}" for name, each in run.expected.items())
        found = self._ended[run]["state"], self._ended[run]["tasks"]
        text = f"recipe run {run.number} of {run.dag_id}: {state} ({states})"
        self.transcript.expect(text, found, (state, run.expected))
        self.expect_messages(run, tasks)
        text = DARK_DONE if run.is_good else FLAT_MISSING
        logs = {name: text in "\n".join(log) for name, log in self._ended[run]["logs"].items()}
        self.transcript.expect(f"each log has {text!r}", logs, dict.fromkeys(run.expected, True))
        if run.is_good:
            facts = {name: (self.facts / f"{run.number}.{name}").read_text(encoding="utf-8") for name in run.expected}
            text = f"its environments have dkist-processing-core {library}"
            self.transcript.expect(text, facts, dict.fromkeys(run.expected, library))

    def expect_messages(self, run: Run, tasks: list[str]) -> None:
        """Compare the failure messages about a run."""
        if tasks:
            wait_until(lambda: self._of(run), f"no message about {run}", interval=0.5)
        found = self._of(run)
        text = f"{len(tasks)} failure message: {', '.join(tasks)}" if tasks else "no failure message"
        self.transcript.expect(text, [each["taskName"] for each in found], tasks)

    def _of(self, run: Run) -> list[dict[str, Any]]:
        if self.site.rabbitmq.count(QUEUE):
            self._messages += [json.loads(body) for _, body in self.site.rabbitmq.take_all(QUEUE)]
        return [each for each in self._messages if each["dagRunId"] == run.run_id]

    def seen(self, run: Run) -> dict[str, Any]:
        """Return what Airflow shows of a run: its state, and the state and the log of each task."""
        instances = self.api.call("GET", f"{run.address}/taskInstances")[1]["task_instances"]
        logs = {
            each["task_id"]: f"{run.address}/taskInstances/{each['task_id']}/logs/{each['try_number']}"
            for each in instances
        }
        return {
            "state": self.state(run),
            "tasks": {each["task_id"]: each["state"] for each in instances},
            "logs": {name: self._log(address) for name, address in logs.items()},
        }

    def _log(self, address: str) -> list[str]:
        return [str(line.get("event")) for line in self.api.call("GET", address)[1]["content"]]

    def expect_all(self) -> None:
        """Compare what Airflow shows of all runs that had ended with what it showed then; and no message is left."""
        lost = {}
        for run, before in self._ended.items():
            now = self.seen(run)
            lines = {name: set(log) - set(now["logs"].get(name, [])) for name, log in before["logs"].items()}
            if (now["state"], now["tasks"]) != (before["state"], before["tasks"]) or any(lines.values()):
                lost[run] = before, now
        text = f"the history of {len(self._ended)} runs: the same states, and every line of the log of each task"
        self.transcript.expect(text, lost, {})
        failed = sorted(run.run_id for run in self._ended if not run.is_good)
        self._of(next(iter(self._ended)))
        self.transcript.expect(
            f"failed runs among them: {len(failed)}; failure messages since the beginning: {len(failed)}",
            sorted(each["dagRunId"] for each in self._messages),
            failed,
        )

    def import_errors(self) -> dict[str, str]:
        """Return the errors that Airflow shows, by the names of the files."""
        errors = self.api.call("GET", "/api/v2/importErrors")[1]["import_errors"]
        return {each["filename"].rpartition("/")[2]: each["stack_trace"].strip().splitlines()[-1] for each in errors}

    def dag_versions(self, dag_ids: list[str]) -> dict[str, int]:
        """Return how many versions Airflow has of each DAG."""
        return {each: self.api.call("GET", f"/api/v2/dags/{each}/dagVersions")[1]["total_entries"] for each in dag_ids}

    def wait_until_parsed(self, dag_ids: list[str], since: str) -> None:
        """Wait until the DAG processor has parsed DAGs again."""

        def parsed() -> bool:
            return all(self.api.call("GET", f"/api/v2/dags/{each}")[1]["last_parsed_time"] > since for each in dag_ids)

        wait_until(parsed, f"these are not parsed again: {dag_ids}", seconds=PARSE_SECONDS, interval=1)

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
        Gets what came of them.
    """

    def __init__(self, site: Site, transcript: Transcript) -> None:
        self.site, self.transcript, self.api = site, transcript, site.log_in()
        self.facts = site.home.parent / "facts"
        self._ended: dict[Run, dict[str, Any]] = {}
        self._messages: list[dict[str, Any]] = []

    def trigger(self, dag_id: str, number: int) -> Run:
        """Start a run."""
        return Run(dag_id, number, self.api.trigger(dag_id, {"recipe_run_id": number}))

    def pause(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause a DAG, or let it go on."""
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
        """Wait for the end of a run, which has to be that of its workflow, and of its task environments."""
        self.api.wait_for_end(run.address, RUN_SECONDS)
        wanted = {
            "state": "success" if run.is_good else "failed",
            "tasks": run.expected,
            "logs": dict.fromkeys(run.expected, True),
        }
        found = self.seen(run)
        tasks = ", ".join(f"{name} {state}" for name, state in run.expected.items())
        text = f"recipe run {run.number} of {run.dag_id}: {wanted['state']} ({tasks})"
        self.transcript.expect(text, found, wanted)
        self._ended[run] = found
        if run.is_good:
            facts = {name: (self.facts / f"{run.number}.{name}").read_text(encoding="utf-8") for name in run.expected}
            text = f"the environments of its tasks have dkist-processing-core {library}"
            self.transcript.expect(text, facts, dict.fromkeys(run.expected, library))
        self.expect_messages(run, [] if run.is_good else ["Check"])

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
        """Return what Airflow shows of a run: its state, those of its tasks, and whether their logs can be read."""
        instances = self.api.call("GET", f"{run.address}/taskInstances")[1]["task_instances"]
        logs = {
            each["task_id"]: json.dumps(
                self.api.call("GET", f"{run.address}/taskInstances/{each['task_id']}/logs/{each['try_number']}")[1]
            )
            for each in instances
        }
        text = DARK_DONE if run.is_good else FLAT_MISSING
        return {
            "state": self.state(run),
            "tasks": {each["task_id"]: each["state"] for each in instances},
            "logs": {name: text in log for name, log in logs.items()},
        }

    def expect_all(self) -> None:
        """Compare what Airflow shows of all runs that had ended with what it showed then; and no message is left."""
        found = {run: self.seen(run) for run in self._ended}
        text = f"all {len(found)} runs that had ended: the same states, and each log can be read"
        self.transcript.expect(text, found, self._ended)
        failed = sorted(run.run_id for run in self._ended if not run.is_good)
        self._of(next(iter(self._ended)))
        self.transcript.expect(
            f"{len(failed)} runs of them have failed: as many messages",
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

"""The account: what was lost or duplicated, with number and details of each kind."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.cluster import WORKERS, Cluster
from support.messages import QUEUE

__all__ = ["Account", "Instance", "instances"]

FINAL = {"success", "failed", "upstream_failed", "skipped", "removed"}
SPOOLS = (*WORKERS, "dag-processor")
COMMAND = [sys.executable, "-m", "dkist_processing_core"]
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Instance:
    """A task instance in Airflow's database."""

    run: str
    task: str
    state: str
    try_number: int

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the task instance."""
        return self.run, self.task


def instances(cluster: Cluster) -> list[Instance]:
    """Return all task instances."""
    rows = cluster.postgresql.query("SELECT run_id, task_id, coalesce(state, 'none'), try_number FROM task_instance")
    return [Instance(run, task, state, int(number)) for run, task, state, number in rows]


@dataclass
class Account:
    """
    What was lost or duplicated.

    Attributes
    ----------
    lines
        The findings of each kind.
    messages
        The bodies of the messages from the bus.
    """

    cluster: Cluster
    record: Path
    lines: dict[str, list[str]] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def collect_messages(self) -> None:
        """Take the messages from the bus."""
        if self.cluster.rabbitmq.count(QUEUE):
            self.messages += [json.loads(body) for _, body in self.cluster.rabbitmq.take_all(QUEUE)]

    @property
    def ids(self) -> dict[tuple[str, str], set[str]]:
        """The distinct ids of the messages about each task instance."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for each in self.messages:
            found[each["dagRunId"], each["taskName"]].add(each["conversationId"])
        return found

    def missing(self, found: Iterable[Instance]) -> list[Instance]:
        """Return the failed task instances that were not reported in a message."""
        return [each for each in found if each.state == "failed" and not self.ids.get(each.key)]

    def close(self, found: list[Instance]) -> None:
        """Compare Airflow's states, the records of the tasks, the messages, and the files on the disks."""
        failed = {each.key: each for each in found if each.state == "failed"}
        ids = self.ids
        self.lines["task instances not in a final state"] = [str(each) for each in found if each.state not in FINAL]
        self.lines["failed task instances without a message"] = [str(each) for each in self.missing(found)]
        self.lines["failed task instances with several message ids"] = [
            f"{each} {self._about(key)}" for key, each in failed.items() if len(ids.get(key, ())) > 1
        ]
        self.lines["messages about task instances that have not failed"] = [
            f"{key} {self._about(key)}" for key in ids if key not in failed
        ]
        self._look_at_the_record(found)
        self.lines["messages left in a spool"] = [
            str(each) for name in SPOOLS for each in self.cluster.spool(name).glob("**/*.json")
        ]
        self.lines["environments that do not verify"] = [
            f"{name}: {output}" for name in WORKERS if (output := self._verify(name))
        ]

    def _about(self, key: tuple[str, str]) -> str:
        return "; ".join(
            f"{each['conversationId']} try {each['tryNumber']} {str(each['error'])[:60]!r}"
            for each in self.messages
            if (each["dagRunId"], each["taskName"]) == key
        )

    def _look_at_the_record(self, found: list[Instance]) -> None:
        events = [json.loads(line) for line in self.record.read_text().splitlines()]
        succeeded = {(each["run"], each["task"]) for each in events if each["event"] == "end"}
        begun = Counter((each["run"], each["task"], each["try"]) for each in events if each["event"] == "begin")
        self.lines["tasks executed by two processes at the same time"] = [
            str(each) for each in events if each["event"] == "doubled"
        ]
        self.lines["tries executed twice"] = [f"{key}: {count} times" for key, count in begun.items() if count > 1]
        self.lines["task instances that succeeded without their effect"] = [
            str(each) for each in found if each.state == "success" and each.key not in succeeded
        ]

    def _verify(self, worker: str) -> str:
        """Return the damage of the environments of a worker."""
        command = [*COMMAND, "environments", "verify", "--all", "--cache", str(self.cluster.cache(worker))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        return done.stdout + done.stderr if done.returncode else ""

    def send_spooled(self) -> None:
        """Send spooled messages, as an operator does."""
        for name in SPOOLS:
            if self.cluster.spool(name).exists():
                variables = {
                    **os.environ,
                    "DKIST_ISB_SPOOL": str(self.cluster.spool(name)),
                    "MESH_CONFIG": self.cluster.rabbitmq.mesh_config,
                }
                subprocess.run(
                    [*COMMAND, "messages", "send"], env=variables, capture_output=True, timeout=COMMAND_SECONDS
                )

    def reconcile(self) -> str:
        """Report failures that Airflow knows and that were never reported; return the output of the command."""
        variables = {
            **os.environ,
            "AIRFLOW_CLI_TOKEN": self.cluster.log_in().token,
            "DKIST_ISB_SPOOL": str(self.cluster.spool("dag-processor")),
            "MESH_CONFIG": self.cluster.rabbitmq.mesh_config,
        }
        command = [*COMMAND, "messages", "reconcile", "--airflow", self.cluster.address, "--settle", "0"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        return done.stdout + done.stderr

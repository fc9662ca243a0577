"""
Run the workflows of the example on an Airflow cluster on this machine.

``make cluster`` runs it: PostgreSQL, RabbitMQ, scheduler, DAG processor, API server, and two Celery workers with
queues, environments and spool folders of their own. It uses what ``make demo`` makes, in ``.build/demo``, and makes
what is missing. It exits with status 0 if each run ended as expected, on the right workers, and exactly one message
reports each failed task. It ends everything that it has started.
"""

import argparse
import contextlib
import json
import re
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from demo_support.console import Console, shown
from demo_support.outcome import EXPECTED_STATES, FAILING, GOOD
from demo_support.processes import DemoError
from demo_support.stage import ROOT, Stage
from demo_support.timeline import BUILT, REUSED

sys.path.insert(0, str(ROOT / "tests"))
from support import postgresql, rabbitmq
from support.cluster import WORKERS, Cluster
from support.components import USER, ComponentError
from support.messages import QUEUE
from support.ports import free_port

USUAL_PORT = 8080
RECIPE_RUNS = ((42, GOOD), (43, FAILING), (44, GOOD), (45, FAILING))
RUN_SECONDS = 900.0
MESSAGE_SECONDS = 30.0


class Job:
    """Runs of the example on a cluster, and their results."""

    def __init__(self, console: Console, stage: Stage, cluster: Cluster) -> None:
        self.console, self.stage, self.cluster = console, stage, cluster
        self.problems: list[str] = []
        self.built: Counter[str] = Counter()
        self.failed: list[tuple[str, str]] = []
        self.api = cluster.log_in()

    def run(self) -> bool:
        """Run the workflows, show the results, and return whether they are as expected."""
        with self.console.step(f"Trigger {len(RECIPE_RUNS)} runs at once, over REST; half of them are meant to fail"):
            for workflow in (GOOD, FAILING):
                self.api.wait_for_dag(self.stage.dag_id(workflow))
            runs = [
                (number, workflow, self.api.trigger(self.stage.dag_id(workflow), {"recipe_run_id": number}))
                for number, workflow in RECIPE_RUNS
            ]
            ended = [(*run, self.api.wait_for_end(run[2], RUN_SECONDS)) for run in runs]
        with self.console.step("Fetch the failure messages from the interservice bus"):
            groups = [self._group(*run) for run in ended]
            messages = self._messages()
            self.console.detail(f"queue {QUEUE} of {self.cluster.rabbitmq.mesh_config}: {len(messages)} messages")
        self.console.heading("What ran")
        self.console.table(["task", "state", "queue", "worker", "environment"], groups)
        self._show_messages(messages)
        self._check(messages)
        return not self.problems

    def _group(self, number: int, workflow: str, address: str, run: dict[str, Any]) -> tuple[str, list[list[str]]]:
        """Return the rows of a run for the table, and note what is wrong with it."""
        _, answer = self.api.call("GET", f"{address}/taskInstances")
        instances = sorted(answer["task_instances"], key=lambda each: each["start_date"])
        states = {each["task_id"]: each["state"] for each in instances}
        if states != EXPECTED_STATES[workflow]:
            self.problems.append(f"the tasks of recipe run {number} ended as {states}")
        rows = []
        for each in instances:
            how = self._environment(address, each)
            self.built[each["hostname"]] += how.startswith("built")
            if each["state"] == "failed":
                self.failed.append((run["dag_run_id"], each["task_id"]))
            if each["queue"] not in WORKERS.get(each["hostname"], ()):
                self.problems.append(f"{each['task_id']} of queue {each['queue']} ran on {each['hostname']}")
            rows.append([f"  {each['task_id']}", each["state"], each["queue"], each["hostname"], how])
        return f"{workflow}, recipe run {number}: {run['state']}", rows

    def _environment(self, address: str, instance: dict[str, Any]) -> str:
        """Return what the log of a task says about its environment."""
        path = f"{address}/taskInstances/{instance['task_id']}/logs/{instance['try_number']}"
        log = json.dumps(self.api.call("GET", path)[1])
        if found := re.search(BUILT.pattern, log):
            return f"built in {found[1]} s"
        return "reused" if re.search(REUSED.pattern, log) else "unknown"

    def _messages(self) -> list[dict[str, Any]]:
        """Take the messages from the bus; the last of them may come some seconds after its run has ended."""
        deadline = time.monotonic() + MESSAGE_SECONDS
        while self.cluster.rabbitmq.count(QUEUE) < len(self.failed) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [json.loads(body) for _, body in self.cluster.rabbitmq.take_all(QUEUE)]

    def _show_messages(self, messages: list[dict[str, Any]]) -> None:
        self.console.heading("What was reported")
        for each in messages:
            error = str(each["error"]).splitlines()[-1][:100]
            self.console.paragraph(f"recipe run {each['recipeRunId']}, {each['taskName']}: {error} ...", indent="  ")

    def _check(self, messages: list[dict[str, Any]]) -> None:
        reported = sorted((str(each["dagRunId"]), str(each["taskName"])) for each in messages)
        if reported != sorted(self.failed):
            self.problems.append(f"these tasks failed: {sorted(self.failed)}; these were reported: {reported}")
        self.problems += [
            f"{worker} built the environment {self.built[worker]} times instead of once"
            for worker in WORKERS
            if self.built[worker] != 1
        ]
        if spooled := list(self.cluster.home.glob("*/spool/*.json")):
            self.problems.append(f"these messages were not sent: {spooled}")


def run(options: argparse.Namespace) -> bool:
    """Deploy the example, run it on a cluster, and return whether everything is as expected."""
    console, stage = Console(steps=6), Stage(options.folder)
    stage.airflow = stage.folder / "cluster"
    with stage.alone():
        shutil.rmtree(stage.airflow, ignore_errors=True)
        shutil.rmtree(stage.products, ignore_errors=True)
        with console.step("Build the library and the example, and put the wheels on an index"):
            stage.build_wheels()
        with console.step("Check and export the workflows in an author's environment, without Airflow"):
            stage.make_author_environment()
            console.detail(", ".join(Path(file).stem for file in stage.export()["files"]))
        stage.airflow.mkdir()
        port, password = free_port(options.port), secrets.token_urlsafe(12)
        with contextlib.ExitStack() as stack:
            with console.step("Start PostgreSQL, RabbitMQ, scheduler, DAG processor, API server and two workers"):
                cluster = stack.enter_context(Cluster(stage.environment(), stage.airflow, port, password=password))
                console.detail(f"Airflow {stage.airflow_version}; logs: {shown(cluster.folder)}")
            job = Job(console, stage, cluster)
            is_good = job.run()
            show_pages(console, cluster)
            for problem in job.problems:
                console.paragraph(f"ERROR: {problem}", "red")
            if options.keep:
                console.say("\nCtrl-C ends the cluster.")
            while options.keep:
                cluster.check()
                time.sleep(1)
            count = len(cluster.remaining())
            rest = stack.pop_all()
            with console.step(f"End the cluster, {count} processes"):
                rest.close()
                console.detail("none of them is left")
        return is_good


def show_pages(console: Console, cluster: Cluster) -> None:
    """Say where to look."""
    console.heading("Where to look")
    console.say(f"  Airflow      {cluster.address}\n  user         {USER}\n  password     {cluster.password}")
    console.say(f"  logs         {shown(cluster.folder)} and {shown(cluster.home / 'logs')}")
    for worker, queues in WORKERS.items():
        console.say(f"  {worker}     {', '.join(queues)}; {shown(cluster.cache(worker))}")


def main() -> int:
    """Run the cluster and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where everything is kept, .build/demo by default")
    parser.add_argument("--port", type=int, default=USUAL_PORT, help="of the web pages; another if it is not free")
    parser.add_argument("--keep", action="store_true", help="keep the cluster when the runs have ended, until Ctrl-C")
    options = parser.parse_args()

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        return 0 if run(options) else 1
    except (DemoError, ComponentError, postgresql.UnavailableError, rabbitmq.UnavailableError) as error:
        sys.stdout.write(f"\nERROR: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stdout.write("\nThe cluster and everything that it had started has ended.\n")
        return 0 if options.keep else 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

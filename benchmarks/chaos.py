"""
Run workflows on a cluster whose parts are killed, stopped and restarted at random; count what was lost or duplicated.

The cluster is PostgreSQL, RabbitMQ, Airflow's scheduler, DAG processor and API server, and two Celery workers. Runs of
a workflow of five tasks are triggered over REST at a steady rate. Some tasks fail on purpose, and some of these succeed
at a retry. Meanwhile, parts are killed (SIGKILL), stopped for some seconds (SIGSTOP), or restarted (SIGTERM). A part
that has ended is started again, as systemd would do. At the end all parts run, spooled messages are sent, and
``messages reconcile`` reports failures whose callbacks Airflow lost. Each line of the account must be 0. Otherwise, the
exit status is 1, and the details are in ``account.json`` in the folder.
"""

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from chaos_support.account import FINAL, Account, instances  # noqa: E402 - found by the line above
from chaos_support.faults import Faults  # noqa: E402
from chaos_support.release import DAG_ID, TASKS, deploy  # noqa: E402
from support.cluster import Cluster  # noqa: E402
from support.components import ComponentError  # noqa: E402
from support.ports import free_ports  # noqa: E402

CONFLICT = 409
OK = 200
FAULTS_SHARE = 0.6  # share of the time with faults; in the rest, all runs must end
SETTLE_SECONDS = 60.0
QUIET_SECONDS = 10.0
PROGRESS_SECONDS = 15.0


class Chaos:
    """One run of the benchmark."""

    def __init__(self, cluster: Cluster, folder: Path, options: argparse.Namespace) -> None:
        self.cluster, self.options = cluster, options
        self.began = time.monotonic()
        self.deadline = self.began + 60 * options.minutes
        self.faults = Faults(cluster, options.seed, options.pause)
        self.account = Account(cluster, folder / "record.jsonl")
        self.last_message = 0.0
        self._said = 0.0
        self._api: Any = None  # an authenticated client

    @property
    def seconds(self) -> float:
        """Since the first run was triggered."""
        return time.monotonic() - self.began

    def run(self) -> None:
        """Trigger the runs, cause faults, and wait until everything has ended."""
        self.cluster.log_in().wait_for_dag(DAG_ID)
        self.began = time.monotonic()
        if not self.options.no_faults:
            self.faults.start()
        for number in range(1, self.options.runs + 1):
            self._trigger(number)
            while self.seconds < number * self.options.interval:
                self._progress()
                time.sleep(0.2)
        self._wait_for_runs(self.options.runs * len(TASKS) // 20, self.began + FAULTS_SHARE * 60 * self.options.minutes)
        if self.faults.is_alive():
            self.faults.end()
        print(f"{self.seconds:.0f} s: the faults have ended; waiting for the runs", flush=True)
        self._wait_for_runs(0, self.deadline)
        self.run_seconds = self.seconds
        self._wait_for_messages()

    def _trigger(self, number: int) -> None:
        """Trigger a run, however long that takes. Its id ensures that it is triggered only once."""
        body = {"dag_run_id": f"chaos-{number:05}", "logical_date": None, "conf": {"recipe_run_id": number}}
        while time.monotonic() < self.deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._api = self._api or self.cluster.log_in()
                status, _ = self._api.call("POST", f"/api/v2/dags/{DAG_ID}/dagRuns", body)
                if status in {OK, CONFLICT}:
                    return
                self._api = None
            self._progress()
            time.sleep(0.5)

    def _states(self) -> Counter[str]:
        return Counter(each.state for each in instances(self.cluster))

    def _progress(self) -> None:
        if time.monotonic() - self._said < PROGRESS_SECONDS:
            return
        self._said = time.monotonic()
        with contextlib.suppress(Exception):
            states = ", ".join(f"{count} {state}" for state, count in sorted(self._states().items()))
            print(f"{self.seconds:.0f} s: {self.faults.counts.total()} faults; tasks: {states}", flush=True)

    def _wait_for_runs(self, rest: int, deadline: float) -> None:
        """Wait until at most this number of task instances are unfinished, or until the deadline."""
        wanted = self.options.runs * len(TASKS)
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                if sum(count for state, count in self._states().items() if state in FINAL) >= wanted - rest:
                    return
            self._progress()
            time.sleep(1)

    def _wait_for_messages(self) -> None:
        """Wait for the callbacks of the last runs; then send spooled messages, and report what Airflow has lost."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and self.account.missing(instances(self.cluster)):
            self._collect()
            self.account.send_spooled()
            time.sleep(2)
        time.sleep(QUIET_SECONDS)  # for messages that should not exist
        self.account.send_spooled()
        self._collect()
        self.lost_by_airflow = len(self.account.missing(instances(self.cluster)))
        self.reconciled = self.account.reconcile()
        self._collect()

    def _collect(self) -> None:
        before = len(self.account.messages)
        self.account.collect_messages()
        if len(self.account.messages) > before:
            self.last_message = self.seconds


def main() -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="how many runs of five tasks; 200 by default")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the faults")
    parser.add_argument("--minutes", type=float, default=60, help="bound of the whole; 60 by default")
    parser.add_argument("--interval", type=float, default=5, help="seconds between two runs; 5 by default")
    parser.add_argument("--pause", type=float, default=10, help="mean seconds between two faults; 10 by default")
    parser.add_argument("--no-faults", action="store_true", help="for comparison")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "chaos", help="where everything is kept")
    options = parser.parse_args()

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    print(f"seed {options.seed}, {options.runs} runs of {len(TASKS)} tasks", flush=True)
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    variables = deploy(folder)
    left: list[str] = []
    try:
        with Cluster(variables, folder / "airflow", free_ports(1)[0], password="admin") as cluster:
            chaos = Chaos(cluster, folder, options)
            chaos.run()
            found = instances(cluster)
            chaos.account.close(found)
    except ComponentError as error:
        left.append(str(error))
    return report(chaos, found, left, folder)


def report(chaos: Chaos, found: list, left: list[str], folder: Path) -> int:
    """Print the account, keep its details, and return the exit status."""
    account = chaos.account
    account.lines["errors of the cluster, processes left at its end"] = left
    states = Counter(each.state for each in found)
    tries = sum(each.try_number for each in found)
    print(f"\nfaults: {chaos.faults.counts.total()}")
    for name, count in sorted(chaos.faults.counts.items()):
        print(f"  {count:4} {name}")
    for name, count in sorted(chaos.faults.restarted.items()):
        print(f"  {count:4} {name} has ended by itself and was started again")
    print(f"\n{len(found)} task instances: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}")
    print(f"{tries} tries in {chaos.run_seconds:.0f} s, {tries / chaos.run_seconds:.2f} tasks a second")
    after = chaos.last_message - chaos.run_seconds
    print(f"{len(account.messages)} messages, the last one found {after:.0f} s after the end of the last task")
    print(f"{chaos.lost_by_airflow} callbacks lost by Airflow; dkist-processing-core messages reconcile:")
    print(textwrap.indent(chaos.reconciled.strip(), "  ") + "\n")
    for name, details in account.lines.items():
        print(f"  {len(details):4} {name}")
    details = {"account": account.lines, "faults": chaos.faults.counts, "messages": account.messages}
    (folder / "account.json").write_text(json.dumps(details, indent=2))
    wrong = sum(map(len, account.lines.values())) + (len(found) != chaos.options.runs * len(TASKS))
    if wrong:
        print(f"\nThe details are in {folder / 'account.json'}, the logs beside it.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

"""
Take a workflow from its declaration in Python to calibrated frames, with a real Airflow on this machine.

``make demo`` runs it. Everything that it makes is in ``.build/demo``. It exits with status 0 if one workflow succeeded,
the one that fails on purpose failed in the expected task, and exactly one message reported this.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from demo_support.console import Console, shown
from demo_support.outcome import RECIPE_RUNS, Outcome, spooled_messages
from demo_support.processes import DemoError
from demo_support.stage import Stage
from demo_support.summary import made_or_reused, summarise
from demo_support.timeline import Timeline


class Demo:
    """One run of the demo."""

    def __init__(self) -> None:
        self.console = Console(steps=5)
        self.stage = Stage()
        self.timeline = Timeline(self.console)
        self.problems: list[str] = []

    def run(self) -> bool:
        """Run all steps, and return whether everything is as expected."""
        started = time.monotonic()
        self.console.say("dkist-processing-core: from a workflow in Python to calibrated frames", "bold")
        self.console.say(f"Everything that this makes is in {shown(self.stage.folder)}", "faint")
        self.build()
        self.export()
        self.set_up_airflow()
        self.run_workflows()
        outcome = Outcome(self.stage, self.timeline, self.collect_messages())
        self.problems += outcome.problems()
        summarise(self.console, outcome, problems=self.problems, seconds=time.monotonic() - started)
        return not self.problems

    def build(self) -> None:
        """Build the wheels that a release would upload to the package index."""
        with self.console.step("Build the library and an instrument package, as a release would"):
            is_new = self.stage.build_wheels()
            for wheel in sorted(self.stage.index.glob("*.whl")):
                self.console.detail(f"{wheel.name}, {wheel.stat().st_size / 1000:.0f} kB")
            what = "new contents, new folder" if is_new else "same contents, same folder"
            self.console.detail(f"package index: {shown(self.stage.index)} ({what})")

    def export(self) -> None:
        """Check and export the workflows, as a team's pipeline does."""
        with self.console.step("Check and export the workflows, as a team's pipeline does, without Airflow"):
            author = self.stage.make_author_environment()
            self.console.detail(f"environment: {shown(self.stage.author)} ({made_or_reused(author)})")
            found = self.stage.export()
            airflow = "is one of them" if found["has_airflow"] else "is not among them"
            self.console.detail(f"{found['distributions']} distributions in it, Airflow {airflow}")
            for text in found["warnings"]:
                self.console.detail(f"warning: {text}")
            for file, tasks in found["files"].items():
                self.console.detail(f"{shown(Path(file))}, {tasks} tasks, no fault")
            if found["has_airflow"]:
                self.problems.append("the author's environment has Airflow in it, which it should not need")

    def set_up_airflow(self) -> None:
        """Make Airflow's database and pools, once."""
        with self.console.step(f"Set up Airflow {self.stage.airflow_version} on SQLite"):
            database = self.stage.make_database()
            self.console.detail(f"database: {shown(self.stage.airflow / 'airflow.db')} ({made_or_reused(database)})")

    def run_workflows(self) -> None:
        """Let Airflow load the files and run both workflows."""
        with self.console.step("Airflow loads both files and runs both workflows; one is meant to fail"):
            # So that what is found at the end is of this run.
            shutil.rmtree(self.stage.products, ignore_errors=True)
            shutil.rmtree(self.stage.spool, ignore_errors=True)
            self.console.detail(f"full log: {shown(self.stage.logs / 'run-in-airflow.log')}")
            self.console.detail("Airflow starts (a few seconds)")
            runs = [f"{self.stage.dag_id(workflow)}={number}" for workflow, number in RECIPE_RUNS.items()]
            self.stage.run_helper("run_in_airflow", self.stage.dags, *runs, on_line=self.timeline.read)
            self.console.say()

    def collect_messages(self) -> list[dict[str, Any]]:
        """Fetch the messages of the two runs, from the broker and from the spool folder."""
        with self.console.step("Fetch the message about the failure"):
            run_ids = {run.run_id for run in self.timeline.runs.values() if run.run_id}
            found = json.loads(self.stage.run_helper("fetch_messages", *sorted(run_ids)).splitlines()[-1])
            messages = [each | {"from": f"RabbitMQ at {found['broker']}"} for each in found["messages"]]
            answer = f"answers: {counted(messages)}" if found["answers"] else f"does not answer ({found['error']})"
            self.console.detail(f"RabbitMQ at {found['broker']} {answer}")
            spooled = [
                {**each, "from": f"the spool, {shown(each['file'])}"}
                for each in spooled_messages(self.stage.spool, run_ids)
            ]
            self.console.detail(f"spool {shown(self.stage.spool)}: {counted(spooled)}")
        return [*messages, *spooled]


def counted(messages: list[dict[str, Any]]) -> str:
    """Return a text with the number of messages."""
    return f"{len(messages) or 'no'} message{'s' * (len(messages) != 1)} of these runs"


def main() -> int:
    """Run the demo and return the exit status."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        demo = Demo()
        with demo.stage.alone():
            return 0 if demo.run() else 1
    except DemoError as error:
        sys.stdout.write(f"\nERROR: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stdout.write("\nInterrupted; everything that was started has been ended.\n")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of the output has ended, as with "make demo | head". Python must not complain that it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())

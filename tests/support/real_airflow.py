"""A real Airflow with SQLite, used from child processes so that nothing of it stays in the tests' own."""

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dkist_processing_core.validation import airflow
from support.api import Api
from support.components import Components
from support.ports import free_ports
from support.waiting import PATIENCE_SECONDS

SECONDS = 300
SLOTS = dict.fromkeys(("high_memory_pool", "multi_core_pool", "gpu_pool"), 4)


class Airflow(airflow.Airflow):
    """One Airflow home, with the folder of its DAGs in it."""

    @classmethod
    def at(cls, home: Path) -> "Airflow":
        """Return the Airflow of a folder; its programs and uv are found there before others."""
        (home / "dags").mkdir(parents=True, exist_ok=True)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return cls(home, home / "dags", {"PATH": path})

    def set_up(self) -> None:
        """Make the database and the pools."""
        self.migrate(seconds=SECONDS)
        self.make_pools(SLOTS)

    def make_pools(self, slots: Mapping[str, int]) -> None:
        """Make pools, by the number of slots of each."""
        pools = {
            name: {"slots": number, "description": "", "include_deferred": False} for name, number in slots.items()
        }
        (self.home / "pools.json").write_text(json.dumps(pools))
        self.run([self.python, "-m", "airflow", "pools", "import", self.home / "pools.json"])

    def load(self, place: Path | None = None) -> dict:
        """Load the files of a folder, of Airflow's own one by default."""
        return self.ask("load", place=str(place or self.dags), seconds=SECONDS)[0]

    def run_dag(self, dag_id: str, conf: dict[str, object], environment: dict[str, str] | None = None) -> dict:
        """Run a DAG to its end; return its state and the ones of its tasks, and as ``output`` what was printed."""
        place = str(self.dags)
        [run], output = self.ask(
            "run", place=place, confs=[conf], dag_id=dag_id, environment=environment, seconds=SECONDS
        )
        return {**run, "tasks": {name: task["state"] for name, task in run["tasks"].items()}, "output": output}

    def execute(self, program: str, *arguments: str | Path, **environment: str) -> str:
        """Run a Python program in a fresh interpreter, and return what it prints."""
        command = [self.python, "-c", textwrap.dedent(program), *arguments]
        return self.run(command, environment=environment, seconds=SECONDS)

    @contextmanager
    def serving(
        self, environment: dict[str, str], of_component: dict[str, dict[str, str]] | None = None
    ) -> Iterator[Api]:
        """
        Run scheduler, DAG processor and API, and yield a client that has logged in.

        What ``of_component`` holds for one of them comes on top of the environment of all.
        """
        [port] = free_ports(1)
        # All components write to one file of SQLite, and each waits only 5 s for the others by default.
        database = f"sqlite:///{self.home}/airflow.db?timeout={PATIENCE_SECONDS:g}"
        variables: dict[str, Any] = {
            **self.environment,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            **environment,
        }
        with Components(variables, self.home, port, password="admin", of_component=of_component) as components:
            yield components.log_in()

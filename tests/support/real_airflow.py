"""A real Airflow with SQLite, used from child processes so that nothing of it stays in the tests' own."""

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dkist_processing_core.validation import airflow
from support.api import Api
from support.components import Components
from support.ports import free_ports

DRIVER = Path(__file__).with_name("airflow_driver.py")
POOLS = {
    f"{name}_pool": {"slots": 4, "description": "", "include_deferred": False}
    for name in ("high_memory", "multi_core", "gpu")
}


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
        self.migrate()
        (self.home / "pools.json").write_text(json.dumps(POOLS))
        self.run(["airflow", "pools", "import", self.home / "pools.json"])

    def drive(self, verb: str, place: str, *arguments: str, environment: dict[str, str] | None = None) -> dict:
        """Load files, run a DAG, or try to; return what came of it and, as ``output``, what was printed."""
        if verb == "execute":
            answer = self.home / "answer.json"
            output = self.run(
                [self.python, "-P", DRIVER, str(answer), place, *arguments], environment=environment, seconds=180
            )
            return {**json.loads(answer.read_text()), "output": output}
        if verb == "load":
            found, output = self.ask("load", place=place, environment=environment, seconds=180)
            return {**found, "output": output}
        dag_id, conf = arguments[0], json.loads(arguments[1])
        confs = conf if verb == "refusals" else [conf]
        runs, output = self.ask("run", place=place, confs=confs, dag_id=dag_id, environment=environment, seconds=180)
        if verb == "refusals":
            return {"answers": [run["refusal"] or None for run in runs], "output": output}
        [run] = runs
        return {**run, "tasks": {name: task["state"] for name, task in run["tasks"].items()}, "output": output}

    def execute(self, program: str) -> str:
        """Run a Python program in a fresh interpreter."""
        return self.run([self.python, "-c", textwrap.dedent(program)], seconds=180)

    @contextmanager
    def serving(
        self, environment: dict[str, str], of_component: dict[str, dict[str, str]] | None = None
    ) -> Iterator[Api]:
        """
        Run scheduler, DAG processor and API, and yield a client that has logged in.

        What ``of_component`` holds for one of them comes on top of the environment of all.
        """
        [port] = free_ports(1)
        variables: dict[str, Any] = {**self.environment, **environment}
        with Components(variables, self.home, port, password="admin", of_component=of_component) as components:
            yield components.log_in()

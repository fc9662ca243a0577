"""A real Airflow with SQLite, used from child processes so that nothing of it stays in the tests' own."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

DRIVER = Path(__file__).with_name("airflow_driver.py")


@dataclass
class Airflow:
    """One Airflow home with a migrated database."""

    home: Path

    @property
    def dags(self) -> Path:
        """The folder that it loads DAG files from."""
        return self.home / "dags"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of this Airflow."""
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def migrate(self) -> None:
        """Make the database."""
        self.dags.mkdir(parents=True, exist_ok=True)
        self.run(["airflow", "db", "migrate"])
        pools = {
            f"{name}_pool": {"slots": 4, "description": "", "include_deferred": False}
            for name in ("high_memory", "multi_core", "gpu")
        }
        (self.home / "pools.json").write_text(json.dumps(pools))
        self.run(["airflow", "pools", "import", str(self.home / "pools.json")])

    def run(self, command: list[str], *, environment: dict[str, str] | None = None, timeout: float = 180) -> str:
        """Run a program with this Airflow's settings and return all that it prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def drive(self, verb: str, *arguments: str, environment: dict[str, str] | None = None) -> dict[str, object]:
        """Let the driver do something in a fresh interpreter and return its answer and, as ``output``, what it said."""
        answer = self.home / "answer.json"
        answer.unlink(missing_ok=True)
        output = self.run([sys.executable, "-P", str(DRIVER), str(answer), verb, *arguments], environment=environment)
        return {**json.loads(answer.read_text()), "output": output}

    def execute(self, program: str) -> str:
        """Run a Python program in a fresh interpreter."""
        return self.run([sys.executable, "-c", textwrap.dedent(program)])

"""
Start the installed Airflow, in a process and a home folder of its own, and ask it about DAG files.

Runs in: author and CI where Airflow is installed. What Airflow prints, writes and keeps in memory does not reach the
process that asks.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dkist_processing_core.common.programs import run_program
from dkist_processing_core.exceptions import DKISTProcessingCoreError

__all__ = ["Airflow", "AirflowUnusableError", "ConfiguredAirflow", "LoadedFile", "load_by_airflow"]

START_SECONDS = 120
SECONDS_PER_FILE = 10
RUN_SECONDS = 600
SHOWN_CHARACTERS = 3000


class AirflowUnusableError(DKISTProcessingCoreError):
    """Airflow is installed and cannot be run."""


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a home folder of its own, on SQLite unless its variables say otherwise."""

    home: Path  # of its database and logs
    dags: Path
    variables: Mapping[str, str] = field(default_factory=dict)  # besides those of this process that do not configure it
    python: str = sys.executable  # what it is installed in

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables of its processes; the settings of another Airflow are not among them."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))},
            "AIRFLOW_HOME": str(self.home.resolve()),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags.resolve()),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            **self.variables,
        }

    def migrate(self, *, seconds: float = START_SECONDS) -> None:
        """Make the database, unless it is there."""
        if not (self.home / "airflow.db").exists():
            self.run([self.python, "-m", "airflow", "db", "migrate"], seconds=seconds)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        seconds: float = RUN_SECONDS,
        on_line: Callable[[str], object] | None = None,
    ) -> str:
        """Run a program as `run_program` does, and return its output; `AirflowUnusableError` if it fails."""
        variables = {**self.environment, **(environment or {})}
        status, output = run_program(command, environment=variables, seconds=seconds, on_line=on_line)
        if status:
            raise AirflowUnusableError(f"exit status {status}. It said:\n{output[-SHOWN_CHARACTERS:].strip()}")
        return output

    def ask(
        self,
        function: str,
        *,
        environment: Mapping[str, str] | None = None,
        seconds: float = RUN_SECONDS,
        **arguments: Any,
    ) -> tuple[Any, str]:
        """Call a function of `validation.dag_files` in a process of this Airflow; return its answer and the output."""
        with tempfile.TemporaryDirectory(prefix="dkist-airflow-") as place:
            answer = Path(place, "answer.json")
            command = [self.python, "-P", "-m", "dkist_processing_core.validation.dag_files"]
            output = self.run(
                [*command, function, json.dumps(arguments), answer], environment=environment, seconds=seconds
            )
            return json.loads(answer.read_text(encoding="utf-8")), output


class ConfiguredAirflow(Airflow):
    """The Airflow that the variables of this process and its configuration file configure."""

    @classmethod
    def at(cls, place: Path) -> "ConfiguredAirflow":
        """
        Return it. It writes a configuration file if there is none, which then goes to a temporary place.

        `AirflowUnusableError` if the file cannot be read: Airflow would do without it, and say nothing.
        """
        home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
        file = Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg").expanduser()
        if file.exists() and not os.access(file, os.R_OK):
            raise AirflowUnusableError(f"{file} cannot be read by this user")
        return cls(home, home / "dags", {} if file.exists() else {"AIRFLOW_CONFIG": str(place / "airflow.cfg")})

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables of its processes: those of this one."""
        return {**os.environ, **self.variables}


class LoadedFile(NamedTuple):
    """What is wrong with a file, empty if nothing is, and the names of the tasks that a scheduler finds in it."""

    problem: str
    tasks: tuple[str, ...] = ()


def load_by_airflow(texts: Mapping[str, str]) -> dict[str, LoadedFile]:
    """
    Let the installed Airflow load and serialise DAG files, each of them twice; `AirflowUnusableError` if it cannot run.

    The texts of the files, and what Airflow makes of them, are by the names of the files.
    """
    seconds = START_SECONDS + SECONDS_PER_FILE * len(texts)
    with tempfile.TemporaryDirectory(prefix="dkist-airflow-check-") as place:
        airflow = Airflow(Path(place, "airflow"), Path(place, "dags"))
        airflow.dags.mkdir()
        for name, text in texts.items():
            (airflow.dags / name).write_text(text, encoding="utf-8")
        try:
            found, _ = airflow.ask("check", seconds=seconds, folder=str(airflow.dags.resolve()))
        except subprocess.TimeoutExpired:
            raise AirflowUnusableError(f"it did not load the files within {seconds:.0f} s") from None
    return {name: LoadedFile(found[name]["problem"], tuple(found[name]["tasks"])) for name in texts}

"""
Start the installed Airflow, in a process and a home folder of its own, and ask it about DAG files.

Runs in: author and CI where Airflow is installed. The output, the files and the memory of Airflow are separate from
those of the calling process.
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
    """Airflow is installed but cannot be run."""


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a home folder of its own, on SQLite unless ``variables`` specify another database."""

    home: Path  # folder of its database and logs
    dags: Path
    variables: Mapping[str, str] = field(default_factory=dict)  # added to those of this process
    python: str = sys.executable  # the Python in which it is installed

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables of its processes, without the settings of another Airflow."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))},
            "AIRFLOW_HOME": str(self.home.resolve()),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags.resolve()),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            **self.variables,
        }

    def migrate(self, *, seconds: float = START_SECONDS) -> None:
        """Create the database unless it exists."""
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
        """Run a program as `run_program` does, and return its output; raise an `AirflowUnusableError` if it fails."""
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
    """The Airflow that is configured by the variables of this process and by its configuration file."""

    @classmethod
    def at(cls, place: Path) -> "ConfiguredAirflow":
        """
        Return this Airflow. If it has no configuration file, Airflow writes one, so that goes to the folder ``place``.

        An `AirflowUnusableError` is raised if the file cannot be read, since Airflow would silently ignore it.
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
    """The problem of a file, empty if there is none, and the names of the tasks that a scheduler finds in it."""

    problem: str
    tasks: tuple[str, ...] = ()


def load_by_airflow(texts: Mapping[str, str]) -> dict[str, LoadedFile]:
    """
    Load and serialise each DAG file twice with the installed Airflow; raise `AirflowUnusableError` if it cannot run.

    The keys of the texts and of the result are the names of the files.
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

"""A site: a cluster whose workers have an environment of their own, and how its library is replaced."""

import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from support.cluster import WORKERS, Cluster
from support.matrix.environments import find_python
from support.releases import new_environment
from support.waiting import wait_until

from rehearsal_support.releases import PYTHONS, Releases
from rehearsal_support.transcript import RehearsalError, Transcript

__all__ = ["DRAIN_SECONDS", "ORDER", "Site"]

DRAIN_SECONDS = 600.0
COMMAND_SECONDS = 900
# New files are found soon, and what waits is not given up while an upgrade takes long on a busy machine.
SETTINGS = {
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "600",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "3600",
}
# In which they are stopped; they are started in the opposite order.
ORDER = ("scheduler", *WORKERS, "dag-processor", "api-server")
KINDS = {"scheduler": ("scheduler", "dag-processor", "api-server"), "worker": tuple(WORKERS)}


class Site(Cluster):
    """
    A cluster with two environments, one for the workers and one for the other components.

    Parameters
    ----------
    environment
        The environment variables of all components; Airflow's home is in the folder of all that belongs to the site.
    releases
        What is installed, and from where.
    port
        Where the API and the web pages are, on 127.0.0.1.
    transcript
        Gets the commands.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        releases: Releases,
        port: int,
        *,
        password: str,
        transcript: Transcript,
    ) -> None:
        home = Path(environment["AIRFLOW_HOME"])
        folder = home.parent
        self.transcript, self.backups = transcript, folder / "backup"
        self.backups.mkdir()
        python = find_python(*PYTHONS)
        pythons = {}
        for kind, names in KINDS.items():
            installed = new_environment(folder / kind, "pip", *releases.pins, python=python, **releases.links)
            pythons.update(dict.fromkeys(names, installed))
        super().__init__(
            {**environment, **SETTINGS, **releases.links, "PIP_NO_COMPILE": "1"},
            home,
            port,
            password=password,
            pythons=pythons,
        )
        transcript.names.update({str(folder / kind): f"/opt/{kind}" for kind in KINDS})
        transcript.names.update({str(folder): "/srv/dkist", self.address: "http://airflow.example.org:8080"})

    def run(self, name: str, *command: str, **variables: str) -> str:
        """Run a program of a component's environment, with its variables, as an operator does; return its output."""
        program = self.python(name).with_name(command[0])
        done = subprocess.run(
            [program, *command[1:]],
            env={**self.variables(name), **variables},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            words = " ".join([str(program), *command[1:]])
            raise RehearsalError(f"$ {words}\nended with status {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    def version(self, kind: str, distribution: str) -> str:
        """Return the version of a distribution in an environment."""
        program = "from importlib.metadata import version; import sys; print(version(sys.argv[1]))"
        return self.run(KINDS[kind][0], "python", "-P", "-c", program, distribution).strip()

    def back_up(self) -> None:
        """Write down what each environment contains, and the contents of the database."""
        for kind, names in KINDS.items():
            file = self.backups / f"{kind}.txt"
            file.write_text(self.run(names[0], "pip", "freeze", "--exclude", "dkist-processing-core"), encoding="utf-8")
            self.transcript.command(f"/opt/{kind}/bin/pip freeze --exclude dkist-processing-core > {file}")
        file = self.backups / "airflow.sql"
        self.postgresql.back_up(file)
        self.transcript.command(f"pg_dump airflow > {file}")
        self.postgresql.restore(file, "restored")
        found, expected = (self._count(database) for database in ("restored", "airflow"))
        self.transcript.expect(
            "the copy of the database can be restored, with every run and task instance", found, expected
        )

    def _count(self, database: str) -> list[object]:
        tables = ("dag_run", "task_instance")
        return [self.postgresql.query(f"SELECT count(*) FROM {table}", database) for table in tables]

    def install(self, requirement: str) -> None:
        """Install another release of the library in both environments; nothing else in them changes its version."""
        for kind, names in KINDS.items():
            file = self.backups / f"{kind}.txt"
            self.run(names[0], "pip", "install", "--quiet", "--constraint", str(file), requirement)
            self.transcript.command(f"/opt/{kind}/bin/pip install --constraint {file} '{requirement}'")
            freeze = self.run(names[0], "pip", "freeze", "--exclude", "dkist-processing-core").splitlines()
            changed = set(file.read_text(encoding="utf-8").splitlines()) - set(freeze)
            found = self.version(kind, "dkist-processing-core"), self.version(kind, "apache-airflow")
            text = "dkist-processing-core {} and Airflow {}, nothing else has another version".format(*found)
            self.transcript.expect(text, (found[0], changed), (requirement.partition("==")[2], set()))

    def operate(self, *words: str, **variables: str) -> None:
        """Run a command of this library on the machine of the scheduler, and show what it says."""
        output = self.run("scheduler", "dkist-processing-core", *words, **variables)
        self.transcript.command(f"dkist-processing-core {' '.join(words)}", output)

    def examine(self) -> None:
        """Run doctor on each machine that it supports; no check may fail."""
        for name, place in (*dict.fromkeys(WORKERS, "worker").items(), ("dag-processor", "dag-processor")):
            report = self.run(name, "dkist-processing-core", "doctor", "--on", place)
            self.transcript.command(f"dkist-processing-core doctor --on {place}  # on the machine of {name}")
            failed = [line for line in report.splitlines() if line.startswith("failed")]
            self.transcript.expect("no check has failed", failed, [])

    def stop_in_order(self, while_draining: Callable[[], object] | None = None) -> None:
        """Stop all components; the workers let their tasks end, while the API server takes what these report."""
        for name in ORDER:
            if self.has_ended(name):
                continue
            thread = threading.Thread(target=self.stop, args=(name, DRAIN_SECONDS))
            thread.start()
            if name in WORKERS and while_draining:
                log = self.folder / f"{name}.log"
                wait_until(lambda log=log: "Warm shutdown" in log.read_text(errors="replace"), f"{name} does not drain")
                while_draining()
            thread.join()
        self.transcript.say(f"stopped: {', '.join(ORDER)}")

    def start_in_order(self) -> None:
        """Start all components."""
        for name in reversed(ORDER):
            self.start(name)
        self.wait_until_healthy()
        self.transcript.say(f"started: {', '.join(reversed(ORDER))}")

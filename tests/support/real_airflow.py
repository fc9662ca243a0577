"""A real Airflow with SQLite, used from child processes so that nothing of it stays in the tests' own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.api import Api
from support.ports import free_ports
from support.processes import descendants

# Where the programs of Airflow are, so that another version than that of this environment can be tried.
PROGRAMS = Path(os.environ.get("DKIST_TEST_AIRFLOW_PROGRAMS") or Path(sys.executable).parent)
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
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
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

    @contextlib.contextmanager
    def serving(
        self, environment: dict[str, str], of_component: dict[str, dict[str, str]] | None = None
    ) -> Iterator[Api]:
        """
        Run scheduler, DAG processor and API, and yield a client that has logged in.

        What ``of_component`` holds for one of them comes on top of the environment of all.
        """
        [port] = free_ports(1)
        address = f"http://127.0.0.1:{port}"
        passwords = self.home / "passwords.json"
        passwords.write_text(json.dumps({"admin": "admin"}))
        settings = {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": address,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        }
        processes = []
        try:
            for component in (["scheduler", "--skip-serve-logs"], ["dag-processor"], ["api-server"]):
                with (self.home / f"{component[0]}.log").open("w") as log:
                    processes.append(
                        subprocess.Popen(
                            ["airflow", *component],
                            env={
                                **os.environ,
                                **self.environment,
                                **settings,
                                **environment,
                                **(of_component or {}).get(component[0], {}),
                            },
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,
                        )
                    )
            yield self._log_in(address)
        finally:
            family = {int(each.name) for process in processes for each in descendants(process.pid)}
            for process in processes:
                process.terminate()
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)
            for pid in family | {process.pid for process in processes}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in processes:
                process.wait(10)

    def _log_in(self, address: str) -> Api:
        deadline = time.monotonic() + 90
        while True:
            try:
                return Api(address, "admin", "admin")
            except (OSError, KeyError):
                assert time.monotonic() < deadline, (self.home / "api-server.log").read_text()[-3000:]
                time.sleep(0.5)

"""The long-running components of an Airflow, on the loopback address: of one machine, or of a cluster on one."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from dkist_processing_core.common.programs import end, send_signal
from support.api import Api
from support.command_line import start_command
from support.waiting import wait_until

USER = "admin"
START_SECONDS = 300.0
STOP_SECONDS = 30.0
# Of Airflow on one machine; the key is the name of a component, the value what follows ``airflow``.
COMMANDS = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "api-server": ["api-server"],
}


class ComponentError(Exception):
    """A component of Airflow has ended, or does not answer."""


class Components:
    """
    The components of an Airflow, from entering this context manager until it is left.

    Parameters
    ----------
    environment
        The environment variables of all components; they say where the database is.
    folder
        Gets the logs, and the file with the password.
    port
        Where the API and the web pages are, on 127.0.0.1.
    password
        Of the user ``admin``.
    of_component
        More environment variables for single components, by name.
    commands
        The arguments of ``airflow`` for each component, by name; scheduler, DAG processor, triggerer and API server of
        one machine by default.
    pythons
        The Python of single components, by name, if it is not the one of this process. Its programs are found first.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        port: int,
        *,
        password: str,
        of_component: Mapping[str, Mapping[str, str]] | None = None,
        commands: Mapping[str, Sequence[str]] = COMMANDS,
        pythons: Mapping[str, Path] | None = None,
    ) -> None:
        self.address, self.password, self.folder = f"http://127.0.0.1:{port}", password, folder
        self.commands = commands
        self._passwords = folder / "passwords.json"
        self._environment = {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            # Otherwise a task fails at its start if the API server is away for 15 s or too busy for 30 s.
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "9",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "8",
        } | dict(environment)
        self._of_component = of_component or {}
        self._pythons = pythons or {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._passwords.unlink(missing_ok=True)
        self._passwords.touch(mode=0o600)
        self._passwords.write_text(json.dumps({USER: self.password}), encoding="utf-8")
        for name in self.commands:
            self._log(name).unlink(missing_ok=True)
        try:
            for name in self.commands:
                self.start(name)
            self.wait_until_healthy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(*self._processes.values())

    def start(self, name: str) -> None:
        """Start a component; what it prints is added to its log."""
        with self._log(name).open("ab") as log:
            command = [self.python(name), "-m", "airflow", *self.commands[name]]
            options = {"cwd": self.folder, "stdout": log, "stderr": subprocess.STDOUT}
            self._processes[name] = start_command(*command, env=self.variables(name), **options)

    def python(self, name: str) -> Path:
        """Return the Python of a component."""
        return self._pythons.get(name, Path(sys.executable))

    def variables(self, name: str) -> dict[str, str]:
        """Return the environment variables of a component."""
        found = {**self._environment, **self._of_component.get(name, {})}
        if name in self._pythons:
            found["PATH"] = f"{self.python(name).parent}{os.pathsep}{found['PATH']}"
        return found

    def wait_until_healthy(self) -> None:
        """
        Wait until scheduler, DAG processor and API server work.

        Raises
        ------
        ComponentError
            If a component has ended, or they do not work in time.
        """
        problem = f"Airflow did not answer within {START_SECONDS:.0f} s; its logs are in {self.folder}"
        wait_until(self._is_healthy, problem, seconds=START_SECONDS, interval=0.5, error=ComponentError)

    def stop(self, name: str, seconds: float = STOP_SECONDS) -> None:
        """End a component with SIGTERM to its first process, as systemd does; with all its processes after a while."""
        process = self._processes[name]
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        end(process)

    def kill(self, name: str) -> None:
        """End a component and all that it has started at once, with SIGKILL, as a power cut does."""
        process = self._processes[name]
        send_signal(signal.SIGKILL, process.pid)
        process.wait()

    def pid(self, name: str) -> int:
        """Return the id of the first process of a component."""
        return self._processes[name].pid

    def has_ended(self, name: str) -> bool:
        """Return whether a component has ended."""
        return self._processes[name].poll() is not None

    def log_in(self) -> Api:
        """Return a client of the API."""
        return Api(self.address, USER, self.password)

    def check(self) -> None:
        """
        Do nothing if all components run.

        Raises
        ------
        ComponentError
            If one has ended, with its last lines.
        """
        for name, process in self._processes.items():
            if process.poll() is not None:
                tail = "\n".join(self._log(name).read_text(encoding="utf-8").splitlines()[-15:])
                raise ComponentError(
                    f"Airflow's {name} ended with exit status {process.returncode}. Its last lines:\n{tail}"
                )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _is_healthy(self) -> bool:
        self.check()
        with contextlib.suppress(OSError, ValueError, KeyError):
            _, health = self.log_in().call("GET", "/api/v2/monitor/health")
            return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor"))
        return False

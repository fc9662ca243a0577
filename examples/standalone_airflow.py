"""
The workflows of the example in a real Airflow with its scheduler and web pages, on this machine alone.

``make airflow`` runs it until Ctrl-C. It uses what ``make demo`` makes, in ``.build/demo``, and makes what is missing.
The components are those of ``airflow standalone``, started one by one: so all of them listen on 127.0.0.1 only, and
all of them, with all tasks, are ended when this ends.
"""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo_support.processes import DemoError, end_with_descendants
from demo_support.stage import Stage

USER = "admin"
USUAL_PORT = 8080
START_SECONDS = 120.0
COMPONENTS = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "api-server": ["api-server"],
}


def say(text: str) -> None:
    """Say something at once, also to a file or a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def free_port(wanted: int) -> int:
    """Return the port if nobody listens on it, else one that the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise DemoError("there is no free port on 127.0.0.1")


class Standalone:
    """
    An Airflow of our own.

    Parameters
    ----------
    stage
        The folders that it works in.
    port
        Where its web pages and API are, on 127.0.0.1.
    """

    def __init__(self, stage: Stage, port: int) -> None:
        self.stage = stage
        self.address = f"http://127.0.0.1:{port}"
        self.password = secrets.token_urlsafe(12)
        self._passwords = stage.airflow / "passwords.json"
        self._settings = {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        }
        self._processes: dict[str, subprocess.Popen[str]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all components, wait until Airflow answers, and end them all afterwards."""
        self._passwords.unlink(missing_ok=True)
        self._passwords.touch(mode=0o600)
        self._passwords.write_text(json.dumps({USER: self.password}), encoding="utf-8")
        try:
            for name, arguments in COMPONENTS.items():
                self._start(name, arguments)
            self._wait_until_healthy()
            yield
        finally:
            for process in self._processes.values():
                end_with_descendants(process)

    def _start(self, name: str, arguments: list[str]) -> None:
        with self._log(name).open("w", encoding="utf-8") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env=self.stage.environment() | self._settings,
                cwd=self.stage.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self.stage.logs / f"airflow-{name}.log"

    def check(self) -> None:
        """
        Look whether all components run.

        Raises
        ------
        DemoError
            If one has ended, with its last lines.
        """
        for name, process in self._processes.items():
            if process.poll() is not None:
                tail = "\n".join(self._log(name).read_text(encoding="utf-8").splitlines()[-15:])
                raise DemoError(
                    f"Airflow's {name} ended with exit status {process.returncode}. Its last lines:\n{tail}"
                )

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            try:
                with urllib.request.urlopen(f"{self.address}/api/v2/monitor/health", timeout=5) as answer:
                    health = json.load(answer)
                if all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor")):
                    return
            except (OSError, urllib.error.URLError, ValueError):
                pass
            time.sleep(0.5)
        raise DemoError(f"Airflow did not answer within {START_SECONDS:.0f} s; see {self.stage.logs}")


def serve(stage: Stage, port: int) -> None:
    """Make what is missing, start Airflow, say how it is reached, and let it run until an exception ends it."""
    say("Building the library and the example, exporting the workflows, setting up Airflow ...")
    stage.build_wheels()
    stage.make_author_environment()
    files = stage.export()["files"]
    stage.make_database()
    airflow = Standalone(stage, free_port(port))
    say("Starting Airflow ...")
    with airflow.running():
        say(f"\n  Airflow      {airflow.address}\n  user         {USER}\n  password     {airflow.password}")
        say("  workflows    " + ", ".join(Path(file).stem for file in files))
        say(f"  logs         {os.path.relpath(stage.logs)}")
        say("\nTrigger a workflow with a recipe_run_id, a positive number. Ctrl-C ends Airflow and its tasks.\n")
        while True:
            airflow.check()
            time.sleep(1)


def main() -> int:
    """Run Airflow until told to end, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where everything is kept, .build/demo by default")
    parser.add_argument("--port", type=int, default=USUAL_PORT, help="of the web pages; another if it is not free")
    options = parser.parse_args()

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        stage = Stage(options.folder)
        with stage.alone():
            serve(stage, options.port)
    except DemoError as error:
        say(f"\nWRONG: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nAirflow and everything that it had started has ended.")
        return 0


if __name__ == "__main__":
    sys.exit(main())

"""A real PostgreSQL of our own, on a free port of the loopback address."""

import contextlib
import csv
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dkist_processing_core.common.programs import family, parents
from support.command_line import start_command
from support.ports import free_ports
from support.waiting import PATIENCE_SECONDS, wait_until

DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
# The server refuses to run as root.
SERVER_USER = "postgres"
USER = "airflow"


class UnavailableError(Exception):
    """PostgreSQL is not installed, or does not start."""


def programs() -> Path:
    """
    Find the folder of the server and its tools.

    Raises
    ------
    UnavailableError
        If they are not installed.
    """
    # Debian has none of them on PATH but those of clients.
    found = sorted(DEBIAN_PROGRAMS.glob("*/bin/postgres"), key=lambda each: float(each.parts[-3]))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        raise UnavailableError("postgresql is not installed (make postgresql, or apt-get install postgresql)")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


@dataclass
class PostgreSQL:
    """
    A server that is started, stopped, killed and started again at will.

    Its data are in a temporary folder of their own, since the user that it runs as may not look into those of root.
    """

    programs: Path
    port: int
    data: Path
    configuration: dict[str, str] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def new(cls, **configuration: str) -> "PostgreSQL":
        """Make the data folder of a server; its configuration says what we do not."""
        [port] = free_ports(1)
        server = cls(programs(), port, Path(tempfile.mkdtemp(prefix="dkist-postgresql-")), configuration)
        try:
            server._initialise()
        except BaseException:
            server.close()
            raise
        return server

    def _initialise(self) -> None:
        if os.getuid() == 0:
            try:
                shutil.chown(self.data, SERVER_USER, SERVER_USER)
            except LookupError:
                raise UnavailableError(f"root cannot run PostgreSQL, and there is no user {SERVER_USER}") from None
        password = self.data / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        if os.getuid() == 0:
            shutil.chown(password, SERVER_USER)
        options = ["--encoding=UTF8", "--locale=C.UTF-8", f"--username={USER}", "--auth=scram-sha-256", "--no-sync"]
        self._run("initdb", *options, f"--pwfile={password}", str(self.data / "cluster"))
        password.unlink()

    def url(self, driver: str = "postgresql+psycopg2", database: str = "airflow") -> str:
        """Return the address of a database, as SQLAlchemy reads it."""
        return f"{driver}://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "300",
        } | self.configuration
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.data / "server.log").open("ab") as log:
            command = [self.programs / "postgres", "-D", self.data / "cluster", *options]
            self.process = start_command(*command, stdout=log, stderr=log, **self._as_server_user())
        wait_until(self._answers, self._last_lines, interval=0.1, error=UnavailableError)

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise UnavailableError(self._last_lines())
        asked = subprocess.run(
            [self.programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}", "--dbname=postgres"],
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return asked.returncode == 0

    def _last_lines(self) -> str:
        return f"PostgreSQL does not run:\n{(self.data / 'server.log').read_text()[-2000:]}"

    def create_database(self, name: str = "airflow") -> None:
        """Create an empty database."""
        self.query(f'CREATE DATABASE "{name}"', database="postgres")

    def query(self, statement: str, database: str = "airflow") -> list[list[str]]:
        """Run one statement and return the rows of its result, each value as text."""
        done = self._run(
            "psql", "--no-psqlrc", "--csv", "--tuples-only", *self._place(database), f"--command={statement}"
        )
        return list(csv.reader(done.splitlines()))

    def back_up(self, file: Path, database: str = "airflow") -> None:
        """Write a database to a file."""
        file.write_text(self._run("pg_dump", *self._place(database)))

    def restore(self, file: Path, database: str) -> None:
        """Create a database of what `back_up` has written."""
        self.create_database(database)
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        self._run("psql", *options, *self._place(database), text=file.read_text())

    def _place(self, database: str) -> list[str]:
        return ["--host=127.0.0.1", f"--port={self.port}", f"--username={USER}", f"--dbname={database}"]

    def stop(self) -> None:
        """End the server in an orderly way, at once for its clients; what was committed stays."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server and all its processes, as a crash does; what was committed stays."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        members = family(self.process.pid)
        for each in members if number == signal.SIGKILL else [self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # They hold its shared memory, and end by themselves once they see that it is gone.
        wait_until(lambda: not members & parents().keys(), "processes of PostgreSQL outlive it")
        self.process = None

    @contextlib.contextmanager
    def running(self) -> Iterator["PostgreSQL"]:
        """Start the server with an empty database ``airflow``; at the end stop it and remove its data."""
        try:
            self.start()
            self.create_database()
            yield self
        finally:
            self.close()

    def close(self) -> None:
        """Stop the server and remove its data."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.data, ignore_errors=True)

    def _run(self, program: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [self.programs / program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGPASSWORD": self.password},
            **self._as_server_user(),
        )
        if done.returncode:
            raise UnavailableError(f"{program} ended with exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _as_server_user(self) -> dict[str, object]:
        if os.getuid() != 0:
            return {"cwd": self.data}
        group = pwd.getpwnam(SERVER_USER).pw_gid
        return {"cwd": self.data, "user": SERVER_USER, "group": group, "extra_groups": []}

"""A worker that is set up as it must be, with real servers, for the checks of ``doctor``."""

import base64
import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dkist_processing_core.doctor import airflow
from dkist_processing_core.doctor.checks import CHECKS
from dkist_processing_core.doctor.examination import examine
from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import Finding, Report
from support.apm import SERVICE
from support.http_server import Request, Response, files_in, http_server
from support.mesh import BUS, mesh_config
from support.wheels import make_wheel

# Not below a folder that is emptied at a restart, which is a warning.
PERSISTENT = "/var/tmp"


@dataclass
class Site:
    """A package index, Airflow's API server and an APM server, at one port; what they do can be changed."""

    folder: Path
    port: int = 0
    credentials: str = ""  # of the index
    seconds_ahead: float = 0.0
    asked: list[str] = field(default_factory=list)

    @property
    def index(self) -> str:
        """Address of the package index."""
        return f"http://127.0.0.1:{self.port}/simple"

    @property
    def api(self) -> str:
        """Address that tasks report to."""
        return f"http://127.0.0.1:{self.port}/execution/"

    def answer(self, request: Request) -> Response:
        """Answer as each of the servers."""
        return replace(self._answer(request), seconds_ahead=self.seconds_ahead)

    def _answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        if not request.path.startswith("/simple"):
            return Response(200, b"{}", "application/json")
        expected = f"Basic {base64.b64encode(self.credentials.encode()).decode()}"
        if self.credentials and request.headers.get("Authorization") != expected:
            return Response(401)
        return files_in(self.folder)(request)


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Serve an index with a wheel of the name of this library."""
    pages = folder / "simple" / "dkist-processing-core"
    wheel = make_wheel(pages, "dkist_processing_core", "8.0.0")
    (pages / "index.html").write_text(f'<html><body><a href="{wheel.name}">{wheel.name}</a></body></html>')
    made = Site(folder)
    with http_server(made.answer) as made.port:
        yield made


@contextlib.contextmanager
def persistent_folder() -> Iterator[Path]:
    """Make a folder that outlasts a restart, until the ``with`` statement ends."""
    folder = Path(tempfile.mkdtemp(prefix="dkist-test-doctor-", dir=PERSISTENT))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sound_variables(place: Path, servers: Site, broker_port: int) -> dict[str, str]:
    """Return the environment variables of a worker that is set up as it must be."""
    return {
        "DKIST_ENVIRONMENT_CACHE": str(place / "environments"),
        "DKIST_ENVIRONMENT_MAX_SIZE": "1G",
        "DKIST_ISB_SPOOL": str(place / "spool"),
        "MESH_CONFIG": mesh_config({BUS: broker_port, SERVICE: servers.port}),
        "ELASTIC_APM_ENABLED": "true",
        "PIP_INDEX_URL": servers.index,
        "PIP_CONFIG_FILE": os.devnull,
        "UV_CACHE_DIR": str(place / "uv"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": servers.api,
    }


_ask = airflow._ask


@functools.cache
def _asked(function: str, remedy: str, _variables: frozenset[tuple[str, str]]) -> dict:
    return _ask(function, remedy)


def ask_once(function: str, remedy: str) -> dict:
    """
    Ask the real Airflow once for each of its configurations, since it takes seconds to start.

    Its pools depend on its database alone, and are asked for anew where a test changes them (`ask_for_pools`).
    """
    of = ("AIRFLOW_HOME", "AIRFLOW__DATABASE") if function == "pools" else "AIRFLOW"
    return dict(_asked(function, remedy, frozenset(each for each in os.environ.items() if each[0].startswith(of))))


def ask_for_pools(function: str, remedy: str) -> dict:
    """Ask the real Airflow, which may have other pools than before."""
    return _ask(function, remedy) if function == "pools" else ask_once(function, remedy)


def examined(place: str = "worker", dags: Path | None = None) -> Report:
    """Make all checks, with the environment variables of this process."""
    return examine(Machine(Place(place), dags), CHECKS)


def checked(name: str, place: str = "worker") -> Finding:
    """Make one check alone, which needs nothing of the others."""
    [check] = [replace(each, after=()) for each in CHECKS if each.name == name]
    found = line(examine(Machine(Place(place)), [check]), name)
    return Finding(found.status, found.found, found.remedy)


def red(report: Report) -> list[str]:
    """Return the names of the checks that have failed."""
    return [line.check for line in report.lines if line.status == "failed"]


def statuses(report: Report) -> dict[str, str]:
    """Return the status of each check."""
    return {line.check: str(line.status) for line in report.lines}


def line(report: Report, check: str):
    """Return the line of a check."""
    [found] = [each for each in report.lines if each.check == check]
    return found

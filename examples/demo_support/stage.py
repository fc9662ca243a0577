"""
The files of the demo, and how they are made: a package index, two environments, Airflow's database.

They are in ``.build/demo`` and stay there for the next run, which makes only those again that are older than the
sources or Airflow.
"""

import fcntl
import hashlib
import json
import shlex
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from demo_support import processes
from demo_support.processes import DemoError
from dkist_processing_core.validation.airflow import Airflow
from dkist_processing_core.worker import collector

__all__ = ["Kept", "Stage"]

ROOT = Path(__file__).resolve().parents[2]
HELPERS = Path(__file__).resolve().parent
INSTRUMENT = ROOT / "examples" / "instrument"
# Any fixed time serves: it makes the bytes of a wheel depend on the sources alone. This is the first that a zip file
# can hold, 1 January 1980.
SOURCE_DATE_EPOCH = "315532800"
POOLS = {
    "high_memory_pool": "Tasks that need much memory",
    "multi_core_pool": "Tasks that use several processors",
    "gpu_pool": "Tasks that use a graphics processor",
}


@dataclass(frozen=True)
class Kept:
    """Something that is kept between runs: its name, how long it took to make, and whether this run made it."""

    name: str
    seconds: float
    is_new: bool


class Stage:
    """
    The folders of the demo, and the programs that fill them.

    Parameters
    ----------
    folder
        Where everything is kept; ``.build/demo`` in the checkout by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or ROOT / ".build" / "demo"
        self.author = self.folder / "author"
        self.airflow = self.folder / "airflow"
        self.dags = self.folder / "dags"
        self.environments = self.folder / "environments"
        self.products = self.folder / "products"
        self.spool = self.folder / "spool"
        self.logs = self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._records = self.folder / "kept.json"
        project = tomllib.loads((INSTRUMENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        self.distribution = str(project["name"])
        self.version = str(project["version"])
        self._frozen = list(project["optional-dependencies"]["frozen"])
        self.index = self.folder  # until the wheels are built
        self.kept: list[Kept] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """
        Keep other programs from changing the folder at the same time.

        Raises
        ------
        DemoError
            If another program is already using the folder.
        """
        with (self.folder / "lock").open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DemoError(
                    f"Another demo or Airflow is running in {self.folder}. Wait for it to end, or end it."
                ) from None
            yield

    def dag_id(self, workflow: str) -> str:
        """Return Airflow's id of a workflow."""
        return f"{workflow}_{self.version}"

    # ---- programs ----------------------------------------------------------------------------------------------------
    def environment(self) -> dict[str, str]:
        """
        Return the environment variables of every program that the demo starts.

        Variables for another Airflow, or of another virtual environment, are left out.
        """
        airflow = Airflow(self.airflow, self.dags)
        kept = {
            name: value
            for name, value in airflow.environment.items()
            if not name.startswith("PYTHON") and name not in {"VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT"}
        }
        ours = {
            "AIRFLOW__LOGGING__JSON_LOGS": "True",
            "BUILD_VERSION": self.version,
            "DKIST_ENVIRONMENT_CACHE": str(self.environments),
            "DKIST_EXAMPLE_SCRATCH": str(self.products),
            "DKIST_ISB_SPOOL": str(self.spool),
            "PYTHONUNBUFFERED": "1",
            "UV_NO_PROGRESS": "1",
        }
        if self.index != self.folder:
            # As an address, so that neither a space nor a comma in the path separates what belongs together.
            address = self.index.as_uri()
            theirs = kept.get("PIP_FIND_LINKS", "").split()
            ours["PIP_FIND_LINKS"] = " ".join([*theirs, address])
            ours["UV_FIND_LINKS"] = ",".join([kept.get("UV_FIND_LINKS") or ",".join(theirs), address]).strip(",")
        return kept | ours

    def run(self, log: str, *command: str | Path, on_line: Callable[[str], str | None] | None = None) -> str:
        """Run a program as `processes.run` does, with its log in the file of that name."""
        return processes.run(
            command,
            environment=self.environment() | {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH},
            folder=self.folder,
            log=self.logs / f"{log}.log",
            on_line=on_line,
        )

    def run_helper(self, name: str, *arguments: str | Path, on_line: Callable[[str], str | None] | None = None) -> str:
        """Run one of the programs beside this file on the Python that has Airflow."""
        script = HELPERS / f"{name}.py"
        return self.run(name.replace("_", "-"), sys.executable, "-P", script, *arguments, on_line=on_line)

    def run_airflow(self, log: str, *arguments: str | Path) -> None:
        """Run Airflow's own command line."""
        self.run(log, sys.executable, "-m", "airflow", *arguments)

    # ---- what is kept ------------------------------------------------------------------------------------------------
    def keep(self, name: str, key: str, place: Path, make: Callable[[], None]) -> Kept:
        """
        Make something, unless an earlier run has made it.

        Parameters
        ----------
        name
            What it is.
        key
            What it is made from; if that has changed it is made again.
        place
            Its file or folder, which is removed before it is made again.
        make
            Makes it.
        """
        record = self._read_records().get(name, {})
        is_new = record.get("key") != key or not place.exists()
        seconds = float(record.get("seconds", 0.0))
        if is_new:
            shutil.rmtree(place, ignore_errors=True)
            started = time.monotonic()
            make()
            seconds = time.monotonic() - started
            self.record(name, key, seconds)
        self.kept.append(Kept(name, seconds, is_new))
        return self.kept[-1]

    def record(self, name: str, key: str, seconds: float) -> None:
        """Note what something was made from, and how long that took."""
        records = self._read_records() | {name: {"key": key, "seconds": round(seconds, 1)}}
        unfinished = self._records.with_suffix(".part")
        unfinished.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(self._records)

    def recorded_seconds(self, name: str, key: str) -> float | None:
        """Return how long it took to make something from that, None if it never was."""
        record = self._read_records().get(name, {})
        return float(record["seconds"]) if record.get("key") == key else None

    def _read_records(self) -> dict[str, dict[str, Any]]:
        try:
            return dict(json.loads(self._records.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    # ---- what is made ------------------------------------------------------------------------------------------------
    def build_wheels(self) -> bool:
        """
        Build the library and the example, and put the wheels where `index` then points. Return whether they are new.

        The name of the folder is made from what the wheels contain. So a changed library has another address, and the
        task environments that were built from the old one are not taken for new ones.
        """
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".wheels-") as temporary:
            wheels = Path(temporary) / "wheels"
            for log, source in (("build-library", ROOT), ("build-example", INSTRUMENT)):
                self.run(log, "uv", "build", "--wheel", "--no-create-gitignore", "--out-dir", wheels, source)
            digest = hashlib.sha256()
            for wheel in sorted(wheels.glob("*.whl")):
                digest.update(wheel.name.encode() + b"\0" + hashlib.sha256(wheel.read_bytes()).digest())
            index = self.folder / f"index-{digest.hexdigest()[:16]}"
            is_new = not index.exists()
            if is_new:
                wheels.rename(index)
        self.index = index
        self._check_that_the_library_is_frozen()
        return is_new

    def _check_that_the_library_is_frozen(self) -> None:
        """Raise a clear error if the example pins another version of the library than that of this checkout."""
        (wheel,) = self.index.glob("dkist_processing_core-*.whl")
        pin = f"dkist-processing-core=={wheel.name.split('-')[1]}"
        if pin not in self._frozen:
            freeze = ["dkist-processing-core", "freeze", str(INSTRUMENT), "--find-links", str(self.index)]
            freeze += ["--upgrade-package", "dkist-processing-core"]
            raise DemoError(
                f'The extra "frozen" in {INSTRUMENT / "pyproject.toml"}\n'
                f"does not pin {pin}, which is the library at hand. Freeze it again:\n  {shlex.join(freeze)}"
            )

    def make_author_environment(self) -> Kept:
        """Install the example with its frozen dependencies, as the pipeline of a team does."""
        python = self.author / "bin" / "python"

        def make() -> None:
            self.run("author-create", "uv", "venv", "--quiet", "--no-project", "--python", sys.executable, self.author)
            requirement = f"{self.distribution}[frozen]=={self.version}"
            self.run("author-install", "uv", "pip", "install", "--python", python, requirement)

        key = f"{self.index} {sys.executable} {sys.version}"
        return self.keep("the author's environment", key, self.author, make)

    def export(self) -> dict[str, Any]:
        """Check the workflows and write their DAG files, without Airflow; return what `export_dags` reports."""
        shutil.rmtree(self.dags, ignore_errors=True)  # what an earlier state of the sources has exported
        said = self.run("export", self.author / "bin" / "python", "-I", HELPERS / "export_dags.py", self.dags)
        return dict(json.loads(said.splitlines()[-1]))  # above it are warnings, if there are any

    def make_database(self) -> Kept:
        """Set Airflow up: its database and its pools. A task whose pool is missing stays in the state scheduled."""

        def make() -> None:
            self.airflow.mkdir(parents=True)
            self.run_airflow("airflow-db-migrate", "db", "migrate")
            pools = {name: {"slots": 1, "description": text} for name, text in POOLS.items()}
            file = self.airflow / "pools.json"
            file.write_text(json.dumps(pools, indent=2) + "\n", encoding="utf-8")
            self.run_airflow("airflow-pools-import", "pools", "import", file)

        key = f"apache-airflow {self.airflow_version} {sys.version} {self.airflow} {sorted(POOLS)}"
        return self.keep("Airflow's database and pools", key, self.airflow, make)

    @property
    def airflow_version(self) -> str:
        """The version of Airflow that is installed."""
        return version("apache-airflow")

    def tidy(self, environments: set[str]) -> int:
        """Remove the indexes and task environments that this run did not use; return how many."""
        outdated = [folder for folder in self.folder.glob("index-*") if folder != self.index]
        for folder in outdated:
            shutil.rmtree(folder, ignore_errors=True)
        unused = [each for each in collector.environments(self.environments) if str(each.path) not in environments]
        return len(outdated) + sum(map(collector.remove, unused))

"""A release of a small package, with its workflows in a real Airflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.api import Api
from support.real_airflow import Airflow
from support.releases import EXPORT, export_workflows, make_index, with_links, write_package


@dataclass(frozen=True)
class Deployment:
    """
    An Airflow with the exported workflows of a package.

    Attributes
    ----------
    airflow
        The Airflow.
    sources
        The folder from which the package is imported.
    worker
        The environment variables with which a worker installs and runs the release.
    """

    airflow: Airflow
    sources: Path
    worker: dict[str, str]

    @classmethod
    def new(
        cls,
        airflow: Airflow,
        folder: Path,
        core_wheel: Path,
        files: dict[str, str],
        *,
        name: str,
        module: str = "workflows",
        export: str = EXPORT,
    ) -> "Deployment":
        """Write a package, build its wheel, and export the workflows of a module into Airflow's folder."""
        project = write_package(folder, files, name=name)
        sources, index = project / "src", make_index(folder / "index", core_wheel, project)
        package = f"{name.replace('-', '_')}.{module}"
        export_workflows(package, airflow.dags, sources=sources, program=export)
        folders = {"DKIST_ENVIRONMENT_CACHE": "environments", "DKIST_ISB_SPOOL": "spool", "FACTS": "facts"}
        worker = {name: str(airflow.home / place) for name, place in folders.items()}
        return cls(airflow, sources, {**with_links(index), **worker})

    @property
    def facts(self) -> Path:
        """The file into which a task writes what the test wants to know of it."""
        return Path(self.worker["FACTS"])

    def run(self, dag_id: str, conf: dict[str, object], **environment: str) -> dict:
        """Run a DAG to its end; return its state and the ones of its tasks, and as ``output`` what was printed."""
        return self.airflow.run_dag(dag_id, conf, environment={**self.worker, **environment})

    @contextmanager
    def serving(
        self, dag_id: str, *, of_component: dict[str, dict[str, str]] | None = None, **environment: str
    ) -> Iterator[Api]:
        """Run the components of Airflow; yield a client of the API once a DAG is loaded."""
        with self.airflow.serving({**self.worker, **environment}, of_component) as api:
            api.wait_for_dag(dag_id)
            yield api

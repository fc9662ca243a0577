"""
The environment variables that say which task to run, checked.

Runs in: worker. These variables are part of the ABI: exported DAGs set them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dkist_processing_core.worker.errors import INVALID_RECIPE_RUN_ID, MISCONFIGURED, WorkerError

__all__ = ["Request"]

REQUIRED = ("DKIST_TASK", "DKIST_REQUIREMENT", "DKIST_WORKFLOW_NAME", "DKIST_WORKFLOW_VERSION")
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\[([A-Za-z0-9._,-]*)\]==([A-Za-z0-9._!+-]+)")
DEV = "dev"
DEFAULT_GRACE_SECONDS = "10"
DEFAULT_BUILD_WAIT_SECONDS = "3600"


@dataclass(frozen=True, kw_only=True)
class Request:
    """
    One task to run.

    Attributes
    ----------
    task
        Where the task class is, as ``module:Class``.
    requirement
        What its environment is built from, ``name[extras]==version``.
    name, extras, version
        The parts of the requirement, normalized (:pep:`503`).
    constraints
        Constraints of the workflow, one requirement a line; empty for none.
    workflow_name, workflow_version, recipe_run_id
        The workflow, and the recipe run that it processes.
    dev_project
        Checkout that the version ``dev`` is installed from; None for a release.
    python
        Interpreter that builds the environment (``DKIST_PYTHON``); empty for the one that runs this program.
    grace_seconds
        How long the task may take to end when it is asked to.
    build_wait_seconds
        How long to wait for another task that builds the same environment.
    is_run_by_airflow
        Whether Airflow has started this program, which must not outlive it.
    """

    task: str
    requirement: str
    name: str
    extras: tuple[str, ...]
    version: str
    constraints: str
    workflow_name: str
    workflow_version: str
    recipe_run_id: str
    dev_project: Path | None
    python: str
    grace_seconds: int
    build_wait_seconds: int
    is_run_by_airflow: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Request":
        """
        Return what environment variables ask for.

        Raises
        ------
        WorkerError
            If a variable is missing or cannot be used.
        """
        for variable in REQUIRED:
            if not environment.get(variable):
                raise WorkerError(
                    MISCONFIGURED, f"{variable} is not set. The exported DAG sets it, and so does Node.bash_script."
                )
        requirement = environment["DKIST_REQUIREMENT"]
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise WorkerError(
                MISCONFIGURED, f"DKIST_REQUIREMENT is {requirement!r}; it must read name[extra,...]==version."
            )
        return cls(
            task=environment["DKIST_TASK"],
            requirement=requirement,
            name=_normalized(match[1]),
            extras=tuple(sorted({_normalized(extra) for extra in match[2].split(",") if extra})),
            version=match[3],
            constraints=environment.get("DKIST_CONSTRAINTS", ""),
            workflow_name=environment["DKIST_WORKFLOW_NAME"],
            workflow_version=environment["DKIST_WORKFLOW_VERSION"],
            recipe_run_id=_recipe_run_id(environment.get("DKIST_RECIPE_RUN_ID", "")),
            dev_project=_dev_project(environment.get("DKIST_DEV_PROJECT", "")) if match[3] == DEV else None,
            python=environment.get("DKIST_PYTHON", ""),
            grace_seconds=_seconds("DKIST_GRACE_SECONDS", environment, DEFAULT_GRACE_SECONDS),
            build_wait_seconds=_seconds("DKIST_BUILD_WAIT_SECONDS", environment, DEFAULT_BUILD_WAIT_SECONDS),
            is_run_by_airflow=bool(environment.get("AIRFLOW_CTX_DAG_ID")),
        )


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _recipe_run_id(text: str) -> str:
    if not (text.isascii() and text.isdecimal()):
        raise WorkerError(
            INVALID_RECIPE_RUN_ID,
            f"recipe_run_id must be an integer, not {text!r}. Trigger the run with conf "
            '{"recipe_run_id": <integer>}, or set DKIST_RECIPE_RUN_ID=<integer> when you run this by hand.',
        )
    return text


def _seconds(variable: str, environment: Mapping[str, str], default: str) -> int:
    text = environment.get(variable) or default
    if not (text.isascii() and text.isdecimal()):
        raise WorkerError(MISCONFIGURED, f"{variable} is {text!r}; it must be a whole number of seconds.")
    return int(text)


def _dev_project(text: str) -> Path:
    project = Path(text)
    if not text or not (project / "pyproject.toml").is_file():
        raise WorkerError(
            MISCONFIGURED,
            f"the version {DEV} is not a release that can be installed, and DKIST_DEV_PROJECT is {text!r}. "
            "Set DKIST_DEV_PROJECT to a checkout of the package, the folder with its pyproject.toml.",
        )
    return project.resolve()

"""
Read and check the environment variables that say which task to run, and in which environment.

Runs in: worker. These variables are part of the ABI: exported DAGs set them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dkist_processing_core.worker.checkout import find_checkout, normalized
from dkist_processing_core.worker.errors import INVALID_RECIPE_RUN_ID, MISCONFIGURED, WorkerError

__all__ = ["REQUIREMENT", "EnvironmentRequest", "Request", "build_wait_seconds", "grace_seconds"]

REQUIRED = ("DKIST_TASK", "DKIST_REQUIREMENT", "DKIST_WORKFLOW_NAME", "DKIST_WORKFLOW_VERSION")
# Airflow and the services that receive the id store it as a signed 64-bit integer.
LARGEST_RECIPE_RUN_ID = 2**63 - 1
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\[([A-Za-z0-9._,-]*)\]==([A-Za-z0-9._!+-]+)")
DEV = "dev"


class EnvironmentRequest(NamedTuple):
    """
    The environment of one release.

    ``name``, ``extras`` and ``version`` are the parts of ``requirement``, normalized (:pep:`503`). ``constraints`` has
    one requirement per line, with hashes if it is a lock. The version ``dev`` is installed from the checkout
    ``dev_project``, which is None for a release. ``requires_python`` is a version specifier (:pep:`440`).
    ``build_wait_seconds`` limits the wait for another process that builds the environment.
    """

    requirement: str
    name: str
    extras: tuple[str, ...]
    version: str
    constraints: str
    requires_python: str
    dev_project: Path | None
    build_wait_seconds: int

    @property
    def is_locked(self) -> bool:
        """Whether the constraints are a lock, which lists everything that is installed besides the release."""
        return " --hash=" in self.constraints

    @property
    def locked(self) -> list[str]:
        """The locked requirements, with hashes; without that of the release if it is a checkout."""
        lines = self.constraints.splitlines()
        return [each for each in lines if not (self.dev_project and normalized(each.partition("==")[0]) == self.name)]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "EnvironmentRequest":
        """Read the request from environment variables; raise a `WorkerError` if one is missing or invalid."""
        requirement = environment.get("DKIST_REQUIREMENT", "")
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise _misconfigured(f"DKIST_REQUIREMENT is {requirement!r}; it must read name[extra,...]==version.")
        name = normalized(match[1])
        return cls(
            requirement=requirement,
            name=name,
            extras=tuple(sorted({normalized(extra) for extra in match[2].split(",") if extra})),
            version=match[3],
            constraints=environment.get("DKIST_CONSTRAINTS", ""),
            requires_python=environment.get("DKIST_REQUIRES_PYTHON", ""),
            dev_project=find_checkout(environment.get("DKIST_DEV_PROJECT", ""), name) if match[3] == DEV else None,
            build_wait_seconds=build_wait_seconds(environment),
        )


class Request(NamedTuple):
    """One task to run."""

    task: str
    environment: EnvironmentRequest
    workflow_name: str
    workflow_version: str
    recipe_run_id: str
    grace_seconds: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Request":
        """Read the request from environment variables; raise a `WorkerError` if one is missing or invalid."""
        for variable in REQUIRED:
            if not environment.get(variable):
                raise _misconfigured(f"{variable} is not set. The exported DAG sets it, and so does Node.bash_script.")
        run = environment.get("DKIST_RECIPE_RUN_ID", "")
        if not _is_number(run) or not 0 < int(run[:20]) <= LARGEST_RECIPE_RUN_ID:
            raise WorkerError(
                INVALID_RECIPE_RUN_ID,
                f"recipe_run_id must be an integer, not {run[:80]!r}. Trigger the run with conf "
                '{"recipe_run_id": <integer>}, or set DKIST_RECIPE_RUN_ID=<integer> when you run this by hand.',
            )
        return cls(
            task=environment["DKIST_TASK"],
            environment=EnvironmentRequest.from_environment(environment),
            workflow_name=environment["DKIST_WORKFLOW_NAME"],
            workflow_version=environment["DKIST_WORKFLOW_VERSION"],
            recipe_run_id=run,
            grace_seconds=grace_seconds(environment),
        )


def grace_seconds(environment: Mapping[str, str]) -> int:
    """Return how long a task may take to end after SIGTERM; raise a `WorkerError` if the setting is not a number."""
    return _seconds("DKIST_GRACE_SECONDS", environment.get("DKIST_GRACE_SECONDS") or "10")


def build_wait_seconds(environment: Mapping[str, str]) -> int:
    """Return how long to wait for another build of the environment; raise a `WorkerError` if that is not a number."""
    return _seconds("DKIST_BUILD_WAIT_SECONDS", environment.get("DKIST_BUILD_WAIT_SECONDS") or "3600")


def _misconfigured(message: str) -> WorkerError:
    return WorkerError(MISCONFIGURED, message)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _seconds(variable: str, text: str) -> int:
    if not _is_number(text):
        raise _misconfigured(f"{variable} is {text!r}; it must be a whole number of seconds.")
    return int(text)

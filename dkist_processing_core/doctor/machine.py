"""
The machine that is examined, and results of one check that another one needs.

Runs in: worker, the machine of the DAG processor, CI.
"""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from dkist_processing_core.common.clean_room import cleaned
from dkist_processing_core.worker.interpreter import Interpreter, find_interpreter

__all__ = ["Machine", "Place"]


class Place(StrEnum):
    """The purpose of a machine."""

    WORKER = "worker"
    DAG_PROCESSOR = "dag-processor"
    CI = "ci"


@dataclass
class Machine:
    """
    A machine, examined by a process with the environment variables of the worker or the DAG processor.

    A check may use what the checks that it depends on have stored here.
    """

    place: Place
    dags: Path | None = None  # folder of the DAG files; None for the one that Airflow is configured with
    airflow: dict[str, Any] = field(default_factory=dict)  # version and configuration of Airflow
    pools: list[str] = field(default_factory=list)  # names of Airflow's pools

    @cached_property
    def variables(self) -> dict[str, str]:
        """The environment variables that the worker program passes to each program that it starts."""
        return cleaned(os.environ)

    @cached_property
    def interpreter(self) -> Interpreter:
        """The Python of task environments. It raises a `WorkerError` if there is none."""
        return find_interpreter(self.variables.get("DKIST_PYTHON", ""), self.variables.get("PATH"))

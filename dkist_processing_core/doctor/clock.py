"""
Compare the clock of this machine with those of the servers that it uses.

Runs in: worker, the machine of the DAG processor, CI.
"""

from contextlib import suppress

from dkist_processing_core.doctor import answers, telemetry
from dkist_processing_core.doctor.airflow import api_server
from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.worker.description import address
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.pip_settings import installer_variables

__all__ = ["check_clock"]

WARNING, WRONG = 5.0, 60.0
SECONDS = 2.5  # per server, so that all three fit into the time limit
REMEDY = "timedatectl set-ntp true, here and on that server; chronyc makestep corrects a large offset at once"


def check_clock(machine: Machine) -> Finding:
    """Compare the clock with the time of the first server that sends it: API server, index or telemetry server."""
    for url in _servers(machine):
        with suppress(OSError):
            answer = answers.get(url, seconds=SECONDS)
            if answer.date is not None:
                return _compare(answer.at - answer.date.timestamp(), address(url))
    return Finding.not_checked("no server that is reached by HTTP sent the time")


def _compare(offset: float, server: str) -> Finding:
    # The time in a response is in whole seconds.
    found = f"{abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} {server}"
    if abs(offset) > WRONG:
        raise CheckError(found, REMEDY)
    return Finding.warning(found, REMEDY) if abs(offset) > WARNING else Finding.ok(found)


def _servers(machine: Machine) -> list[str]:
    found = [api_server(machine)]
    if machine.place is not Place.DAG_PROCESSOR:
        with suppress(WorkerError):
            variables = installer_variables(machine.variables, machine.interpreter.prefix)
            found.append(variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL") or "")
    with suppress(ValueError):  # invalid settings have a line of their own
        found += telemetry.addresses()
    return [each for each in found if each.startswith(("http://", "https://"))][:3]

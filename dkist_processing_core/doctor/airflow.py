"""
Airflow: its version, its database, the pools that the DAG files need, and the server that tasks report to.

Runs in: worker, the machine of the DAG processor, CI.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dkist_processing_core.authoring.airflow import is_airflow_installed
from dkist_processing_core.common import atomic
from dkist_processing_core.doctor import answers
from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.export.manifest import MANIFEST, POOLS, is_manifest, read_entries
from dkist_processing_core.resource_queue import ResourceQueue
from dkist_processing_core.validation.airflow import AirflowUnusableError, ConfiguredAirflow

__all__ = ["SECONDS", "SUPPORTED", "api_server", "check_airflow", "check_api_server", "check_database", "check_pools"]

SECONDS = 60.0  # importing Airflow takes seconds, and longer on a busy machine
SUPPORTED = ">=2.10.5,<4"
INSTALL = f"{sys.executable} -m pip install 'dkist-processing-core[airflow]'"
MIGRATE = "airflow db migrate"
EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")  # how the last part of a traceback begins


def check_airflow(machine: Machine) -> Finding:
    """Check that this Python has a supported Airflow, and that its configuration works."""
    from packaging.specifiers import SpecifierSet

    if not is_airflow_installed():
        found = f"Airflow is not installed in {sys.executable}"
        if machine.place is Place.CI:
            return Finding.warning(f"{found}, so it does not load the exported files", INSTALL)
        raise CheckError(found, f"{INSTALL}; or run this with the Python that runs Airflow")
    machine.airflow = _ask("options", "Correct Airflow's configuration until this works: airflow config list")
    version = machine.airflow["version"]
    if not SpecifierSet(SUPPORTED).contains(version, prereleases=True):
        raise CheckError(f"Airflow {version} is installed, but only {SUPPORTED} is supported", INSTALL)
    return Finding.ok(f"{version}, {machine.airflow['[core] executor']}")


def check_database(machine: Machine) -> Finding:
    """Check that Airflow's database answers, and has Airflow's tables."""
    answer = _ask("pools", "Check [database] sql_alchemy_conn, and the server that it names: airflow db check")
    if error := answer.get("error"):
        raise CheckError(error, f"Check [database] sql_alchemy_conn and its server: airflow db check; then: {MIGRATE}")
    machine.pools = answer["pools"]
    return Finding.ok(f"it answers and has {len(machine.pools)} pools")


def check_pools(machine: Machine) -> Finding:
    """Check that Airflow has each pool that the manifest of the DAG files and ``pools.json`` name."""
    folder = machine.dags or Path(machine.airflow["[core] dags_folder"])
    if not folder.is_dir():
        remedy = "Correct AIRFLOW__CORE__DAGS_FOLDER, or name the folder of the DAG files with --dags"
        raise CheckError(f"{folder}, where Airflow looks for DAG files, is not a folder", remedy)
    for name, is_sound in ((MANIFEST, is_manifest), (POOLS, _is_object)):
        if not is_sound(atomic.read(folder / name) or b""):
            found = f"{folder / name} was not written by an export, so the pools that are needed are unknown"
            return Finding.warning(found, "Export the workflows again (dkist-processing-core export); see also --dags")
    definitions = json.loads(atomic.read(folder / POOLS) or b"{}")
    needed = {pool for entry in read_entries(folder) for pool in entry["pools"]} | definitions.keys()
    if not needed:
        # DAG files without them, such as those of the published line, may still need pools.
        found = f"{folder} contains neither {MANIFEST} nor {POOLS}, so the pools that are needed are unknown"
        remedy = f"Copy {MANIFEST} and {POOLS} of each export to that folder, or name the folder that has them (--dags)"
        return Finding.warning(found, remedy)
    if missing := sorted(needed - set(machine.pools) - {ResourceQueue.DEFAULT.pool}):
        remedy = f"airflow pools import {folder / POOLS}"
        if set(missing) - definitions.keys():
            remedy = "; ".join(f"airflow pools set {each} 128 ''" for each in missing)
        raise CheckError(f"Airflow has no pool {', '.join(missing)}; tasks in it would stay scheduled for ever", remedy)
    return Finding.ok(", ".join(sorted(needed)))


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content or b"{}"), dict)
    except ValueError:
        return False


def check_api_server(machine: Machine) -> Finding:
    """Check that the server to which the tasks of Airflow 3 report answers."""
    if not (url := api_server(machine)):
        return Finding.not_needed("[core] execution_api_server_url is not set")
    remedy = "Start Airflow's API server (airflow api-server), or correct AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
    try:
        answer = answers.get(f"{url.rstrip('/')}/health")
    except OSError as error:
        raise CheckError(f"{url} does not answer: {error}", remedy) from error
    if not answer.is_success:
        raise CheckError(f"{url} answers with status {answer.status}", remedy)
    return Finding.ok(url)


def api_server(machine: Machine) -> str:
    """Return the address that tasks of Airflow 3 report to; empty if none is configured."""
    return str(machine.airflow.get("[core] execution_api_server_url") or "")


def _ask(function: str, remedy: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="dkist-doctor-") as place:
        try:
            answer, _ = ConfiguredAirflow.at(Path(place)).ask(function, seconds=SECONDS - 1)
        except subprocess.TimeoutExpired:
            raise CheckError(f"Airflow did not answer within {SECONDS:.0f} s", remedy) from None
        except AirflowUnusableError as error:
            lines = str(error).strip().splitlines()
            # The message of an exception may have several lines.
            last = max((number for number, line in enumerate(lines) if EXCEPTION.match(line)), default=-1)
            raise CheckError(f"Airflow cannot be run: {' '.join(lines[last:])}", remedy) from error
    return dict(answer)

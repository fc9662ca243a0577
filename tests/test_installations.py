"""
The archives of a release, installed by pip and uv with the lowest and the highest allowed dependencies.

Run by ``make release-check``, which prints a table. An environment that installs must work: a lower bound that is too
low fails here. A Python that is not installed is named in the table, and is no failure.
"""

import json

import pytest

pytest.importorskip("opentelemetry.proto", reason="the extra otel is not installed")

from support.apm import intake
from support.installations import SMOKE, install, lacking, rows, run
from support.matrix.environments import NoPythonError
from support.mesh import mesh_config
from support.otlp import http_collector
from support.ports import free_ports
from support.releases import REPOSITORY, VERSION, run_uv

from dkist_processing_core.validation.airflow import Airflow

pytestmark = [pytest.mark.installations, pytest.mark.network, pytest.mark.timeout(1800)]

GOLDEN = REPOSITORY / "tests" / "golden"
TASK = """
from dkist_processing_core import TaskBase

class Greet(TaskBase):
    def run(self):
        with self.apm_step("greeting"):
            print("hello from", self.recipe_run_id)
"""
PUBLISH = """
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.publisher import PublishError, publish
try:
    publish(Envelope(routing_key="r", queue="q", body="{}", message_id="0" * 32), seconds=2)
except PublishError as error:
    print(error)
"""


@pytest.mark.parametrize("row", rows(), ids=str)
def test_an_installation_works(row, archives, tmp_path):
    """All modules can be imported, a task runs and is traced, and each extra does what it is for."""
    try:
        python = install(row, archives, tmp_path / "installed")
    except NoPythonError as reason:
        pytest.skip(f"optional: {reason}")
    count, lacks = map(int, run(python, "-P", "-W", "ignore", SMOKE, lacking(row)).split())
    assert count > 150
    assert (lacks == 0) == (row.extra == "airflow")
    check_version(row, python)
    check_task(python, tmp_path)
    check_bus(python)
    checks = {"airflow": check_airflow, "build": check_build, "otel": check_otel}
    checks.get(row.extra, lambda *_: None)(python, tmp_path)


def check_version(row, python):
    """The program states the version, or which extra it needs."""
    program = python.parent / "dkist-processing-core"
    if row.extra in {"airflow", "build"}:
        assert run(program, "--version") == f"dkist-processing-core, version {VERSION}\n"
    else:
        assert "pip install 'dkist-processing-core[build]'" in run(program, "--version", status=1)


def run_task(python, folder, **environment):
    (folder / "greeting.py").write_text(TASK)
    command = [python, "-P", "-m", "dkist_processing_core.runtime", "greeting:Greet"]
    names = ["--workflow-name=smoke", "--workflow-version=1.0"]
    said = run(*command, *names, PYTHONPATH=str(folder), DKIST_RECIPE_RUN_ID="7", **environment)
    assert "hello from 7" in said


def check_task(python, folder):
    """A task runs as the worker starts it, and its spans reach Elastic APM."""
    with intake() as received:
        run_task(python, folder, ELASTIC_APM_ENABLED="true", MESH_CONFIG=received.mesh_config)
    assert received.transaction["name"].endswith("Greet")
    assert received.span("greeting")


def check_bus(python):
    """A message that cannot be published is reported with what pika has found."""
    [port] = free_ports(1)
    said = run(python, "-P", "-c", PUBLISH, MESH_CONFIG=mesh_config(port))
    assert "ConnectionRefusedError" in said


def check_otel(python, folder):
    """The spans of a task reach a collector of OpenTelemetry."""
    with http_collector() as received:
        run_task(python, folder, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf", MESH_CONFIG=received.mesh_config)
    assert [root.name for root in received.roots] == ["smoke.Greet"]


def check_build(python, folder):
    """A new package is made, checked, run and exported; its notebook becomes text."""
    program, project = python.parent / "dkist-processing-core", folder / "dkist-processing-smoke"
    run(program, "new", "dkist-processing-smoke", cwd=folder)
    run_uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", project)
    workflows = "dkist_processing_smoke.workflows"
    run(program, "validate", workflows, cwd=project)
    run(program, "run", f"{workflows}:l0_to_l1", "--recipe-run-id", "1", cwd=project)
    run(program, "export", workflows, "--to", folder / "dags", cwd=project)
    assert sorted((folder / "dags").glob("*.py"))
    notebook = folder / "notebook.ipynb"
    cell = {"cell_type": "markdown", "metadata": {}, "source": "# Dark", "id": "a"}
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    text = "from dkist_processing_core.notebook_utils import export_notebook_by_path as e; print(e('notebook.ipynb'))"
    assert "# Dark" in run(python, "-P", "-c", text, cwd=folder)


def check_airflow(python, folder):
    """Airflow loads and serialises the exported files of every protocol without an error or a warning."""
    for protocol in GOLDEN.glob("protocol_*"):
        airflow = Airflow(folder / "airflow", protocol, python=str(python))
        checked, _ = airflow.ask("check", folder=str(protocol))
        assert sorted(checked) == sorted(file.name for file in protocol.glob("*.py"))
        assert {name: each["problem"] for name, each in checked.items()} == dict.fromkeys(checked, "")

"""
A real client of the published line, with this library in the place of that one.

Run by ``make client``: it installs some 145 distributions and needs Python 3.11, so it is no part of ``make test``.
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from support.releases import VERSION, run_uv, with_links

pytestmark = [pytest.mark.client, pytest.mark.airflow, pytest.mark.network, pytest.mark.timeout(1200)]

RELEASE = "1.34.4"
EXPORT = """
    import sys
    from dkist_processing_core.build_utils import export_dags, extract_workflows_from_package
    from dkist_processing_test import workflows
    files = export_dags(workflows, sys.argv[1])
    print(len(extract_workflows_from_package(workflows)), len(files))
"""


@pytest.fixture(scope="module")
def replacing(core_wheel, tmp_path_factory):
    """The settings by which uv takes this library wherever a release pins the published one."""
    override = tmp_path_factory.mktemp("override") / "override.txt"
    override.write_text(f"dkist-processing-core=={VERSION}\n")
    return {**with_links(core_wheel), "UV_OVERRIDE": str(override)}


@pytest.fixture(scope="module")
def client(replacing, tmp_path_factory):
    """An environment as the client's own CI has it."""
    if shutil.which("python3.11") is None and sys.version_info[:2] != (3, 11):
        pytest.skip("there is no Python 3.11 here, which this release of the client needs")
    folder = tmp_path_factory.mktemp("client")
    run_uv("venv", "--quiet", "--python", "3.11", folder / "venv")
    before = dict(os.environ)
    os.environ.update(replacing)
    try:
        run_uv(
            "pip",
            "install",
            "--quiet",
            "--python",
            folder / "venv/bin/python",
            f"dkist-processing-test[test]=={RELEASE}",
        )
    finally:
        os.environ.clear()
        os.environ.update(before)
    return folder


def run_in(client, *arguments):
    done = subprocess.run(
        [client / "venv/bin/python", *arguments],
        cwd=client,
        env={**os.environ, "BUILD_VERSION": RELEASE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def exported(client, airflow):
    """The DAG files of all of the client's workflows, in Airflow's folder."""
    output = run_in(client, "-c", textwrap.dedent(EXPORT), str(airflow.dags))
    found, written = map(int, output.split()[-2:])
    assert found == written
    return found


def test_its_own_workflow_test_passes_unchanged(client):
    """As its CI runs it."""
    output = run_in(
        client, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "dkist_processing_test.tests.test_workflows"
    )
    assert re.search(r"\b1 passed in", output)


def test_every_workflow_exports_and_loads(exported, airflow, record_property):
    """Airflow loads as many DAGs as the client has workflows, with no error and no warning."""
    loaded = airflow.drive("load", str(airflow.dags))
    assert (loaded["import_errors"], loaded["warnings"]) == ({}, [])
    assert len(loaded["dags"]) == exported
    assert exported > 20
    record_property("workflows", exported)


def test_its_noop_flow_runs_to_success(exported, airflow, replacing, tmp_path):
    """In the environment of that very release, on Airflow."""
    worker = {**replacing, "DKIST_PYTHON": "python3.11", "DKIST_ENVIRONMENT_CACHE": str(tmp_path / "environments")}
    dag_id = f"input_to_output_test_noop-flow_{RELEASE}"
    done = airflow.drive("run", str(airflow.dags), dag_id, '{"recipe_run_id": 1}', environment=worker)
    assert (done["state"], done["tasks"]) == ("success", {"NoOpTask": "success", "NoOpTask2": "success"})
    [environment] = (tmp_path / "environments").glob("*/")
    program = (
        "from importlib.metadata import version as v; print(v('dkist-processing-test'), v('dkist-processing-core'))"
    )
    installed = subprocess.run([environment / "bin/python", "-c", program], capture_output=True, text=True, check=True)
    assert installed.stdout == f"{RELEASE} {VERSION}\n"

"""What `pip install dkist-processing-core` alone brings, and what that is enough for."""

import json
import sys

import pytest
from support.command_line import run_command
from support.releases import build_wheel, run_uv, write_package
from support.sources import flow

pytestmark = pytest.mark.network

PROGRAM = """
import sys
import dkist_light.workflows
from dkist_processing_core.build_utils import export_dags, validate_workflows
report = validate_workflows(dkist_light.workflows)
print(report)
print([file.name for file in export_dags(dkist_light.workflows, "dags")], report.loaded_by_airflow)
"""


@pytest.fixture(scope="module")
def base(core_wheel, tmp_path_factory):
    """An environment with this library's wheel alone, made by pip."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    run_uv("venv", "--quiet", "--seed", "--python", sys.executable, folder)
    [wheel] = core_wheel.glob("*.whl")
    pip = [folder / "bin/python", "-m", "pip", "--disable-pip-version-check"]
    run_command(*pip, "install", "--quiet", wheel).check()
    return folder


def test_the_base_is_light(base):
    """At most 15 distributions with this one, no Airflow among them, and everything that is there imports."""
    listed = run_command(base / "bin/python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    names = {each["name"] for each in json.loads(listed.check().stdout)} - {"pip", "setuptools", "wheel"}
    assert len(names) <= 15
    assert not {"apache-airflow", "nbformat", "rich", "opentelemetry-api"} & names
    modules = ("config", "isb.publisher", "telemetry.elastic")
    program = "import " + ", ".join(f"dkist_processing_core.{module}" for module in modules)
    run_command(base / "bin/python", "-c", program).check()


def test_the_base_validates_and_exports(base, tmp_path):
    """Without Airflow the checks run, but for Airflow's own, and the files are written."""
    project = write_package(tmp_path / "sources", {"workflows/flow.py": flow()}, name="dkist-light")
    build_wheel(project, tmp_path / "index")
    [wheel] = (tmp_path / "index").glob("*.whl")
    run_uv("pip", "install", "--quiet", "--no-deps", "--python", base / "bin/python", wheel)
    done = run_command(base / "bin/python", "-c", PROGRAM, cwd=tmp_path).check()
    assert done.stdout == "dkist_light.workflows: 0 faults, 0 warnings\n['a_to_b_cam_one_1.0.py'] False\n"
    text = (tmp_path / "dags" / "a_to_b_cam_one_1.0.py").read_text()
    assert 'distribution="dkist-light"' in text

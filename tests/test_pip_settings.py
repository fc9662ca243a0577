"""A worker that is set up for pip alone: uv finds there what pip finds."""

import os
import shutil
import subprocess
import sys

import pytest
from support.http_server import files_in, http_server
from support.releases import build_wheel, run_uv, write_package
from support.script_package import FILES, NAME
from support.script_runs import environments, new_spec, worker_without_uv

from dkist_processing_core.rendering.script import runnable_script

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def wheels(core_wheel, tmp_path_factory):
    """The wheels of a release and of all that it needs, of one dependency in two versions."""
    folder = tmp_path_factory.mktemp("wheels")
    project = write_package(tmp_path_factory.mktemp("sources"), FILES, name=NAME)
    build_wheel(project, folder)
    venv = tmp_path_factory.mktemp("downloader") / "venv"
    run_uv("venv", "--quiet", "--seed", "--python", sys.executable, venv)
    for requirements in ([*core_wheel.glob("*.whl"), "packaging==26.0"], ["packaging==25.0"]):
        download = [venv / "bin/python", "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "-d", folder]
        subprocess.run([*download, *requirements], check=True)
    return folder


@pytest.fixture
def index(tmp_path):
    """A server of package indexes (PEP 503), and the folder that it serves."""
    root = tmp_path / "served"
    root.mkdir()
    with http_server(files_in(root)) as port:
        yield f"http://127.0.0.1:{port}", root


def put(wheel, simple):
    name = wheel.name.split("-")[0].lower().replace("_", "-")
    project = simple / name
    project.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, project)
    links = "".join(f'<a href="{each.name}">{each.name}</a>\n' for each in sorted(project.glob("*.whl")))
    (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def installed(environment):
    return sorted(each.name for each in environment.glob("lib/*/site-packages/*.dist-info"))


def test_pip_conf_alone_gives_the_same_environment_with_uv_as_with_pip(wheels, index, tmp_path):
    """The file names an index, an extra index with a newer version of one package, and a folder of wheels."""
    address, root = index
    links = tmp_path / "links"
    links.mkdir()
    for wheel in wheels.glob("*.whl"):
        if wheel.name.startswith("packaging-26"):
            put(wheel, root / "extra")
        elif wheel.name.startswith(("packaging-25", "dkist_script_test")):
            put(wheel, root / "simple")
        else:
            shutil.copy(wheel, links)
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(
        f"[global]\nindex-url = {address}/simple\nextra-index-url = {address}/extra\n[install]\nfind-links = {links}\n"
    )
    tools = tmp_path / "tools"
    worker = worker_without_uv(tools)
    found = {}
    for installer in ("uv", "pip"):
        if installer == "uv":
            (tools / "uv").symlink_to(shutil.which("uv"))
        else:
            (tools / "uv").unlink()
        spec = new_spec()
        # No variable of an installer is set: nothing but the file says where packages are.
        variables = {name: os.environ[name] for name in os.environ if not name.startswith(("PIP_", "UV_"))}
        variables |= {
            **worker,
            "HOME": str(home),
            "DKIST_ENVIRONMENT_CACHE": str(tmp_path / installer),
            "DKIST_RECIPE_RUN_ID": "1",
        }
        done = subprocess.run(
            ["bash", "-c", runnable_script(spec, spec.nodes[0])], env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        [environment] = environments(tmp_path / installer)
        found[installer] = [name for name in installed(environment) if not name.startswith(("pip-", "setuptools-"))]
    assert found["uv"] == found["pip"]
    assert "packaging-26.0.dist-info" in found["uv"]
    assert len(found["uv"]) == 16

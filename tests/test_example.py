"""The example package: a release like any other, with tests of its own."""

import subprocess
import tomllib

import pytest
from support.releases import REPOSITORY, VERSION, make_index, new_environment, with_links

pytestmark = pytest.mark.network

INSTRUMENT = REPOSITORY / "examples" / "instrument"
PROJECT = tomllib.loads((INSTRUMENT / "pyproject.toml").read_text())["project"]


def test_its_frozen_extra_pins_every_dependency():
    """Each distribution has one version, this library the current one."""
    frozen = PROJECT["optional-dependencies"]["frozen"]
    assert f"dkist-processing-core=={VERSION}" in frozen
    assert all("==" in requirement for requirement in frozen)


def test_its_frozen_extra_fits_its_dependencies(command, core_wheel):
    """The check of its own pipeline passes, on whatever the index has today."""
    status, output, error = command("freeze", INSTRUMENT, "--check", "--find-links", core_wheel)
    assert (status, error) == (0, ""), output
    assert output.endswith(" (frozen 22), as before\n")


def test_its_own_tests_pass_on_its_release(core_wheel, tmp_path):
    """Its wheel is installed with the frozen dependencies, as in its own pipeline."""
    links = with_links(make_index(tmp_path / "index", core_wheel, INSTRUMENT))
    release = f"{PROJECT['name']}[frozen,test]=={PROJECT['version']}"
    python = new_environment(tmp_path / "venv", release, **links)
    done = subprocess.run(
        [python.parent / "pytest", "--quiet", "-p", "no:cacheprovider", INSTRUMENT / "tests"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout

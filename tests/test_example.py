"""The example package: a release like any other, with tests of its own."""

import re
import sys
import tomllib

import pytest
from support.command_line import run_command
from support.releases import REPOSITORY, VERSION, make_index, new_environment, with_links

pytestmark = [pytest.mark.network, pytest.mark.once]

INSTRUMENT = REPOSITORY / "examples" / "instrument"
PROJECT = tomllib.loads((INSTRUMENT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def links(core_wheel, tmp_path_factory):
    """Return the settings by which installers find its release."""
    return with_links(make_index(tmp_path_factory.mktemp("index"), core_wheel, INSTRUMENT))


def test_its_frozen_extra_pins_every_dependency():
    """Each distribution has one version, this library the current one."""
    frozen = PROJECT["optional-dependencies"]["frozen"]
    assert f"dkist-processing-core=={VERSION}" in frozen
    assert all("==" in requirement for requirement in frozen)


def test_its_frozen_extra_fits_its_dependencies(command, core_wheel):
    """The check of its own pipeline passes, on whatever the index has today."""
    output = command("freeze", INSTRUMENT, "--check", "--find-links", core_wheel).check(stderr="").stdout
    assert output.endswith(" (frozen 22), as before\n")


def test_its_products_name_the_environment_that_made_them(links, tmp_path):
    """The identity in the header is that which the log of the task names."""
    requirement = f"{PROJECT['name']}[frozen]=={PROJECT['version']}"
    scratch = tmp_path / "scratch"
    for task in ("simulate:SimulateFrames", "dark:MakeDark"):
        variables = {
            "DKIST_TASK": f"dkist_processing_example.tasks.{task}",
            "DKIST_REQUIREMENT": requirement,
            "DKIST_WORKFLOW_NAME": "raw_to_level1_example",
            "DKIST_WORKFLOW_VERSION": PROJECT["version"],
            "DKIST_RECIPE_RUN_ID": "42",
            "DKIST_EXAMPLE_SCRATCH": str(scratch),
        }
        worker = [sys.executable, "-P", "-m", "dkist_processing_core.worker"]
        done = run_command(*worker, merge=True, **links, **variables).check()
    [identity] = re.findall(r", identity ([0-9a-f]{64})\n", done.stdout)
    header = (scratch / "recipe_run_000042" / "calibration" / "master_dark.fits").read_bytes().decode(errors="replace")
    assert f"HISTORY made by {requirement} " in header
    assert f"HISTORY ran in {identity} " in header


def test_its_own_tests_pass_on_its_release(links, tmp_path):
    """Its wheel is installed with the frozen dependencies, as in its own pipeline."""
    release = f"{PROJECT['name']}[frozen,test]=={PROJECT['version']}"
    python = new_environment(tmp_path / "venv", release, **links)
    command = [python.parent / "pytest", "--quiet", "-p", "no:cacheprovider", INSTRUMENT / "tests"]
    done = run_command(*command, merge=True).check(" passed")
    assert "skipped" not in done.stdout

"""What a run of the tests leaves behind, and what it says."""

import shutil
import sys
import tomllib

import pytest
from support.command_line import run_command
from support.releases import REPOSITORY

UV_IS_THERE = REPOSITORY / ".build" / "uv" / ".done"


def test_mutations_name_what_exists():
    """Each module that is changed, and each test that has to notice it; a file that was renamed is renamed there."""
    table = tomllib.loads((REPOSITORY / "tests" / "support" / "mutation" / "modules.toml").read_text())
    named = {REPOSITORY / "dkist_processing_core" / module for module in table}
    named |= {REPOSITORY / "tests" / stage.split()[0] for stages in table.values() for stage in stages}
    assert table
    assert [each for each in named if not each.is_file()] == []


@pytest.mark.airflow
def test_the_home_folder_stays_empty(tmp_path):
    """Airflow, which modules of tests import when they are collected, keeps its logs elsewhere, for a while."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "1"]
    selected = [REPOSITORY / "tests" / "test_scheduling.py", "-k", "no_test_has_this_name"]
    variables = {"HOME": home, "TMPDIR": temporary, "AIRFLOW_HOME": home / "theirs"}
    run_command(*command, *selected, cwd=REPOSITORY, **variables).check(status=5)
    assert [each.name for each in home.iterdir()] == []
    assert list(temporary.glob("dkist-test-airflow-*")) == []


@pytest.mark.once
def test_every_python_is_tested_or_named(tmp_path):
    """A Python of pyenv is found although it is not on PATH, and one that is nowhere is named and noted."""
    if shutil.which("make") is None or not UV_IS_THERE.exists():
        pytest.skip("optional: make has not been run here")
    fake = tmp_path / "versions" / "9.8.1" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    reports = tmp_path / "reports"
    command = ["make", "--no-print-directory", "test-pythons", "PYTHONS=9.7 9.8", f"REPORTS={reports}"]
    variables = {"PYENV_ROOT": tmp_path, "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": sys.executable}
    done = run_command(*command, cwd=REPOSITORY, env=variables)
    assert "NOT TESTED: Python 9.7 is not installed" in done.stdout, done.stderr
    assert "\nPython 9.8\n" in done.stdout
    assert (reports / "missing-pythons").read_text() == "9.7\n"
    assert not (REPOSITORY / ".build" / "venv-9.8").exists()

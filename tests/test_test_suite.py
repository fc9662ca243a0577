"""What a run of the tests leaves behind, and what it says."""

import os
import shutil
import signal
import sys

import pytest
from support.command_line import run_command, run_python
from support.ports import free_ports
from support.rabbitmq import RabbitMQ, UnavailableError
from support.releases import REPOSITORY
from support.waiting import PATIENCE_SECONDS

UV_IS_THERE = REPOSITORY / ".build" / "uv" / ".done"


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
def test_a_port_is_held_although_nobody_listens():
    """No other process that asks for free ports gets one of them, while this one lives."""
    [held] = free_ports(1)
    program = f"from support import ports; print(ports._hold({held}))"
    done = run_python(program, PYTHONPATH=str(REPOSITORY / "tests"))
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert held not in free_ports(100)


@pytest.mark.rabbitmq
def test_a_broker_that_has_died_is_named_and_comes_back(tmp_path):
    """One error with what the broker said last, and the next test has a broker on the same ports."""
    try:
        server = RabbitMQ.new(tmp_path)
        server.start()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    try:
        server.check()
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(PATIENCE_SECONDS)
        with pytest.raises(UnavailableError, match="RabbitMQ does not run:\n(.|\n)*started TCP listener"):
            server.check()
        server.check()
        server.connect().close()
        # A server that has ended by itself can be closed.
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(PATIENCE_SECONDS)
    finally:
        server.close()


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

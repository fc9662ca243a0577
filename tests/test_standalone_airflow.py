"""The example in a standalone Airflow, driven over its REST API as an operator's program does."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.api import Api
from support.ports import free_ports
from support.processes import is_alive
from support.releases import REPOSITORY
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.common.programs import family

pytestmark = [pytest.mark.airflow, pytest.mark.network, pytest.mark.timeout(600)]

psutil = pytest.importorskip("psutil")  # which Airflow brings

WORKFLOW = "raw_to_level1_example"
PROGRAM = REPOSITORY / "examples" / "standalone_airflow.py"


def addresses_listened_on(processes):
    """Return the addresses on which processes listen for TCP connections."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {
                each.laddr.ip for each in psutil.Process(process).net_connections("tcp") if each.status == "LISTEN"
            }
    return found


@pytest.fixture(scope="module")
def standalone(tmp_path_factory):
    """The address, user, password and dag ids that a person sees, of a running Airflow."""
    folder = tmp_path_factory.mktemp("standalone")
    [port] = free_ports(1)
    output = folder / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            # What runs in the background of a shell ignores Ctrl-C, and so does all that it starts.
            ["env", "--default-signal=INT", sys.executable, PROGRAM, "--folder", folder, "--port", str(port)],
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, output.read_text, seconds=300)
        assert process.poll() is None, output.read_text()
        yield {"pid": process.pid, **dict(re.findall(r"^  (\w+) +(\S.*)$", output.read_text(), re.MULTILINE))}
    finally:
        started = family(process.pid) - {process.pid}
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_SECONDS)
    assert process.returncode == 0, output.read_text()
    assert "Airflow and everything that it had started has ended." in output.read_text()
    assert len(started) >= 4
    assert [pid for pid in started if is_alive(pid)] == []


@pytest.fixture(scope="module")
def api(standalone):
    """A client that has logged in, once the example's workflow is there."""
    client = Api(standalone["Airflow"], standalone["user"], standalone["password"])
    client.wait_for_dag(f"{WORKFLOW}_1.0.0")
    return client


def test_it_listens_on_this_machine_only(standalone):
    """Every port that any of its processes listens on is of the loopback interface."""
    assert standalone["Airflow"].startswith("http://127.0.0.1:")
    assert addresses_listened_on(family(standalone["pid"])) == {"127.0.0.1"}
    assert set(standalone["workflows"].split(", ")) == {f"{WORKFLOW}_1.0.0", f"{WORKFLOW}_failing_1.0.0"}


def test_airflow_imports_every_exported_file(api):
    """There is no import error, and the pools exist."""
    assert api.call("GET", "/api/v2/importErrors")[1]["total_entries"] == 0
    _, pools = api.call("GET", "/api/v2/pools")
    assert {"high_memory_pool", "multi_core_pool", "gpu_pool"} <= {pool["name"] for pool in pools["pools"]}


def test_a_run_is_triggered_and_succeeds(api):
    """The real scheduler runs all five tasks of the example."""
    path = api.trigger(f"{WORKFLOW}_1.0.0", {"recipe_run_id": 7})
    state = api.wait_for_end(path)["state"]
    _, instances = api.call("GET", f"{path}/taskInstances")
    states = {each["task_id"]: each["state"] for each in instances["task_instances"]}
    assert (state, set(states.values())) == ("success", {"success"}), states
    assert len(states) == 5

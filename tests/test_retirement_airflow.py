"""Releases are retired from, and restored to, the DAG folder of a real cluster."""

import json
import os
import signal

import pytest
from support.cluster import Cluster, require_servers
from support.command_line import run_program
from support.dag_folders import NEVER, bytes_of, contents, killed_before
from support.ports import free_ports
from support.releases import EXPORT
from support.sources import workflows
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.deployment import activity, airflow_api
from dkist_processing_core.deployment.airflow_api import AirflowApi
from dkist_processing_core.deployment.archive import Record, records
from dkist_processing_core.deployment.releases import deployed as deployed_in
from dkist_processing_core.deployment.retirement import retire
from dkist_processing_core.exceptions import RetirementError

pytestmark = [pytest.mark.airflow, pytest.mark.network, pytest.mark.rabbitmq, pytest.mark.timeout(600)]

NAME = "dkist-retired-test"
RELEASE = f"{NAME}==1.0"
TASKS = """
    import os
    import time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class Waits(TaskBase):
        def run(self):
            end = Path(os.environ["FACTS"])
            for _ in range(1200):
                if end.exists():
                    return
                time.sleep(0.5)
            raise TimeoutError("nobody has ended this task")
    class Succeeds(TaskBase):
        def run(self): pass
"""
WORKFLOWS = workflows("dkist_retired_test", "retired", {"slow": {"Waits": ""}, "quick": {"Succeeds": ""}})
FILES = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS}
SLOW, QUICK = "a_to_b_retired_slow_1.0", "a_to_b_retired_quick_1.0"
SETTINGS = {
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "2",
    "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "2",
}


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the exported workflows and their manifest."""
    return deploy(NAME, FILES, export=EXPORT)


@pytest.fixture(scope="module")
def cluster(deployed):
    """That Airflow, which runs as a cluster."""
    require_servers()
    environment = {**deployed.airflow.environment, **deployed.worker, **SETTINGS}
    with Cluster(environment, deployed.airflow.home, free_ports(1)[0], password="admin") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster):
    """A client of it, once it has loaded the DAGs."""
    client = cluster.log_in()
    client.wait_for_dag(SLOW)
    client.wait_for_dag(QUICK)
    return client


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Airflow may answer late on a machine that runs other tests as well."""
    monkeypatch.setattr(airflow_api, "SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def dags(deployed, api, tmp_path):
    """A function that runs ``dags`` for the folder of that Airflow, and returns status, output and errors."""
    credentials = tmp_path / "credentials"
    credentials.write_text("admin:admin\n")

    def run(verb, *arguments, step=NEVER):
        words = ["dags", verb, *arguments, "--dags", deployed.airflow.dags, "--airflow", api.address]
        return run_program(*words, program=killed_before(step), DKIST_AIRFLOW_CREDENTIALS_FILE=str(credentials))

    return run


def is_paused(api, dag_id):
    return api.call("GET", f"/api/v2/dags/{dag_id}")[1]["is_paused"]


def listed(api):
    _, answer = api.call("GET", "/api/v2/dags?limit=100")
    return {each["dag_id"] for each in answer["dags"]}


def test_a_release_with_a_run_is_not_touched_and_one_without_goes_and_comes_back(deployed, api, dags):
    """The run is named and succeeds, every byte, time and pause is as before; after its end, the release is retired."""
    folder, archive = deployed.airflow.dags, deployed.airflow.home / "dags-retired"
    before = contents(folder)
    api.call("PATCH", f"/api/v2/dags/{QUICK}", {"is_paused": True})
    run = api.trigger(SLOW, {"recipe_run_id": 42})
    wait_until(lambda: api.call("GET", run)[1]["state"] == "running", "the run does not start", interval=0.5)

    dags("retire", RELEASE).check(f"run {run.rpartition('/')[2]} of {SLOW} is running", status=1, stdout="")
    output = dags("retire", QUICK, RELEASE, "--dry-run", "--json").check(status=1, stderr="").stdout
    assert [each["state"] for each in json.loads(output)] == ["refused"]
    assert contents(folder) == before
    assert not archive.exists()
    assert (is_paused(api, SLOW), is_paused(api, QUICK)) == (False, True)
    status, output, _ = dags("list", "--json")
    [release] = json.loads(output)["releases"]
    assert (status, release["running"], release["queued"], release["paused"]) == (0, 1, 0, [QUICK])

    deployed.facts.touch()
    assert api.wait_for_end(run)["state"] == "success"
    dags("retire", RELEASE, "--reason", "version 2 is out").check(stderr="")
    assert set(contents(folder)) == {"manifest.json", "pools.json"}
    assert json.loads((folder / "manifest.json").read_text())["files"] == []
    wait_until(lambda: not {SLOW, QUICK} & listed(api), "Airflow still has the DAGs", interval=0.5)

    dags("restore", RELEASE).check(stderr="")
    assert bytes_of(folder) == {name: content for name, (content, _) in before.items()}
    assert list(archive.iterdir()) == []
    wait_until(lambda: {SLOW, QUICK} <= listed(api), "Airflow does not have the DAGs again", interval=0.5)
    assert (is_paused(api, SLOW), is_paused(api, QUICK)) == (False, True)
    api.call("PATCH", f"/api/v2/dags/{QUICK}", {"is_paused": False})
    assert api.wait_for_end(api.trigger(SLOW, {"recipe_run_id": 43}))["state"] == "success"


def test_a_run_that_appears_while_the_files_are_moved_puts_them_back(deployed, cluster, api, tmp_path, monkeypatch):
    """It has waited for a DAG that is paused; then it goes on, and nothing is left in the archive."""
    folder = deployed.airflow.dags
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", api.token)
    deployed.facts.touch()
    before, runs = contents(folder), []
    take = Record.take

    def take_late(record, dags):
        # Once it has noticed that the file is missing, Airflow would refuse the run.
        os.kill(cluster.pid("dag-processor"), signal.SIGSTOP)
        try:
            take(record, dags)
            assert not (dags / f"{SLOW}.py").exists()
            runs.append(api.trigger(SLOW, {"recipe_run_id": 44}))
        finally:
            os.kill(cluster.pid("dag-processor"), signal.SIGCONT)

    monkeypatch.setattr(Record, "take", take_late)
    found = deployed_in(folder)
    with pytest.raises(RetirementError, match=f"of {SLOW} is queued"):
        retire(found.releases[0], found, AirflowApi(api.address), archive=tmp_path / "archive")
    assert bytes_of(folder) == {name: content for name, (content, _) in before.items()}
    assert [*(tmp_path / "archive").iterdir()] == []
    assert not is_paused(api, SLOW)
    assert not is_paused(api, QUICK)
    assert api.wait_for_end(runs[0])["state"] == "success"


def test_the_last_runs_are_the_same_whether_they_are_asked_for_at_once_or_one_by_one(api, monkeypatch):
    """If there are many runs, those that are not among the newest ones are asked for by DAG."""
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", api.token)
    for dag_id in (SLOW, QUICK):
        assert api.wait_for_end(api.trigger(dag_id, {"recipe_run_id": 45}))["state"] == "success"
    at_once = activity.activities(AirflowApi(api.address), [SLOW, QUICK, "unknown"])
    monkeypatch.setattr(activity, "NEWEST", 1)
    assert activity.activities(AirflowApi(api.address), [SLOW, QUICK, "unknown"]) == at_once
    assert [each.last is None for each in at_once.values()] == [False, False, True]


@pytest.mark.once
def test_a_kill_at_any_step_leaves_each_file_once_and_the_next_command_goes_on(deployed, api, dags):
    """The folder and the archive have each file together; after the next commands, all and the pauses are as before."""
    folder, archive = deployed.airflow.dags, deployed.airflow.home / "dags-retired"
    before = bytes_of(folder)
    files = sorted(name for name in before if name.endswith(".py"))
    api.call("PATCH", f"/api/v2/dags/{QUICK}", {"is_paused": True})
    step, status, interrupted = 0, -signal.SIGKILL, 0
    while status == -signal.SIGKILL:
        step += 1
        status, _, errors = dags("retire", RELEASE, step=step)
        found = [each.name for place in (folder, archive) for each in place.rglob("*.py")]
        assert sorted(found) == files
        interrupted += any(not each.is_complete for each in records(archive))
        if step % 2:
            assert dags("retire", RELEASE)[0] in {0, 2}  # 2 if it was complete
        assert dags("restore", RELEASE)[0] in {0, 2}  # 2 if nothing had begun
        assert bytes_of(folder) == before
        assert list(archive.glob("*")) == []
        assert (is_paused(api, SLOW), is_paused(api, QUICK)) == (False, True)
    assert (status, errors) == (0, "")
    assert interrupted > 5
    api.call("PATCH", f"/api/v2/dags/{QUICK}", {"is_paused": False})

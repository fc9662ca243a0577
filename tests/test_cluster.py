"""A whole cluster on this machine: PostgreSQL, RabbitMQ, and two Celery workers with queues and caches of their own."""

import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, require_servers
from support.deployments import Deployment
from support.messages import QUEUE
from support.ports import free_ports
from support.processes import is_alive, wait_for
from support.real_airflow import Airflow
from support.sources import workflows
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.common.programs import family, run_program

pytestmark = [pytest.mark.airflow, pytest.mark.network, pytest.mark.rabbitmq, pytest.mark.timeout(600)]

TASKS = """
    import os
    import time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class First(TaskBase):
        def run(self): pass
    class HighMemory(First): pass
    class MultiCore(First): pass
    class Gpu(First): pass
    class Fails(TaskBase):
        def run(self): raise RuntimeError("the flat is missing")
    class Waits(TaskBase):
        def run(self):
            Path(os.environ["FACTS"], self.task_name).write_text(str(os.getpid()))
            time.sleep(600)
    class WaitsToo(Waits): pass
"""
QUEUES = {"HighMemory": "high_memory", "MultiCore": "multi_core", "Gpu": "gpu"}
WORKFLOWS = workflows(
    "dkist_cluster_test",
    "cluster",
    {
        "queues": {"First": "", **dict.fromkeys(QUEUES, "First")},
        "failing": {"Fails": ""},
        "killed": {"Waits": ""},
        "forgotten": {"WaitsToo": ""},
    },
    queues={**QUEUES, "Fails": "multi_core", "Waits": "gpu", "WaitsToo": "high_memory"},
)
NAME = "dkist-cluster-test"
DAG_ID = "a_to_b_cluster_{}_1.0"
WORKERS = {"First": "worker-a", **dict.fromkeys(QUEUES, "worker-b")}
ENVIRONMENT = re.compile(r"environment (built|reused)")


@dataclass
class Story:
    """What has happened on the cluster; a task instance is as the REST API describes it, with its log."""

    states: dict[str, list[str]]
    instances: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    reconciled: list[str]
    processes: dict[int, str]
    files: list[Path]


@pytest.fixture(scope="module")
def story(core_wheel: Path, tmp_path_factory: pytest.TempPathFactory, isolated_environment: None) -> Story:
    """Three runs at once, a worker that is killed meanwhile and started again, and the end of the cluster."""
    require_servers()
    folder = tmp_path_factory.mktemp("cluster")
    airflow = Airflow.at(folder / "airflow")
    files = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS}
    deployed = Deployment.new(airflow, folder, core_wheel, files, name=NAME)
    environment = {**airflow.environment, **deployed.worker}
    with Cluster(environment, airflow.home, free_ports(1)[0], password="admin") as cluster:
        return play(cluster, deployed)


def play(cluster: Cluster, deployed: Deployment) -> Story:
    api = cluster.log_in()
    deployed.facts.mkdir()
    for detail in ("queues", "failing", "killed", "forgotten"):
        api.wait_for_dag(DAG_ID.format(detail))
    lost = [api.trigger(DAG_ID.format(detail), {"recipe_run_id": 1}) for detail in ("killed", "forgotten")]
    for name in ("Waits", "WaitsToo"):
        wait_for(deployed.facts / name)
    runs = {
        "failing": [api.trigger(DAG_ID.format("failing"), {"recipe_run_id": 2})],
        "queues": [api.trigger(DAG_ID.format("queues"), {"recipe_run_id": number}) for number in (3, 4)],
    }
    # The callbacks of both runs wait, until those of one of them are lost.
    os.kill(cluster.pid("dag-processor"), signal.SIGSTOP)
    cluster.kill("worker-b")
    cluster.start("worker-b")
    states = {name: [api.wait_for_end(run)["state"] for run in found] for name, found in runs.items()}
    states["lost"] = [api.wait_for_end(run)["state"] for run in lost]
    forgotten, query = "FROM callback WHERE data::text LIKE '%forgotten%'", cluster.postgresql.query
    wait_until(lambda: "DagCallbackRequest" in str(query(f"SELECT data {forgotten}")), "Airflow does not call back")
    # As the DAG processor does before it runs them; if it is killed then, nobody runs them.
    query(f"DELETE {forgotten}")
    os.kill(cluster.pid("dag-processor"), signal.SIGCONT)
    wait_until(lambda: cluster.rabbitmq.count(QUEUE) >= 2, "the lost task is not reported", interval=0.5)
    time.sleep(2)  # for a message that should not be there
    reconciled = [reconcile(cluster) for _ in range(2)]
    instances = [each for run in (*runs["failing"], *runs["queues"], *lost) for each in instances_of(api, run)]
    processes = cluster.remaining()
    messages = [json.loads(body) for _, body in cluster.rabbitmq.take_all(QUEUE)]
    spooled = [*cluster.home.glob("*/spool/*.json")]
    return Story(states, instances, messages, reconciled, processes, spooled)


def reconcile(cluster):
    """Report what nobody has reported, as an operator does on the machine of the DAG processor."""
    variables = {
        "AIRFLOW_CLI_TOKEN": cluster.log_in().token,
        "DKIST_ISB_SPOOL": str(cluster.spool("dag-processor")),
        "MESH_CONFIG": cluster.rabbitmq.mesh_config,
    }
    command = [sys.executable, "-m", "dkist_processing_core", "messages", "reconcile", "--settle", "0"]
    status, output = run_program(
        [*command, "--airflow", cluster.address], environment={**os.environ, **variables}, seconds=PATIENCE_SECONDS
    )
    assert status == 0, output
    return output


def instances_of(api, run):
    """Return the task instances of a run, each with its log."""
    _, answer = api.call("GET", f"{run}/taskInstances")
    for each in answer["task_instances"]:
        _, log = api.call("GET", f"{run}/taskInstances/{each['task_id']}/logs/1")
        each["log"] = json.dumps(log)
    return answer["task_instances"]


def test_every_run_ends_as_it_should(story):
    """Those of the workflow without a fault succeed, and the others fail."""
    assert story.states == {"failing": ["failed"], "queues": ["success", "success"], "lost": ["failed", "failed"]}


def test_a_task_runs_on_the_worker_of_its_queue(story):
    """Airflow names the worker."""
    found = {each["task_id"]: each["hostname"] for each in story.instances}
    assert found == {**WORKERS, **dict.fromkeys(["Fails", "Waits", "WaitsToo"], "worker-b")}


def test_a_worker_builds_the_environment_of_a_release_once(story):
    """Each has a cache of its own; all tasks but one of each worker reuse what is there."""
    for worker in ("worker-a", "worker-b"):
        logs = [each["log"] for each in story.instances if each["hostname"] == worker]
        how = [match[1] for log in logs if (match := ENVIRONMENT.search(log))]
        assert sorted(how) == ["built", *["reused"] * (len(logs) - 1)], logs


def test_every_failure_is_one_message(story):
    """That of the task, and that of each task whose worker was killed."""
    found = {each["taskName"]: each for each in story.messages}
    assert sorted(each["taskName"] for each in story.messages) == ["Fails", "Waits", "WaitsToo"]
    assert found["Fails"]["error"].endswith("RuntimeError: the flat is missing")
    assert "worker or its machine has died" in found["Waits"]["error"]
    assert story.files == []


def test_a_failure_that_airflow_has_lost_is_reported_by_reconcile(story):
    """Once, and nothing else, although other tasks have failed as well."""
    first, second = story.reconciled
    [body] = [each for each in story.messages if each["taskName"] == "WaitsToo"]
    assert first.startswith(f"reported: {body['conversationId']} a_to_b_cluster_forgotten 1.0 WaitsToo ")
    assert first.endswith("\n1 reported\n")
    assert second == "0 reported\n"
    assert (body["tryNumber"], body["recipeRunId"], body["host"]) == (1, 1, "worker-b")


def test_nothing_of_a_cluster_is_left(story):
    """Neither a component nor a task, nor what they had started."""
    assert len(story.processes) > len(WORKERS)
    assert [pid for pid in story.processes if is_alive(pid)] == []
    assert not family(os.getpid()) & story.processes.keys()

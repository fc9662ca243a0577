"""The units of ``deploy/``, started as systemd starts them: setup, scheduler, DAG processor, API server and worker."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.api import Api
from support.command_line import run_command, start_command
from support.components import START_SECONDS
from support.dockerfile_replay import Replay
from support.mesh import mesh_config
from support.messages import QUEUE
from support.ports import free_ports
from support.processes import is_alive, wait_for, wait_until_dead
from support.releases import REPOSITORY, export_workflows, make_index, write_package
from support.sources import workflows
from support.units import DEPLOY, Machine, can_confine, confined, give
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.common.programs import end, family

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.deployment,
    pytest.mark.network,
    pytest.mark.rabbitmq,
    pytest.mark.timeout(1200),
]

NAME = "dkist-deployment-test"
DAG_ID = "a_to_b_deployed_{}_1.0"
FILES = {
    "tasks.py": '''
        """Tasks that last."""

        import os
        import subprocess
        import time
        from pathlib import Path

        from dkist_processing_core import TaskBase


        class Lasts(TaskBase):
            """Last until somebody lets it go on, with a child in a session of its own."""

            def run(self):
                child = subprocess.Popen(["sleep", "600"], start_new_session=True)
                facts = Path(os.environ["FACTS"])
                facts.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
                facts.with_suffix(".new").rename(facts)
                while not facts.with_suffix(".go").exists():
                    time.sleep(0.1)

            def __exit__(self, *error):
                super().__exit__(*error)
                Path(os.environ["FACTS"]).with_suffix(".torn_down").touch()
        ''',
    "workflows.py": workflows(
        "dkist_deployment_test", "deployed", {"lasts": {"Lasts": ""}}, queues={"Lasts": "high_memory"}
    ),
}


@pytest.fixture(scope="module")
def reachable():
    """A folder that another user can get to, as the folders of pytest are for the user who runs the tests alone."""
    folder = Path(tempfile.mkdtemp(prefix="dkist-test-machine-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def machine(rabbitmq, core_wheel, reachable, tmp_path_factory):
    """A machine on which the folder was installed as its README says, with the settings and secrets of this test."""
    root = reachable / "machine"
    project = write_package(tmp_path_factory.mktemp("sources"), FILES, name=NAME)
    index = make_index(root / "index", core_wheel, project)
    machine = Machine(root, **installers(index))
    export_workflows("dkist_deployment_test.workflows", root / "srv/airflow/dags", sources=project / "src")
    settle(machine, rabbitmq)
    return machine


def installers(index):
    """Return the settings of pip and uv by which they find the releases in a folder, and all else as here."""
    inherited = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_", "SSL_"))}
    inherited.pop("UV_CACHE_DIR", None)
    return {**inherited, "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {index}".strip()}


def settle(machine, rabbitmq):
    """Write what a person edits: the settings, the pools, and the secrets."""
    [machine.port] = free_ports(1)
    here = f"127.0.0.1:{machine.port}"
    text = (DEPLOY / "airflow.env").read_text().replace("airflow.example.org:8080", here)
    text += f"AIRFLOW__API__HOST=127.0.0.1\nAIRFLOW__API__PORT={machine.port}\nAIRFLOW__API__WORKERS=1\n"
    text += "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT=40\n"
    text += f"ISB_USERNAME=guest\nMESH_CONFIG={mesh_config(rabbitmq.port)}\nFACTS={machine.root}/var/lib/dkist/facts\n"
    etc = machine.root / "etc/dkist"
    (etc / "airflow.env").write_text(text)
    shutil.copy(DEPLOY / "pools.json", etc)
    state = machine.root / "var/lib/airflow"
    for name, value in {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{state}/airflow.db",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+sqlite:///{state}/results.db",
        "AIRFLOW__CELERY__BROKER_URL": f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}//",
        "AIRFLOW__CORE__FERNET_KEY": "IBdmFjzrAGcZaq5ul-9tpYLT9rGwbMrYS6gvFWJjPnA=",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789" * 7,
        "AIRFLOW__API__SECRET_KEY": "9876543210" * 7,
        "ISB_PASSWORD": "guest",
        "PIP_INDEX_URL": os.environ.get("PIP_INDEX_URL", ""),
    }.items():
        (etc / "secrets" / name).write_text(value + "\n")


@pytest.fixture(scope="module")
def scheduler_side(machine):
    """A client of the API server, while scheduler, DAG processor and API server run."""
    assert "Uploaded 4 pool(s)" in machine.run("setup")
    names = ("scheduler", "dag-processor", "api-server")
    processes = [machine.start(name) for name in names]
    passwords = machine.root / "var/lib/airflow/simple_auth_manager_passwords.json.generated"

    def log_in():
        for name, process in zip(names, processes, strict=True):
            assert process.poll() is None, machine.log(name)[-4000:]
        try:
            return Api(f"http://127.0.0.1:{machine.port}", "admin", json.loads(passwords.read_text())["admin"])
        except (OSError, ValueError, KeyError):
            return None

    try:
        api = wait_until(log_in, "the API server does not answer", seconds=START_SECONDS, interval=0.5)
        api.wait_for_dag(DAG_ID.format("lasts"))
        yield api
    finally:
        end(*processes)


@pytest.fixture
def facts(machine):
    """The file to which a task writes its process ids."""
    file = machine.root / "var/lib/dkist/facts"
    for each in (file, file.with_suffix(".go"), file.with_suffix(".torn_down")):
        each.unlink(missing_ok=True)
    return file


@pytest.fixture
def running(machine, scheduler_side, facts):
    """Start a worker and a task on it; yield the worker, all processes of both, and the address of the task's state."""
    workers = []

    def start(**settings):
        # Airflow serves logs on all addresses of a machine, which a test does not.
        workers.append(machine.start("worker", "--skip-serve-logs", **settings))
        run = scheduler_side.trigger(DAG_ID.format("lasts"), {"recipe_run_id": 1})
        wait_until(
            lambda: facts.exists() or workers[0].poll() is not None,
            lambda: f"no task has started: {machine.log('worker')[-4000:]} {machine.log('scheduler')[-4000:]}",
            seconds=2 * PATIENCE_SECONDS,
        )
        assert workers[0].poll() is None, machine.log("worker")[-4000:]
        return workers[0], {*family(workers[0].pid), *wait_for(facts)}, f"{run}/taskInstances/Lasts"

    yield start
    end(*workers)


def test_a_stopped_worker_lets_its_tasks_end(machine, scheduler_side, running, facts, rabbitmq):
    """It takes no other one; then it ends, with success, and no process is left."""
    worker, processes, task = running()
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in machine.log("worker"), "the worker has not begun to stop")
    assert is_alive(wait_for(facts)[0])
    facts.with_suffix(".go").touch()
    assert worker.wait(PATIENCE_SECONDS) == 0
    wait_until_dead(processes)
    assert scheduler_side.wait_for_end(task)["state"] == "success"
    assert rabbitmq.count(QUEUE) == 0


def test_tasks_that_do_not_end_in_time_are_ended_and_reported_once(machine, scheduler_side, running, facts, rabbitmq):
    """After DKIST_DRAIN_SECONDS they get SIGTERM: the teardown runs, the worker reports them, no process is left."""
    rabbitmq.forget(QUEUE)
    worker, processes, task = running(DKIST_DRAIN_SECONDS="1")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(PATIENCE_SECONDS) == 0
    wait_until_dead(processes)
    assert facts.with_suffix(".torn_down").exists()
    assert scheduler_side.wait_for_end(task)["state"] == "failed"
    [(_, body)] = rabbitmq.take_all(QUEUE)
    assert json.loads(body)["taskName"] == "Lasts"


def test_tasks_of_a_killed_worker_are_reported_once(scheduler_side, running, rabbitmq):
    """As when a time-out has passed: the DAG processor reports them, with its own secrets."""
    rabbitmq.forget(QUEUE)
    _, processes, task = running()
    for each in processes:
        os.kill(each, signal.SIGKILL)
    assert scheduler_side.wait_for_end(task)["state"] == "failed"
    wait_until(lambda: rabbitmq.count(QUEUE), "the task was not reported")
    [(_, body)] = rabbitmq.take_all(QUEUE)
    assert json.loads(body)["taskName"] == "Lasts"


def test_what_runs_here_is_confined_as_in_production(reachable):
    """Another user than root, who can write to the folders of the deployment and to nothing else."""
    if not can_confine():
        pytest.skip("optional: only root, who may mount, can show a read-only root (not in most containers)")
    root = reachable / "confined"
    root.mkdir()
    give(root)
    program = 'id -u; touch "$1/written" "$2/written" 2>&1; grep CapBnd /proc/self/status'
    command = confined(root, ["sh", "-c", program, "sh", root, REPOSITORY])
    done = run_command(*command)
    user, refused, capabilities = done.stdout.splitlines()
    assert (user, capabilities.split()[1].strip("0")) == ("50000", "")
    assert "Read-only file system" in refused
    assert [each.name for each in root.iterdir() if each.is_file()] == ["written"]


def test_a_worker_gets_no_more_secrets_than_it_needs(machine):
    """The database of Airflow and the key of the tokens are not among them."""
    _, environment = machine.commands("worker")
    assert {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__API_AUTH__JWT_SECRET"}.isdisjoint(
        {each.name for each in Path(environment["CREDENTIALS_DIRECTORY"]).iterdir()} | environment.keys()
    )


def test_environments_are_built_before_the_worker_starts(machine):
    """With the same cache, so that tasks find them."""
    output = machine.run("environments")
    assert output.endswith("1 environments, 0 failed\n")


@pytest.fixture(scope="module")
def image(core_wheel, reachable):
    """The image of the worker, as far as it can be made without an engine."""
    context = shutil.copytree(DEPLOY, reachable / "context")
    shutil.copy(REPOSITORY / "constraints.txt", context)
    replay = Replay(context / "Dockerfile", reachable / "image")
    replay.run(**installers(core_wheel))
    return replay


def test_the_steps_of_the_images_give_a_worker(image):
    """With the pinned Airflow; as the user of the image, with a root that is read-only, it starts and ends in order."""
    pinned = re.findall(
        r"^(apache-airflow==\S+|celery==\S+|uv==\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE
    )
    freeze = ["python", "-m", "pip", "freeze"]
    installed = run_command(*freeze, env=image.environment).check().stdout
    assert {*pinned} <= {*installed.splitlines()}
    assert image.user == "50000:50000"
    (image.root / "secrets").mkdir()
    (image.root / "secrets/AIRFLOW__CELERY__BROKER_URL").write_text("amqp://nobody@127.0.0.1:1//")
    (image.root / "secrets/AIRFLOW__CELERY__RESULT_BACKEND").write_text(f"db+sqlite:///{image.folder}/results.db")
    (image.root / "tmp").mkdir()
    give(image.root)
    environment = {**image.environment, "USER": "airflow", "TMPDIR": f"{image.root}/tmp"}
    command = image.below(" ".join([*image.entrypoint, *image.command, "--skip-serve-logs"])).split()
    with (image.root / "log").open("w") as log:
        options = {"cwd": image.folder, "stdout": log, "stderr": subprocess.STDOUT, "env": environment}
        secrets = f"{image.root}/secrets"
        worker = start_command(*confined(image.root, command), **options, CREDENTIALS_DIRECTORY=secrets)
    try:
        text = (image.root / "log").read_text
        wait_until(lambda: "Cannot connect to amqp://nobody" in text() or worker.poll() is not None, text)
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(PATIENCE_SECONDS) == 0, text()
        for queue in ("default", "high_memory", "multi_core", "gpu"):
            assert f"exchange={queue}(direct)" in text()
    finally:
        end(worker)

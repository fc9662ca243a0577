"""Exported files in a real Airflow: loaded, run, refused, reported."""

import json
import re
import sys
from pathlib import Path

import pytest
from support.apm import SERVICE, intake
from support.command_line import run_command
from support.mesh import BUS, mesh_config
from support.sources import ORIGINAL_EXAMPLE, workflows

from dkist_processing_core.isb import spool

TASKS = """
    import logging, os, subprocess
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class One(TaskBase):
        def run(self): logging.getLogger("team").info("one %s", self.recipe_run_id)
    class Two(One): pass
    class Three(One): pass
    class Four(One): pass
    class Fails(TaskBase):
        def run(self): raise RuntimeError("on purpose")
    class Noted(TaskBase):
        retry_delay_seconds = 1
        def run(self):
            with Path(os.environ["FACTS"]).open("a") as file:
                file.write(f"{self.task_name} {self.recipe_run_id} {self.workflow_version}\\n")
            self.work(Path(os.environ["FACTS"] + ".seen"))
        def work(self, seen): pass
    class First(Noted): pass
    class Flaky(Noted):
        retries = 1
        def work(self, seen):
            if not seen.exists():
                seen.touch()
                raise RuntimeError("the first time")
    class Exits(Noted):
        retries = 1
        def work(self, seen): raise SystemExit(7)
    class Aside(Noted): pass
    class Last(Noted): pass
    class Shows(TaskBase):
        def run(self):
            # Its own variables, those that it was started with, and those of a program that it starts.
            seen = [f"{name}={value}" for name, value in os.environ.items()]
            seen += Path("/proc/self/environ").read_text().split(chr(0))
            seen += subprocess.check_output(["env", "-0"], text=True).split(chr(0))
            for each in sorted({each for each in seen if "AIRFLOW" in each or "s3cret" in each or "MINE" in each}):
                print(f"variable {each}")
            print("variable stdin=" + os.readlink("/proc/self/fd/0") + ";")
"""
DIAMOND_GRAPH = {"One": "", "Two": "One", "Three": "One", "Four": "Two Three"}
WORKFLOWS = workflows(
    "dkist_airflow_test",
    "air",
    {
        **dict.fromkeys(("diamond", "virtualenv"), DIAMOND_GRAPH),
        **{detail: {"Shows": ""} for detail in ("shows", "virtualenv_shows")},
        "failing": {"One": "", "Fails": "One", "Two": "Fails"},
        "noted": {"First": "", "Flaky": "First", "Aside": "Flaky", "Exits": "Aside", "Last": "Exits"},
    },
    queues={"Two": "high_memory"},
    operators=dict.fromkeys(("virtualenv", "virtualenv_shows"), "python_virtualenv"),
)
FILES = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS, "workflows/original.py": ORIGINAL_EXAMPLE}
DIAMOND = dict.fromkeys(DIAMOND_GRAPH, "success")


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the exported files of the release."""
    return deploy("dkist-airflow-test", FILES)


def test_exported_files_load_without_error_or_warning(deployed):
    """All files, the original package's example among them, with their tasks, edges, queues, pools and tags."""
    loaded = deployed.airflow.load()
    assert sorted(loaded["dags"]) == [
        "My_Workflow_dev",
        "a_to_b_air_diamond_1.0",
        "a_to_b_air_failing_1.0",
        "a_to_b_air_noted_1.0",
        "a_to_b_air_shows_1.0",
        "a_to_b_air_virtualenv_1.0",
        "a_to_b_air_virtualenv_shows_1.0",
    ]
    assert (loaded["import_errors"], loaded["warnings"]) == ({}, [])
    assert loaded["dags"]["My_Workflow_dev"]["tasks"] == {"MyTask1": [], "MyTask2": ["MyTask1"]}
    diamond = loaded["dags"]["a_to_b_air_diamond_1.0"]
    for each in (diamond, loaded["dags"]["a_to_b_air_virtualenv_1.0"]):
        assert each["tasks"] == {"One": [], "Two": ["One"], "Three": ["One"], "Four": ["Three", "Two"]}
        assert each["queues"]["Two"] == ["high_memory", "high_memory_pool"]
    assert diamond["tags"] == ["1.0", "a", "air", "b", "diamond"]


def test_what_is_loaded_is_what_is_exported(deployed):
    """Workflow.load and Node.operator return Airflow's own objects, with the attributes that clients' tests use."""
    program = """
        from dkist_airflow_test.workflows.flow import diamond
        dag = diamond.load()
        four = dag.get_task("Four")
        assert four.upstream_task_ids == {"Two", "Three"}, four.upstream_task_ids
        assert dag.dag_id == "a_to_b_air_diamond_1.0"
        operator = diamond.nodes[1].operator
        assert (operator.task_id, operator.queue, operator.pool) == ("Two", "high_memory", "high_memory_pool")
        assert operator.task == "dkist_airflow_test.tasks:Two"
        assert operator.requirement == "dkist-airflow-test[frozen]==1.0"
        assert diamond.nodes[1].operator_definition.startswith("TaskOperator(")
        print("the objects are as expected")
    """
    output = deployed.airflow.execute(program, PYTHONPATH=str(deployed.sources))
    assert "the objects are as expected" in output


def test_a_diamond_runs_to_success(deployed):
    """Every task runs in the environment of the release, and its log records are in Airflow's log."""
    done = deployed.run("a_to_b_air_diamond_1.0", {"recipe_run_id": 42})
    assert (done["state"], done["tasks"]) == ("success", DIAMOND)
    assert done["output"].count("team: one 42") == 4
    assert done["output"].count("building the environment") == 1


# test_clean_room.py has more of them.
SECRETS = ("AIRFLOW_CONN_DB", "AIRFLOW_CONN_A B", "AIRFLOW__TEST__X-Y", "_AIRFLOW_WWW_USER_PASSWORD")


@pytest.mark.parametrize("detail", ["shows", "virtualenv_shows"])
def test_no_secret_of_airflow_reaches_a_task(deployed, detail):
    """Whatever the name of the variable is, with either operator; the variables of the run and of the site do."""
    done = deployed.run(
        f"a_to_b_air_{detail}_1.0", {"recipe_run_id": 45}, MINE="kept", **dict.fromkeys(SECRETS, "s3cret")
    )
    assert done["state"] == "success"
    seen = {line.partition("variable ")[2] for line in done["output"].splitlines() if "variable " in line}
    assert [each for each in seen if each.startswith("MINE=kept")]
    assert [each for each in seen if each.startswith("stdin=/dev/null;")]
    # The number of a descriptor that Airflow adds; the descriptor is not open any more.
    names = {each.partition("=")[0] for each in seen} - {"__AIRFLOW_SUPERVISOR_FD"}
    assert "AIRFLOW_CTX_DAG_RUN_ID" in names
    assert {name for name in names if "AIRFLOW" in name and not name.startswith("AIRFLOW_CTX_")} == set()
    assert not [each for each in seen if "s3cret" in each]


def test_a_failure_is_published_once(deployed, rabbitmq):
    """
    The failed task publishes one message; its downstream tasks do not run.

    The message, the log, and the records of the tasks in Elastic APM name the same environment.
    """
    rabbitmq.forget("recipe.run.failure.q")
    with intake() as elastic:
        done = deployed.run(
            "a_to_b_air_failing_1.0",
            {"recipe_run_id": "43"},
            MESH_CONFIG=mesh_config({BUS: rabbitmq.port, SERVICE: elastic.port}),
            ELASTIC_APM_ENABLED="true",
        )
    assert done["state"] == "failed"
    assert done["tasks"] == {"One": "success", "Fails": "failed", "Two": "upstream_failed"}
    assert "RuntimeError: on purpose" in done["output"]
    [(_, body)] = rabbitmq.take_all("recipe.run.failure.q")
    message = json.loads(body)
    assert message["dagRunId"] == done["run_id"]
    transactions = {each["name"]: each["context"]["tags"] for each in elastic.transactions}
    assert set(transactions) == {"a_to_b_air_failing.One", "a_to_b_air_failing.Fails"}
    logged = re.findall(r", identity ([0-9a-f]{64})", done["output"])
    recorded = [each["environment_identity"] for each in transactions.values()]
    assert {*logged, *recorded} == {message["environmentIdentity"]}
    assert list(spool.pending(Path(deployed.worker["DKIST_ISB_SPOOL"]))) == []


def same_of(message):
    """Return what a message says of the failure, without what differs from run to run, and from place to place."""
    names = ("workflowName", "workflowVersion", "taskName", "recipeRunId", "tryNumber", "exitCode", "error")
    error = re.sub(r'(?<=File ").*(?=dkist_airflow_test/)', "", message["error"])
    return {name: message[name] for name in names} | {"error": error}


def test_a_local_run_is_that_of_airflow(deployed, rabbitmq, tmp_path):
    """The same tasks in the same order, tries included, the same states, and the same message."""
    rabbitmq.forget("recipe.run.failure.q")
    order, states, messages = {}, {}, {}

    def note(way, trace):
        order[way] = trace.read_text().splitlines()
        messages[way] = [same_of(json.loads(body)) for _, body in rabbitmq.take_all("recipe.run.failure.q")]

    settings = {"MESH_CONFIG": rabbitmq.mesh_config, "FACTS": str(tmp_path / "airflow")}
    states["airflow"] = deployed.run("a_to_b_air_noted_1.0", {"recipe_run_id": 47}, **settings)["tasks"]
    note("airflow", tmp_path / "airflow")
    for way in ("processes", "environments"):
        options = ["--environments"] if way == "environments" else []
        command = ["dkist_processing_core", "run", "dkist_airflow_test.workflows.flow:noted", "--recipe-run-id", "47"]
        environment = {**deployed.worker, **settings, "FACTS": tmp_path / way}
        command = [sys.executable, "-m", *command, "--bus", "--json", *options]
        done = run_command(*command, cwd=deployed.sources, **environment).check(status=1, stderr="")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        states[way] = {event["task"]: event["state"] for event in events if "state" in event and "task" in event}
        note(way, tmp_path / way)
    tries = ["First", "Flaky", "Flaky", "Aside", "Exits", "Exits"]
    assert order["airflow"] == [f"{name} 47 1.0" for name in tries]
    assert order["airflow"] == order["processes"] == order["environments"]
    assert states["airflow"] == dict.fromkeys(["First", "Flaky", "Aside"], "success") | {
        "Exits": "failed",
        "Last": "upstream_failed",
    }
    assert states["airflow"] == states["processes"] == states["environments"]
    [message] = messages["airflow"]
    assert (message["taskName"], message["exitCode"], message["tryNumber"]) == ("Exits", 7, 2)
    assert messages["airflow"] == messages["processes"] == messages["environments"]


# Executes one operator with a recipe run id that nothing has validated.
EXECUTE_OPERATOR = """
    import json, sys
    from pathlib import Path
    from types import SimpleNamespace
    from airflow.exceptions import AirflowException
    from dkist_processing_core.validation.dag_files import find_dag

    answer, folder, dag_id, task_id, recipe_run_id = sys.argv[1:]
    operator = find_dag(folder, dag_id).get_task(task_id)
    context = {"dag_run": SimpleNamespace(conf={"recipe_run_id": recipe_run_id}), "params": {}}
    operator.render_template_fields(context)
    error = None
    try:
        operator.execute(context)
    except AirflowException as raised:
        error = str(raised)
    Path(answer).write_text(json.dumps({"error": error, "given": operator.recipe_run_id}))
"""
HOSTILE = "1); import os; os.system('touch /tmp/owned')  #"


def test_a_hostile_recipe_run_id_that_nobody_refused_runs_nothing(deployed, tmp_path):
    """If the operator is executed directly, the task fails with the reason, and no part of the id is executed."""
    answer = tmp_path / "answer.json"
    for value in (HOSTILE.replace("/tmp/owned", str(tmp_path / "owned")), f"$(touch {tmp_path}/owned)", "{{ 7 * 7 }}"):
        arguments = [answer, deployed.airflow.dags, "a_to_b_air_diamond_1.0", "One", value]
        deployed.airflow.execute(EXECUTE_OPERATOR, *arguments, **deployed.worker)
        done = json.loads(answer.read_text())
        assert done["given"] == value
        assert "recipe_run_id must be an integer, not" in done["error"]
        assert done["error"].endswith("(exit status 65)")
        assert not (tmp_path / "owned").exists()

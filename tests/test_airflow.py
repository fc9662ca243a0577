"""Exported files in a real Airflow: loaded, run, refused, reported."""

import json
from pathlib import Path

import pytest
from support.original_example import ORIGINAL_EXAMPLE

from dkist_processing_core.isb import spool

pytestmark = [pytest.mark.airflow, pytest.mark.network]

TASKS = """
    import logging
    from dkist_processing_core import TaskBase

    class One(TaskBase):
        def run(self): logging.getLogger("team").info("one %s", self.recipe_run_id)
    class Two(One): pass
    class Three(One): pass
    class Four(One): pass
    class Fails(TaskBase):
        def run(self): raise RuntimeError("on purpose")
"""
WORKFLOWS = """
    from dkist_processing_core import ResourceQueue, Workflow
    from dkist_airflow_test.tasks import Fails, Four, One, Three, Two

    def new(detail, **arguments):
        return Workflow(input_data="a", output_data="b", category="air", detail=detail,
                        workflow_package=__package__, workflow_version="1.0", **arguments)

    def new_diamond(detail, **arguments):
        diamond = new(detail, **arguments)
        diamond.add_node(One)
        diamond.add_node(Two, upstreams=One, resource_queue=ResourceQueue.HIGH_MEMORY)
        diamond.add_node(Three, upstreams=One)
        diamond.add_node(Four, upstreams=[Two, Three])
        return diamond

    diamond = new_diamond("diamond")
    virtualenv_diamond = new_diamond("virtualenv", operator="python_virtualenv")

    failing = new("failing")
    failing.add_node(One)
    failing.add_node(Fails, upstreams=One)
    failing.add_node(Two, upstreams=Fails)
"""
FILES = {"tasks.py": TASKS, "workflows/flow.py": WORKFLOWS, "workflows/original.py": ORIGINAL_EXAMPLE}
DIAMOND = dict.fromkeys(["One", "Two", "Three", "Four"], "success")


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
        "a_to_b_air_virtualenv_1.0",
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


def test_airflows_own_operator_runs_the_same_diamond(deployed):
    """The tasks run in the same release, and their log records are in Airflow's log."""
    done = deployed.run("a_to_b_air_virtualenv_1.0", {"recipe_run_id": 44})
    assert (done["state"], done["tasks"]) == ("success", DIAMOND)
    assert done["output"].count("INFO team: one 44") == 4
    assert "building the environment" not in done["output"]


def test_a_failure_is_published_once(deployed, rabbitmq):
    """The failed task publishes one message with the address of its log; its downstream tasks do not run."""
    rabbitmq.forget("recipe.run.failure.q")
    settings = {"MESH_CONFIG": rabbitmq.mesh_config, "AIRFLOW__API__BASE_URL": "http://airflow.example:8080"}
    done = deployed.run("a_to_b_air_failing_1.0", {"recipe_run_id": "43"}, **settings)
    assert done["state"] == "failed"
    assert done["tasks"] == {"One": "success", "Fails": "failed", "Two": "upstream_failed"}
    assert "RuntimeError: on purpose" in done["output"]
    [(_, body)] = rabbitmq.take_all("recipe.run.failure.q")
    message = json.loads(body)
    assert message["taskName"] == "Fails"
    assert (message["workflowName"], message["workflowVersion"]) == ("a_to_b_air_failing", "1.0")
    assert message["dagRunId"] == done["run_id"]
    assert message["logUrl"].startswith("http://airflow.example:8080/dags/a_to_b_air_failing_1.0/")
    assert list(spool.pending(Path(deployed.worker["DKIST_ISB_SPOOL"]))) == []


HOSTILE = "1); import os; os.system('touch /tmp/owned')  #"


def test_a_hostile_recipe_run_id_that_nobody_refused_runs_nothing(deployed, tmp_path):
    """If the operator is executed directly, the task fails with the reason, and no part of the id is executed."""
    for value in (HOSTILE.replace("/tmp/owned", str(tmp_path / "owned")), f"$(touch {tmp_path}/owned)", "{{ 7 * 7 }}"):
        done = deployed.airflow.execute_operator("a_to_b_air_diamond_1.0", "One", value, deployed.worker)
        assert done["given"] == value
        assert "recipe_run_id must be an integer, not" in done["error"]
        assert done["error"].endswith("(exit status 65)")
        assert not (tmp_path / "owned").exists()


def test_a_run_with_a_bad_recipe_run_id_is_refused(deployed):
    """A wrong or missing id starts nothing, and the reason names the parameter."""
    values = [HOSTILE, "0", 0, -1, 1.5, "1\n", "٣", None, ""]
    confs = [{}, *({"recipe_run_id": value} for value in values)]
    answers = deployed.airflow.refusals("a_to_b_air_diamond_1.0", confs)
    for conf, answer in zip(confs, answers, strict=True):
        assert answer.startswith("ParamValidationError"), conf
        assert "recipe_run_id" in answer, conf

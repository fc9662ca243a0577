"""The DAG factory: what it makes of exported files, and what it refuses."""

from pathlib import Path

import pytest
from support.declared_workflows import diamond
from support.releases import with_links
from support.script_package import NAME

from dkist_processing_core import __version__
from dkist_processing_core.authoring.spec import OPERATORS
from dkist_processing_core.exceptions import UnsupportedDagFileError
from dkist_processing_core.rendering.dag import dag_file

pytest.importorskip("airflow", reason="Airflow is not installed (pip install 'dkist-processing-core[airflow]')")

from dkist_processing_core.authoring.airflow import execute
from dkist_processing_core.scheduling import TaskOperator, workflow_dag
from dkist_processing_core.scheduling.execution import worker_variables
from dkist_processing_core.scheduling.failure import TaskFailedError
from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator

pytestmark = pytest.mark.airflow

LATER = "99.1.0"


def load(text):
    """Return the DAG of a file."""
    return execute(text, "file_of_a_test")["dag"]


def exported_later(text):
    """Return the text as if a later release of this library had exported it."""
    return text.replace(f'exported_by="{__version__}"', f'exported_by="{LATER}"')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("protocol=1", "protocol=2"), "The file states protocol 2; this release knows 1"),
        (
            ("    tags=", "    owner_links={},\n    tags="),
            "The workflow 'l0_to_l1_cam_golden' has 'owner_links', which this release does not know",
        ),
        (
            ("        retries=2", "        python='3.13',\n        retries=2"),
            "The task 'Second' of 'l0_to_l1_cam_golden' has 'python', which this release does not know",
        ),
    ],
    ids=["protocol", "key-of-workflow", "key-of-task"],
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_what_a_later_release_has_written_is_refused_with_the_release_to_install(operator, change, message):
    """One error names what is unknown, both releases, and what to install."""
    text = exported_later(dag_file(diamond(operator=operator).spec))
    assert change[0] in text
    with pytest.raises(UnsupportedDagFileError) as caught:
        load(text.replace(*change, 1))
    assert str(caught.value) == (
        f"{message}. The file was exported by dkist-processing-core {LATER} and {__version__} is installed: "
        f"install dkist-processing-core {LATER} or later where Airflow runs."
    )
    assert isinstance(caught.value, ValueError)


def test_an_operator_outside_of_a_workflow_is_refused():
    """It would not know which release to install."""
    with pytest.raises(UnsupportedDagFileError, match="The task 'Alone' was made outside of `with workflow_dag"):
        TaskOperator(task_id="Alone", task="m:Alone")


def test_several_workflows_in_one_file_do_not_mix():
    """Each task belongs to the workflow in whose block it is made."""
    made = {}
    for name in ("a_to_b", "b_to_c"):
        with workflow_dag(
            protocol=1, exported_by="8.0.0", name=name, version="1.0", distribution=f"dist-{name}", tags=[]
        ) as dag:
            TaskOperator(task_id="Only", task="m:Only")
        made[dag.dag_id] = dag.get_task("Only")
    assert {dag_id: (task.requirement, task.workflow) for dag_id, task in made.items()} == {
        "a_to_b_1.0": ("dist-a_to_b[frozen]==1.0", "a_to_b 1.0"),
        "b_to_c_1.0": ("dist-b_to_c[frozen]==1.0", "b_to_c 1.0"),
    }


def test_the_dag_belongs_to_the_file_that_describes_it():
    """Not to the factory, which is what calls Airflow."""
    assert load(dag_file(diamond().spec)).fileloc == "file_of_a_test.py"


def test_what_a_file_leaves_out_is_the_default_of_the_protocol():
    """The operators have what the workflow declares, whether or not the file says so."""
    workflow = diamond()
    dag = load(dag_file(workflow.spec))
    for node in workflow.nodes:
        task = dag.get_task(node.name)
        assert (task.queue, task.pool) == (node.resource_queue.value, node.pool)
        assert task.retries == node.task.retries
        assert task.requirement == f"support[{','.join(node.pip_extras)}]==1.0"
        assert not task.retries or task.retry_delay.total_seconds() == node.task.retry_delay_seconds
        assert task.owner == "support"


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_value_of_an_author_is_a_template(operator, tmp_path):
    """Airflow expands the recipe run id and nothing else, and takes no value for the name of a file."""
    arguments = {}
    if operator == "bash":
        (tmp_path / "constraints.txt").write_text("foo==={{7*7}}\n")
        arguments = {"constraints": tmp_path / "constraints.txt"}
    task = load(dag_file(diamond(operator=operator, **arguments).spec)).get_task("First")
    assert tuple(task.template_fields) == ("task", "requirement", "workflow", "recipe_run_id")
    assert [name for name in task.template_fields if "{" in getattr(task, name)] == ["recipe_run_id"]
    assert list(task.template_ext) == []
    if operator == "bash":
        assert worker_variables(task, {})["DKIST_CONSTRAINTS"] == "foo==={{7*7}}"


def test_both_operators_use_one_clean_room(monkeypatch):
    """The function that Airflow runs in its virtual environment removes what the worker program removes."""
    from dkist_processing_core.common import clean_room
    from dkist_processing_core.runtime import virtualenv
    from dkist_processing_core.worker import __main__ as worker

    assert virtualenv.unwanted is clean_room.unwanted
    assert worker.cleaned is clean_room.cleaned
    names = ["AIRFLOW_CONFIG", "AIRFLOW_CONN_MY-DB", "PYTHONUSERBASE", "PYTHONSTARTUP", "VIRTUAL_ENV", "MINE"]
    assert clean_room.unwanted(names) == names[:-1]
    assert list(clean_room.cleaned(dict.fromkeys(names, "x"))) == ["MINE"]


@pytest.mark.network
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("Good", None),
        ("Bad", "RuntimeError: the flat is missing"),
        ("ExitsSilently", "script.out"),  # which Airflow misses
    ],
)
def test_a_virtual_environment_of_airflow_proves_that_its_task_ran(releases, monkeypatch, task, message):
    """What counts is what the process of the task wrote at its end, and not its exit status alone."""
    for name, value in with_links(releases).items():
        monkeypatch.setenv(name, value)
    with workflow_dag(protocol=1, exported_by="8.0.0", name="a_to_b_script", version="1.0", distribution=NAME, tags=[]):
        operator = VirtualenvTaskOperator(task_id="t", task=f"dkist_script_test.tasks:{task}")
    names = ("recipe_run_id", "workflow_name", "workflow_version", "traceparent")
    operator.op_kwargs = {"task": operator.task, **dict.fromkeys(names, "1")}
    operator.requirements = [operator.requirement]
    operator._bundle_path = None  # as Airflow's own `execute` sets it
    if message is None:
        operator.execute_callable()
    else:
        with pytest.raises((TaskFailedError, FileNotFoundError), match=message):
            operator.execute_callable()


@pytest.mark.parametrize("text", [None, "", "{", '{"state": "failed"}', "[]", "null"])
def test_success_without_an_outcome_is_a_failure(monkeypatch, text):
    """Even if Airflow is content with how the process has ended."""

    def end(operator):
        if text is not None:
            Path(operator.op_kwargs["outcome"]).write_text(text)

    monkeypatch.setattr(VirtualenvTaskOperator.__base__, "execute_callable", end)
    with workflow_dag(protocol=1, exported_by="8.0.0", name="a_to_b_script", version="1.0", distribution=NAME, tags=[]):
        operator = VirtualenvTaskOperator(task_id="t", task="m:T")
    operator.op_kwargs = {}
    with pytest.raises(TaskFailedError, match="ended with exit status 0 before it was complete"):
        operator.execute_callable()
    assert operator.outcome.state == "failed"

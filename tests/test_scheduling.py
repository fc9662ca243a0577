"""The DAG factory: what it makes of exported files, and what it refuses."""

import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.command_line import run_python
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
from dkist_processing_core.scheduling.archive import missing_callbacks
from dkist_processing_core.scheduling.execution import worker_variables
from dkist_processing_core.scheduling.failure import TaskFailedError
from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator
from dkist_processing_core.validation.dag_files import dag_bag, serialise

pytestmark = pytest.mark.airflow

LATER = "99.1.0"


def load(text):
    """Return the DAG of a file."""
    return execute(text, "file_of_a_test")["dag"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("protocol=1", "protocol=2"), "The file has protocol 2; this release supports 1"),
        (
            ("    tags=", "    owner_links={},\n    tags="),
            "The workflow 'l0_to_l1_cam_golden' has 'owner_links', which this release does not support",
        ),
        (
            ("        retries=2", "        python='3.13',\n        retries=2"),
            "The task 'Second' of 'l0_to_l1_cam_golden' has 'python', which this release does not support",
        ),
    ],
    ids=["protocol", "key-of-workflow", "key-of-task"],
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_what_a_later_release_has_written_is_refused_with_the_release_to_install(operator, change, message):
    """One error names what is unknown, both releases, and what to install."""
    text = dag_file(diamond(operator=operator).spec)
    text = text.replace(f'exported_by="{__version__}"', f'exported_by="{LATER}"')
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


@pytest.mark.parametrize("operator", [TaskOperator, VirtualenvTaskOperator])
def test_a_task_without_a_key_that_it_needs_is_refused_by_name(operator):
    """Python or Airflow says which key, and of what."""
    with (
        workflow_dag(protocol=1, exported_by="8.0.0", name="a_to_b", version="1.0", distribution="d", tags=[]),
        pytest.raises(
            TypeError, match=r"^TaskOperator.__init__\(\) missing .* 'task'$|^missing keyword argument 'task'$"
        ),
    ):
        operator(task_id="Alone")


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


def test_a_parse_imports_nothing_that_only_a_run_needs():
    """Every parse of every file pays for it."""
    program = "import sys, dkist_processing_core.scheduling; print([name for name in sys.modules if 'dkist' in name])"
    assert run_python(program).check().stdout == "['dkist_processing_core', 'dkist_processing_core.scheduling']\n"


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


HOSTILE = ["{{7*7}}", "{% if %}", "{#", "x.sh", "x.bash", "x.md", "{{ var.value.x }}", "$(id)", "%(asctime)s"]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("operator", OPERATORS)
def test_no_value_of_an_author_or_a_run_is_a_template(operator, value, tmp_path):
    """Whatever stands in the file or in the conf reaches the task as it is, and names no file that Airflow reads."""
    for name in ("x.sh", "x.bash", "x.md"):
        (tmp_path / name).write_text("read from a file")
    text = dag_file(diamond(operator=operator).spec)
    for old in ("support.tasks:First", "support", "frozen", "Do the fourth thing.", "high_memory", "solar"):
        assert f'"{old}"' in text
        text = text.replace(f'"{old}"', repr(value))
    dag = load(text)
    for name in ("First", "Second", "Third", "Fourth"):
        task = dag.get_task(name)
        before = {field: getattr(task, field) for field in task.template_fields if field != "recipe_run_id"}
        task.render_template_fields({"dag_run": SimpleNamespace(conf={"recipe_run_id": value})})
        assert {field: getattr(task, field) for field in before} == before
        assert (task.recipe_run_id, task.requirement.partition("[")[0]) == (value, value)
    assert (dag.get_task("First").task, dag.get_task("Fourth").doc_md) == (value, value)
    assert (dag.get_task("Second").queue, dag.get_task("Third").requirement) == (value, f"{value}[{value},asdf]==1.0")
    assert "read from a file" not in dag.doc_md


def test_a_required_python_reaches_the_worker():
    """Every task has it, and without one the worker decides."""
    for required in (">=3.12", ""):
        dag = load(dag_file(diamond(requires_python=required or None).spec))
        for task in dag.tasks:
            assert worker_variables(task, {})["DKIST_REQUIRES_PYTHON"] == required


def test_constraints_reach_the_worker_as_they_are(tmp_path):
    """Airflow expands nothing in them, and a line that ends as the name of a script is no script."""
    (tmp_path / "constraints.txt").write_text("foo==={{7*7}}\nbar===1.sh\n")
    task = load(dag_file(diamond(constraints=tmp_path / "constraints.txt").spec)).get_task("First")
    task.render_template_fields({"dag_run": SimpleNamespace(conf={"recipe_run_id": 42})})
    variables = worker_variables(task, {})
    assert variables["DKIST_CONSTRAINTS"] == "bar===1.sh\nfoo==={{7*7}}"
    assert variables["DKIST_RECIPE_RUN_ID"] == "42"


@pytest.mark.parametrize("conf", [None, {}], ids=["none", "empty"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_run_without_a_recipe_run_id_gives_the_task_an_empty_one(operator, conf):
    """Which the worker refuses with the reason, if Airflow has not."""
    task = load(dag_file(diamond(operator=operator).spec)).get_task("First")
    task.render_template_fields({"dag_run": SimpleNamespace(conf=conf)})
    assert task.recipe_run_id == ""


@pytest.mark.parametrize("value", [1, "1", 2**53 - 1, "9" * 18], ids=repr)
def test_a_recipe_run_id_is_a_positive_integer_of_64_bits(value):
    """As a number or as a text of at most 18 digits."""
    assert load(dag_file(diamond().spec)).params.get_param("recipe_run_id").resolve(value) == value


@pytest.mark.parametrize(
    "value",
    [
        *(2**53, 10**18, 2**63, 2**64, 10**3000, str(2**63), str(2**64), "9" * 5000, "9" * 19),
        *(1.0, 1e3, 1e18, 5.5, float("inf"), float("nan"), True, False, None, [], [1], {"a": 1}),
        *(0, -1, "", "0", "-1", "+1", "01", " 1", "1 ", "1\n", "1.0", "1e3", "1_000", "0x1", "٣", "\uff11", "{{7}}"),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) or value < 10**20 else "long",
)
def test_what_is_no_recipe_run_id_is_refused_before_a_run(value):
    """A number with a point is not an integer, although later drafts of JSON Schema say so."""
    param = load(dag_file(diamond().spec)).params.get_param("recipe_run_id")
    with pytest.raises(Exception, match="Failed validating|No value passed") as caught:
        param.resolve(value)
    assert type(caught.value).__name__ == "ParamValidationError"


def test_a_new_release_is_not_paused():
    """Whatever Airflow does with other DAGs: a run of a paused one would stay queued for ever."""
    assert load(dag_file(diamond().spec)).is_paused_upon_creation is False


def test_all_workflows_of_a_release_in_one_file_are_what_they_are_alone(tmp_path):
    """Each DAG is the same as from its own file, with either operator, and with constraints of its own."""
    specs = []
    for number, operator in enumerate((*OPERATORS, "bash")):
        constraints = {}
        if operator == "bash":
            (tmp_path / f"{number}.txt").write_text(f"numpy==2.{number}\n")
            constraints = {"constraints": tmp_path / f"{number}.txt"}
        spec = diamond(operator=operator, **constraints).spec
        specs.append(replace(spec, name=f"w{number}", dag_id=f"w{number}_1.0"))
    file = tmp_path / "release-1.0-dags.py"
    file.write_text(dag_file(*specs))
    together = dag_bag(file)
    assert together.import_errors == {}
    assert sorted(together.dags) == ["w0_1.0", "w1_1.0", "w2_1.0"]
    for spec in specs:
        file.write_text(dag_file(spec))
        [alone] = dag_bag(file).dags.values()
        assert serialise(together.dags[spec.dag_id]) == serialise(alone)
        if spec.operator == "bash":
            constraints = [task.constraints for task in together.dags[spec.dag_id].tasks]
            assert constraints == [task.constraints for task in alone.tasks] == [f"numpy==2.{spec.name[1]}"] * 4


@pytest.mark.parametrize("level", ["warning", "error", "off"])
def test_a_file_in_an_archive_says_what_airflow_cannot_do_with_it(level, tmp_path, monkeypatch, caplog):
    """If no callback would be made for it, the page of the DAG and the log say so, with the remedy."""
    check = pytest.importorskip("airflow.utils.dag_version_inflation_checker", reason="this Airflow has no such check")
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL", level)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("some.py", dag_file(diamond().spec))
    file = str(tmp_path / "some.zip" / "some.py")
    try:
        check.check_dag_file_stability(file)
        is_complete = True
    except NotADirectoryError:
        is_complete = False
    [dag] = dag_bag(tmp_path / "some.zip").dags.values()
    assert dag.fileloc == file
    assert is_complete is (level == "off")
    for text in (dag.doc_md, caplog.text):
        assert ("does not report a task whose Airflow process is killed" in text) is not is_complete
        assert ("dkist-processing-core export --one-file" in text) is not is_complete
    assert "Warning" not in load(dag_file(diamond().spec)).doc_md
    monkeypatch.setitem(sys.modules, check.__name__, None)  # as in the Airflow of another release
    assert missing_callbacks(file) == ""


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
        assert not operator.inherit_env  # it has its own variables alone
        if text is not None:
            Path(operator.op_kwargs["outcome"]).write_text(text)

    monkeypatch.setattr(VirtualenvTaskOperator.__base__, "execute_callable", end)
    with workflow_dag(protocol=1, exported_by="8.0.0", name="a_to_b_script", version="1.0", distribution=NAME, tags=[]):
        operator = VirtualenvTaskOperator(task_id="t", task="m:T")
    operator.op_kwargs = {}
    with pytest.raises(TaskFailedError, match="ended with exit status 0 before it was complete"):
        operator.execute_callable()
    assert operator.outcome.state == "failed"

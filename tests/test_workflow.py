"""What people write to declare a workflow."""

import pytest
from support.declared_workflows import new_workflow
from support.tasks import First, Fourth, Second, Third

from dkist_processing_core import ResourceQueue, Workflow, exceptions


@pytest.fixture
def of_first():
    """A workflow of one task."""
    return workflow_of(First)


def workflow_of(*tasks, **changes):
    workflow = new_workflow(**changes)
    for task in tasks:
        workflow.add_node(task)
    return workflow


def test_the_process_scheme_names_a_workflow():
    """The name is the process category and the process name."""
    workflow = Workflow(process_category="My", process_name="Workflow", workflow_package="p", workflow_version="dev")
    assert (workflow.workflow_name, workflow.dag_name) == ("My_Workflow", "My_Workflow_dev")
    assert workflow.dag_tags == ["My", "Workflow", "dev"]


def test_the_details_scheme_names_a_workflow():
    """The name is made of the details, and the parts are attributes and tags; one tag may be given as a text."""
    workflow = new_workflow(detail="fast", tags=["fast", "x"])
    assert workflow.dag_name == "l0_to_l1_cam_fast_1.0"
    parts = workflow.input_data, workflow.output_data, workflow.category, workflow.detail
    assert parts == ("l0", "l1", "cam", "fast")
    assert workflow.tags == ["fast", "x"]
    assert workflow.dag_tags == ["1.0", "cam", "fast", "l0", "l1", "x"]
    assert new_workflow(tags="solar").tags == ["solar"]


NAMELESS = {"input_data": None, "output_data": None, "category": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process_name": "x"}, "process_name and input_data, output_data, category belong to different"),
        ({"category": None}, "a workflow without category has no name"),
        (NAMELESS, "without input_data, output_data, category has no"),
        (NAMELESS | {"process_name": "x"}, "a workflow without process_category has no name"),
        (
            NAMELESS | {"process_category": "x", "process_name": "y", "detail": "z"},
            "process_category, process_name and detail belong to different naming schemes",
        ),
    ],
    ids=["mixed", "incomplete", "nothing", "incomplete-process", "process-with-detail"],
)
def test_naming_schemes_are_not_mixed(changes, message):
    """A mixed or incomplete scheme is a TypeError that says which arguments belong together."""
    with pytest.raises(TypeError, match=message) as caught:
        new_workflow(**changes)
    assert isinstance(caught.value, exceptions.NamingSchemeError)
    assert "Name a workflow either by input_data, output_data, category" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category": "a b"}, "category 'a b' contains ' '"),
        ({"workflow_version": "1.0+x"}, "workflow version '1.0[+]x' contains '[+]'"),
        ({"workflow_version": 1.0}, "workflow version must be a string of at least one character, not 1.0"),
        ({"category": "c" * 100}, "workflow name .* is 109 characters long"),
        ({"workflow_package": None}, "workflow_package is None"),
        ({"workflow_package": "a; import os"}, "workflow_package is 'a; import os'"),
        ({"tags": [""]}, "the tag '' is not a string"),
        ({"tags": ["t" * 101]}, "is not a string of 1 to 100 characters"),
    ],
    ids=["name", "version", "version-no-text", "long", "no-package", "hostile-package", "empty-tag", "long-tag"],
)
def test_the_constructor_refuses_invalid_arguments(changes, message):
    """Bad input is one clear ValueError, at once."""
    with pytest.raises(ValueError, match=message) as caught:
        new_workflow(**changes)
    assert isinstance(caught.value, exceptions.DKISTProcessingCoreError)


def test_the_version_falls_back_to_build_version_then_dev(monkeypatch):
    """The environment is read when the workflow is made."""
    assert new_workflow(workflow_version=None).workflow_version == "dev"
    monkeypatch.setenv("BUILD_VERSION", "2.3.4")
    assert new_workflow(workflow_version=None).workflow_version == "2.3.4"
    assert new_workflow().workflow_version == "1.0"


def test_a_node_has_the_attributes_that_clients_use():
    """Queue, pool, extras, edges and upstreams are there to be read."""
    workflow = new_workflow()
    workflow.add_node(First)
    workflow.add_node(Second, upstreams=[First, First], resource_queue=ResourceQueue.GPU, pip_extras=["asdf", "frozen"])
    first, second = workflow.nodes
    assert (first.task, first.upstreams, first.resource_queue) == (First, [], ResourceQueue.DEFAULT)
    assert (first.pool, first.pip_extras) == ("default_pool", ["frozen"])
    assert (second.upstreams, second.pool, second.pip_extras) == ([First], "gpu_pool", ["frozen", "asdf"])
    assert second.dependencies == [("First", "Second")]


def test_upstreams_may_be_added_later():
    """The order of add_node is not the order of the tasks."""
    workflow = new_workflow()
    workflow.add_node(Second, upstreams=First)
    workflow.add_node(First)
    assert [node.task for node in workflow.topological_sort()] == [First, Second]


@pytest.mark.parametrize(
    ("task", "upstreams"),
    [
        (object, None),
        ("First", None),
        (First(1, "w", "1"), None),
        (First, object),
        (First, [Second, 3]),
        (First, "Second"),
    ],
    ids=["class", "text", "instance", "upstream-class", "upstream-number", "upstream-text"],
)
def test_only_task_classes_can_be_added(task, upstreams):
    """Anything else is a TypeError that shows it."""
    workflow = new_workflow()
    with pytest.raises(TypeError, match="must be a subclass of dkist_processing_core.TaskBase, not"):
        workflow.add_node(task, upstreams=upstreams)
    assert workflow.nodes == []


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (First, "Workflow 'l0_to_l1_cam': the task 'First' .* added: it is already in the workflow"),
        (
            type("First", (First,), {"__module__": "elsewhere"}),
            "of elsewhere cannot be added: another task of that name, of support.tasks",
        ),
    ],
    ids=["same", "another"],
)
def test_a_name_is_that_of_one_task(of_first, task, message):
    """Airflow's task id is the class name, so neither the task nor another one of its name is added again."""
    with pytest.raises(exceptions.DuplicateTaskError, match=message):
        of_first.add_node(task)


class Unsearchable(list):
    """A list that can be appended to and counted, and not searched."""

    def __iter__(self):
        raise AssertionError("the nodes were searched")

    __contains__ = index = count = __getitem__ = __iter__


def test_adding_a_node_does_not_search_the_others(monkeypatch):
    """The time for a workflow is proportional to the number of its tasks."""
    workflow = new_workflow()
    workflow.nodes = Unsearchable()
    for number in range(10):
        workflow.add_node(type(f"Task{number}", (First,), {}))
    with pytest.raises(exceptions.DuplicateTaskError):
        workflow.add_node(type("Task3", (First,), {}))
    assert len(workflow.nodes) == 10


def test_the_list_of_nodes_can_be_changed(of_first):
    """It is public: a node that was removed can be added again, and one that was appended cannot."""
    of_first.nodes.clear()
    of_first.add_node(First)
    of_first.nodes += workflow_of(Second).nodes
    with pytest.raises(exceptions.DuplicateTaskError):
        of_first.add_node(Second)
    assert [node.name for node in of_first.nodes] == ["First", "Second"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"retries": -1}, "Bad.retries is -1"),
        ({"retries": "2"}, "Bad.retries is '2'"),
        ({"retries": True}, "Bad.retries is True"),
        ({"retry_delay_seconds": float("nan")}, "Bad.retry_delay_seconds is nan"),
        ({"retry_delay_seconds": -5}, "Bad.retry_delay_seconds is -5"),
        ({"retries": 2**31}, "Bad.retries is 2147483648"),
        ({"retry_delay_seconds": 10**12}, "Bad.retry_delay_seconds is 1000000000000"),
        ({"retry_delay_seconds": 1e300}, "Bad.retry_delay_seconds is 1e"),
        ({"retry_delay_seconds": 10**400}, "Bad.retry_delay_seconds is 1000"),
    ],
    ids=["negative", "text", "bool", "nan", "negative-delay", "32-bits", "no-date", "no-period", "no-float"],
)
def test_settings_of_a_task_are_checked(attributes, message):
    """What Airflow could not use is refused with the class attribute and its value."""
    with pytest.raises(ValueError, match=message):
        new_workflow().add_node(type("Bad", (First,), attributes))


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (First, {"pip_extras": ["a]; rm"]}, "'a]; rm' cannot be the name of an extra"),
        (First, {"resource_queue": "fast"}, "there is no resource queue 'fast'. Use one of default, high_memory"),
        (type("Straße", (First,), {}), {}, "task name 'Straße' contains 'ß'"),
    ],
    ids=["extra", "queue", "class-name"],
)
def test_settings_of_a_node_are_checked(task, arguments, message):
    """What could not be rendered, or be a task id of Airflow's, is refused with its value."""
    with pytest.raises(exceptions.WorkflowError, match=message):
        new_workflow().add_node(task, **arguments)


def test_a_queue_that_does_not_exist_is_answered_with_the_one_meant():
    """As an attribute, which is how a workflow module names it."""
    with pytest.raises(
        AttributeError, match=r"no ResourceQueue.HIGH_MEM \(did you mean 'HIGH_MEMORY'\?\); there are DEF"
    ):
        ResourceQueue.HIGH_MEM  # noqa: B018


def test_a_workflow_without_nodes_is_not_exported(tmp_path):
    """The error names the workflow, and no file appears."""
    with pytest.raises(exceptions.EmptyWorkflowError, match="Workflow 'l0_to_l1_cam': it has no nodes"):
        new_workflow().export_dag(tmp_path / "dags")
    assert list(tmp_path.rglob("*.py")) == []


def test_a_missing_upstream_is_not_exported():
    """The error names task and upstream, and the task that was probably meant."""
    workflow = new_workflow()
    workflow.add_node(Second, upstreams=First)
    workflow.add_node(Third, upstreams=type("Secnd", (First,), {}))
    with pytest.raises(
        exceptions.UnknownUpstreamError, match="task 'Second' waits for 'First', which is not in the workflow"
    ) as first:
        _ = workflow.spec
    assert (first.value.task, first.value.upstream) == ("Second", "First")
    workflow.add_node(First)
    with pytest.raises(exceptions.UnknownUpstreamError, match=r"did you mean 'Second'\?"):
        _ = workflow.spec


def test_a_cycle_is_shown_in_path_order():
    """The cycle is named in the order in which its tasks would run, beginning with the first by name."""
    workflow = new_workflow()
    workflow.add_node(Third, upstreams=Second)
    workflow.add_node(Fourth, upstreams=Third)
    workflow.add_node(Second, upstreams=Fourth)
    with pytest.raises(exceptions.CycleError, match="in a cycle: Fourth -> Second -> Third -> Fourth") as caught:
        _ = workflow.spec
    assert caught.value.path == ("Fourth", "Second", "Third", "Fourth")
    with pytest.raises(exceptions.CycleError):
        workflow.topological_sort()


def test_export_writes_one_file_of_the_dag_name(of_first, tmp_path):
    """Both spellings write the same file, and make the folder; without a name CI finds it where it always was."""
    exported = of_first.export_dag(tmp_path / "a" / "b")
    assert exported == tmp_path / "a" / "b" / "l0_to_l1_cam_1.0.py"
    assert of_first.export(str(tmp_path / "c")).read_bytes() == exported.read_bytes()
    assert [each.name for each in exported.parent.iterdir()] == ["l0_to_l1_cam_1.0.py"]
    assert of_first.export_dag().resolve() == tmp_path / "dags" / "l0_to_l1_cam_1.0.py"
    assert of_first.export().resolve() == tmp_path / "export" / "l0_to_l1_cam_1.0.py"


def test_a_failed_write_leaves_the_old_file(of_first, tmp_path):
    """A file that cannot be replaced stays as it was, and nothing half-written stays beside it."""
    blocked = tmp_path / "dags" / "l0_to_l1_cam_1.0.py"
    blocked.mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        of_first.export_dag(tmp_path / "dags")
    assert [each.name for each in (tmp_path / "dags").iterdir()] == [blocked.name]


@pytest.mark.parametrize("verb", ["export_dag", "export"])
def test_a_file_of_a_released_version_is_not_replaced(of_first, tmp_path, verb):
    """As with `build_utils`, an edited file stays, and the error says how to replace it."""
    export = getattr(of_first, verb)
    exported = export(tmp_path)
    original = exported.read_bytes()
    assert export(tmp_path) == exported
    exported.write_text("mine = True\n")
    with pytest.raises(
        exceptions.ReleasedFileError, match=r"different content, and nothing was written:\n.*l0_to_l1_cam_1.0.py"
    ):
        export(tmp_path)
    assert exported.read_text() == "mine = True\n"
    export(tmp_path, overwrite=True)
    assert exported.read_bytes() == original


def test_a_file_of_a_version_in_development_is_replaced(tmp_path):
    """It changes with the sources."""
    workflow = workflow_of(First, workflow_version="1.0.dev3")
    exported = workflow.export_dag(tmp_path)
    exported.write_text(exported.read_text() + "mine = True\n")
    assert "mine" not in workflow.export_dag(tmp_path).read_text()


@pytest.mark.parametrize("instead", ["without_airflow", "folder_named_airflow"])
def test_loading_without_airflow_says_what_to_install(of_first, instead, request):
    """The error holds the command to type; a folder that is named airflow is not Airflow."""
    request.getfixturevalue(instead)
    with pytest.raises(exceptions.MissingExtraError, match=r"pip install 'dkist-processing-core\[airflow\]'"):
        of_first.load()


def test_a_workflow_shows_what_it_is(of_first):
    """Its text form names dag id and tasks."""
    assert repr(of_first) == "Workflow('l0_to_l1_cam_1.0', workflow_package='support.workflows', nodes=[First])"
    assert repr(of_first.nodes[0]) == "Node(First, upstreams=[], resource_queue='default')"

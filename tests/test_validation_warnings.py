"""Advice on what is legal in a workflow but probably not intended: that it comes, and that it does not."""

import textwrap

import pytest
from support.sources import imported_sources

from dkist_processing_core.build_utils import validate_workflows

PREAMBLE = '''
    from dkist_processing_core import ResourceQueue, TaskBase, Workflow

    class One(TaskBase):
        """Do one thing."""
        def run(self): pass

    class Two(One):
        """Do another thing."""

    class Three(One):
        """Do a third thing."""

    w = Workflow(input_data="a", output_data="b", category="c", workflow_package=__package__, workflow_version="1.0")
'''


pytestmark = pytest.mark.usefixtures("without_airflow")


@pytest.fixture
def warnings_of(tmp_path):
    """Validate a module and return task and text of each warning but the one that the package is not installed."""

    def validate(text):
        source = textwrap.dedent(PREAMBLE) + textwrap.dedent(text)
        with imported_sources(tmp_path, {"one.py": source}, name="advice_of_a_test") as package:
            report = validate_workflows(package)
        assert all(each.remedy and each.workflow == "a_to_b_c" for each in report.warnings)
        assert {each.where for each in report.warnings} == {"advice_of_a_test.one:w"}
        return [(each.task, each.what) for each in report.warnings if "no installed distribution" not in each.what]

    return validate


def test_a_sound_workflow_has_no_warning(warnings_of):
    """Neither one of a single task nor one of connected tasks."""
    assert warnings_of("w.add_node(One)\n") == []
    assert (
        warnings_of("w.add_node(One)\nw.add_node(Two, upstreams=One)\nw.add_node(Three, upstreams=[One, Two])\n") == []
    )


def test_a_task_that_nothing_connects_is_named(warnings_of):
    """In a workflow of several tasks; one that others wait for is connected, whenever they were added."""
    alone = warnings_of("w.add_node(Two, upstreams=One)\nw.add_node(Three)\nw.add_node(One)\n")
    assert alone == [("Three", "1 task is not connected to any other task of the workflow: Three")]


@pytest.mark.parametrize("doc", ["", "''", "'  \\n '"], ids=["none", "empty", "blank"])
def test_a_task_without_docstring_is_named(warnings_of, doc):
    """Also if a base class has one, since that describes the other class."""
    [(task, what)] = warnings_of(f"class Silent(One):\n    {doc or 'pass'}\nw.add_node(Silent)\n")
    assert (task, what.partition(",")[0]) == ("Silent", "1 task is without a docstring")


def test_advice_is_given_once_for_all_tasks_of_a_workflow(warnings_of):
    """Not once for each task: a workflow of a hundred tasks would hide the rest of the report."""
    classes = "".join(f"class Silent{number}(One): pass\nw.add_node(Silent{number})\n" for number in (3, 1, 2))
    names = "Silent1, Silent2, Silent3"
    assert warnings_of(classes) == [
        (None, f"3 tasks are not connected to any other task of the workflow: {names}"),
        (None, f"3 tasks are without a docstring, so Airflow's pages do not describe them: {names}"),
    ]


@pytest.mark.parametrize(
    ("retries", "delay", "is_named"),
    [(2, 0, True), (2, 0.0, True), (2, 1, False), (2, 60, False), (0, 0, False)],
    ids=["no-delay", "no-delay-as-float", "a-second", "a-minute", "no-retries"],
)
def test_retries_without_a_delay_are_named(warnings_of, retries, delay, is_named):
    """Retries with one, or a delay of no retries, are as they should be."""
    text = f"class Again(One):\n    'Do it again.'\n    retries = {retries}\n    retry_delay_seconds = {delay}\n"
    found = warnings_of(text + "w.add_node(Again)\n")
    assert [task for task, _ in found] == ["Again"] * is_named
    assert all(what.startswith("1 task is retried without a delay") for _, what in found)


def test_each_pool_that_must_exist_is_named_once(warnings_of):
    """At the first task that needs it; the default pool is always there."""
    found = warnings_of(
        """
        w.add_node(One, resource_queue=ResourceQueue.HIGH_MEMORY)
        w.add_node(Two, upstreams=One, resource_queue="high_memory")
        w.add_node(Three, upstreams=Two, resource_queue="gpu")
        """
    )
    assert [(task, what.partition(" must")[0]) for task, what in found] == [
        ("One", "the pool 'high_memory_pool'"),
        ("Three", "the pool 'gpu_pool'"),
    ]


def test_a_workflow_with_a_fault_gives_no_advice(tmp_path):
    """What is broken comes first."""
    source = textwrap.dedent(PREAMBLE) + "class Silent(One): pass\nw.add_node(Silent, upstreams=Two)\n"
    with (
        imported_sources(tmp_path, {"one.py": source}, name="advice_of_a_test") as package,
        pytest.raises(ValueError, match="1 fault, 1 warning") as caught,
    ):
        validate_workflows(package)
    assert "no installed distribution" in caught.value.report.warnings[0].what

"""Warnings about what is legal in a workflow and probably not meant: that they come, and that they do not."""

import textwrap

import pytest
from support.sources import imported_sources

from dkist_processing_core.build_utils import validate_workflows
from dkist_processing_core.scheduling import loading

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


@pytest.fixture
def warnings_of(tmp_path, monkeypatch):
    """Validate a module and return task and text of each warning but the one that the package is not installed."""
    monkeypatch.setattr(loading, "find_spec", lambda _: None)

    def validate(text):
        source = textwrap.dedent(PREAMBLE) + textwrap.dedent(text)
        with imported_sources(tmp_path, {"one.py": source}, name="trap_of_a_test") as package:
            report = validate_workflows(package)
        assert all(each.remedy and each.workflow == "a_to_b_c" for each in report.warnings)
        assert {each.where for each in report.warnings} == {"trap_of_a_test.one:w"}
        return [(each.task, each.what) for each in report.warnings if "no installed distribution" not in each.what]

    return validate


def test_a_workflow_without_a_trap_has_no_warning(warnings_of):
    """Neither one of a single task nor one of connected tasks."""
    assert warnings_of("w.add_node(One)\n") == []
    assert (
        warnings_of("w.add_node(One)\nw.add_node(Two, upstreams=One)\nw.add_node(Three, upstreams=[One, Two])\n") == []
    )


def test_a_task_that_nothing_connects_is_named(warnings_of):
    """In a workflow of several tasks; one that others wait for is connected, whenever they were added."""
    [(task, what)] = warnings_of("w.add_node(Two, upstreams=One)\nw.add_node(Three)\nw.add_node(One)\n")
    assert (task, what) == ("Three", "nothing connects it to the other tasks of the workflow")
    assert [task for task, _ in warnings_of("w.add_node(One)\nw.add_node(Two)\n")] == ["One", "Two"]


@pytest.mark.parametrize("doc", ["", "''", "'  \\n '"], ids=["none", "empty", "blank"])
def test_a_task_without_docstring_is_named(warnings_of, doc):
    """Also if a class that it is derived from has one, since that tells of the other class."""
    [(task, what)] = warnings_of(f"class Silent(One):\n    {doc or 'pass'}\nw.add_node(Silent)\n")
    assert (task, what.partition(",")[0]) == ("Silent", "its class has no docstring")


@pytest.mark.parametrize(
    ("retries", "delay", "is_told"),
    [(2, 0, True), (2, 0.0, True), (2, 1, False), (2, 60, False), (0, 0, False)],
    ids=["no-delay", "no-delay-as-float", "a-second", "a-minute", "no-retries"],
)
def test_retries_without_a_delay_are_named(warnings_of, retries, delay, is_told):
    """Retries with one, or a delay of no retries, are as they should be."""
    text = f"class Again(One):\n    'Do it again.'\n    retries = {retries}\n    retry_delay_seconds = {delay}\n"
    told = warnings_of(text + "w.add_node(Again)\n")
    assert [task for task, _ in told] == ["Again"] * is_told
    assert all(f"it is tried again {retries} time(s) without a delay" in what for _, what in told)


def test_each_pool_that_must_be_made_is_named_once(warnings_of):
    """At the first task that needs it; the default pool is always there."""
    told = warnings_of(
        """
        w.add_node(One, resource_queue=ResourceQueue.HIGH_MEMORY)
        w.add_node(Two, upstreams=One, resource_queue="high_memory")
        w.add_node(Three, upstreams=Two, resource_queue="gpu")
        """
    )
    assert [(task, what.partition(" must")[0]) for task, what in told] == [
        ("One", "the pool 'high_memory_pool'"),
        ("Three", "the pool 'gpu_pool'"),
    ]


def test_a_workflow_with_a_fault_gives_no_warnings_besides(tmp_path, monkeypatch):
    """What is broken comes first."""
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    source = textwrap.dedent(PREAMBLE) + "class Silent(One): pass\nw.add_node(Silent, upstreams=Two)\n"
    with (
        imported_sources(tmp_path, {"one.py": source}, name="trap_of_a_test") as package,
        pytest.raises(ValueError, match="1 fault, 1 warning") as caught,
    ):
        validate_workflows(package)
    assert "no installed distribution" in caught.value.report.warnings[0].what

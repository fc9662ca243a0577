import pytest
from dkist_processing_core.build_utils import export_dags, extract_workflows_from_package, validate_workflows

import dkist_processing_example.workflows as workflow_package


def test_workflows_are_valid():
    """The library finds no fault in the package, and warns of nothing but the pool that Airflow must have."""
    report = validate_workflows(workflow_package)
    assert report.faults == []
    (warning,) = report.warnings
    assert (warning.task, "'high_memory_pool' must exist in Airflow" in warning.what) == ("MakeFlat", True)


@pytest.fixture
def workflows():
    return {each.workflow_name: each for each in extract_workflows_from_package(workflow_package)}


def test_order_of_raw_to_level1(workflows):
    """Dark and flat are made at the same time, after the frames are there and before they are needed."""
    nodes = {node.name: node for node in workflows["raw_to_level1_example"].nodes}
    assert {name: sorted(each.__name__ for each in node.upstreams) for name, node in nodes.items()} == {
        "SimulateFrames": [],
        "MakeDark": ["SimulateFrames"],
        "MakeFlat": ["SimulateFrames"],
        "CalibrateScience": ["MakeDark", "MakeFlat"],
        "MakePreview": ["CalibrateScience"],
    }
    assert [name for name, node in nodes.items() if node.resource_queue == "high_memory"] == ["MakeFlat"]


def test_failing_does_not_try_again(workflows):
    """The task that fails on purpose fails once, so that there is one message."""
    (task,) = [node.task for node in workflows["raw_to_level1_example_failing"].nodes if node.name == "FailOnPurpose"]
    assert task.retries == 0


def test_export(tmp_path):
    """Each workflow gives one DAG file, named after it and its version."""
    names = sorted(file.name for file in export_dags(workflow_package, tmp_path))
    assert names == ["raw_to_level1_example_dev.py", "raw_to_level1_example_failing_dev.py"]

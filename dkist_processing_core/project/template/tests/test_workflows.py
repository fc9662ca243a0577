import pytest
from dkist_processing_core.build_utils import export_dags, validate_workflows
from dkist_processing_core.local import run_workflow

from placeholder_module import workflows
from placeholder_module.workflows.l0_to_calibration import l0_to_calibration
from placeholder_module.workflows.l0_to_l1 import l0_to_l1


def test_workflows_have_no_fault_and_no_warning():
    report = validate_workflows(workflows)
    assert (report.faults, report.warnings) == ([], [])


def test_order_of_l0_to_l1():
    assert {node.name: sorted(each.__name__ for each in node.upstreams) for node in l0_to_l1.nodes} == {
        "ObserveFrames": [],
        "AverageDarks": ["ObserveFrames"],
        "AverageFlats": ["ObserveFrames"],
        "CalibrateScience": ["AverageDarks", "AverageFlats"],
        "QualityReport": ["CalibrateScience"],
    }


@pytest.mark.parametrize("workflow", [l0_to_l1, l0_to_calibration], ids=lambda workflow: workflow.workflow_name)
def test_workflow_runs_without_airflow(workflow):
    result = run_workflow(workflow, recipe_run_id=1)
    assert {name: task.state for name, task in result.tasks.items()} == {
        node.name: "success" for node in workflow.nodes
    }


def test_each_workflow_is_exported(tmp_path):
    files = export_dags(workflows, tmp_path)
    assert sorted(file.name for file in files) == [
        "l0_to_calibration_placeholder_category_dev.py",
        "l0_to_l1_placeholder_category_dev.py",
    ]

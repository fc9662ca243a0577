"""What a team's CI calls."""

import contextlib
import logging

import pytest
from support.sources import ORIGINAL_EXAMPLE, flow, imported_sources

from dkist_processing_core import build_utils
from dkist_processing_core.build_utils import export, export_dags, extract_workflows_from_package, validate_workflows
from dkist_processing_core.exceptions import WorkflowValidationError
from dkist_processing_core.validation import rules
from dkist_processing_core.validation.discovery import discover, import_fault

# The tests with a real Airflow are in other modules.
pytestmark = pytest.mark.usefixtures("without_airflow")


@pytest.fixture
def make_package(tmp_path):
    """Write a package of modules and import it."""
    with contextlib.ExitStack() as stack:
        yield lambda files: stack.enter_context(imported_sources(tmp_path / "sources", files, name="pkg_of_a_test"))


def test_a_package_without_fault_validates(make_package, tmp_path):
    """The report says so, and nothing is left in the working folder."""
    package = make_package({"one.py": flow("one"), "two.py": flow("two")})
    before = sorted(tmp_path.rglob("*.py"))
    report = validate_workflows(package)
    assert (report.faults, report.loaded_by_airflow) == ([], False)
    assert sorted(tmp_path.rglob("*.py")) == before


def test_validating_exports_if_a_folder_is_given(make_package, tmp_path):
    """The older use of the argument."""
    validate_workflows(make_package({"one.py": flow("one")}), tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a_to_b_cam_one_1.0.py"]


def test_the_exports_write_one_file_a_workflow(make_package, tmp_path):
    """Both spellings return the files that they wrote."""
    package = make_package({"one.py": flow("one"), "two.py": flow("two")})
    written = export_dags(package, tmp_path / "out")
    assert [each.name for each in written] == ["a_to_b_cam_one_1.0.py", "a_to_b_cam_two_1.0.py"]
    assert all(each.is_file() for each in written)
    assert [each.name for each in export(package)] == [each.name for each in written]
    assert (tmp_path / "export" / "a_to_b_cam_one_1.0.py").is_file()


def test_workflows_are_found_once_in_public_modules_only(make_package):
    """Under two names, in a sub-package, in the package itself; not in private modules."""
    package = make_package(
        {
            "__init__.py": "from .one import workflow\n",
            "one.py": flow("one") + "\nalias = workflow\n",
            "_private.py": flow("private"),
            "deep/__init__.py": "",
            "deep/er.py": flow("deep"),
            "_hidden/__init__.py": "",
            "_hidden/er.py": flow("hidden"),
        }
    )
    assert [each.detail for each in extract_workflows_from_package(package)] == ["one", "deep"]


def test_a_module_that_ends_the_program_is_a_fault(make_package):
    """As one that raises an error."""
    package = make_package({"leaves.py": "raise SystemExit(3)\n"})
    with pytest.raises(WorkflowValidationError, match="it does not import: SystemExit: 3, line 1 of"):
        extract_workflows_from_package(package)


def test_a_task_in_the_running_program_is_a_fault(make_package):
    """A worker could not import it."""
    package = make_package({"one.py": flow() + "MyTask1.__module__ = '__main__'\n"})
    with pytest.raises(ValueError, match="is defined in the program that is running, not in a module"):
        validate_workflows(package)


def test_another_version_than_the_installed_one_is_a_warning(make_package, monkeypatch):
    """The workers would install another release than the one that was checked."""
    monkeypatch.setattr(rules, "providing_distribution", lambda package: "dkist-processing-core")
    report = validate_workflows(make_package({"one.py": flow("one")}))
    [warning] = report.warnings
    assert "its version is 1.0, while dkist-processing-core 8" in warning.what


def test_a_package_that_nothing_provides_is_a_warning(make_package, caplog):
    """The name of the distribution is then derived, which the log says."""
    package = make_package({"one.py": flow("one")})
    with caplog.at_level(logging.WARNING):
        report = validate_workflows(package)
    assert [warning.where for warning in report.warnings] == [f"{package.__name__}.one:workflow"]
    derived = package.__name__.replace("_", "-")
    assert f"no installed distribution provides its workflow_package {package.__name__!r}" in caplog.text
    assert f"will install {derived!r}" in caplog.text


def test_a_file_in_the_way_of_the_folder_is_an_error(make_package, tmp_path):
    """It stays as it was."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OSError, match="out"):
        export_dags(make_package({"one.py": flow("one")}), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_the_example_of_the_original_package_exports(make_package):
    """Verbatim, in a package, with the process scheme."""
    package = make_package({"flow.py": ORIGINAL_EXAMPLE})
    assert [each.name for each in export_dags(package, "dags")] == ["My_Workflow_dev.py"]


def test_a_package_is_searched_once_for_all_that_is_exported(make_package, monkeypatch, tmp_path):
    """Also for the Dockerfile, which needs the category of the workflows: the spec has it."""
    searched = []

    def counted(package):
        searched.append(package)
        return discover(package)

    monkeypatch.setattr(build_utils, "discover", counted)
    package = make_package({"one.py": flow("one")})
    [spec] = validate_workflows(package).workflows
    assert (spec.category, len(searched)) == ("cam", 1)
    build_utils.export_notebook_dockerfile(package, context=tmp_path)
    assert len(searched) == 2


def test_no_line_of_this_library_is_named_for_a_module_that_does_not_import():
    """The line that called it is, even if it is in no file of the package."""
    with pytest.raises(TypeError) as caught:
        build_utils.Workflow(workflow_package="p")
    what = import_fault("package_that_is_not_there", caught.value).what
    assert what.endswith(f' of {__file__}: build_utils.Workflow(workflow_package="p")')

"""What a team's CI calls."""

import importlib
import logging
import sys
import textwrap

import pytest
from support.sources import ORIGINAL_EXAMPLE

from dkist_processing_core import build_utils
from dkist_processing_core.authoring.distributions import providing_distribution
from dkist_processing_core.build_utils import export, export_dags, extract_workflows_from_package, validate_workflows
from dkist_processing_core.exceptions import WorkflowValidationError
from dkist_processing_core.validation import rules
from dkist_processing_core.validation.discovery import discover, import_fault

# The tests with a real Airflow are in other modules.
pytestmark = pytest.mark.usefixtures("without_airflow")

WORKFLOW = '''
    from dkist_processing_core import TaskBase, Workflow

    class MyTask1(TaskBase):
        """Do the first thing."""
        def run(self):
            print("Running MyTask1")

    class MyTask2(TaskBase):
        """Do the second thing."""
        def run(self):
            print("Running MyTask2")

    def new(detail, version="1.0"):
        return Workflow(input_data="a", output_data="b", category="c", detail=detail,
                        workflow_package=__package__, workflow_version=version)
'''


@pytest.fixture
def make_package(tmp_path, monkeypatch):
    """Write a package of modules and import it."""

    def make(files, name="pkg_of_a_test"):
        folder = tmp_path / "sources" / name
        for path, text in {"__init__.py": "", **files}.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(folder.parent))
        return importlib.import_module(name)

    yield make
    providing_distribution.cache_clear()
    for name in [name for name in sys.modules if name.startswith("pkg_of_a_test")]:
        del sys.modules[name]


def good_module(detail):
    return textwrap.dedent(WORKFLOW) + textwrap.dedent(
        f"""
        workflow = new("{detail}")
        workflow.add_node(MyTask1, upstreams=None)
        workflow.add_node(MyTask2, upstreams=MyTask1)
        """
    )


def test_a_package_without_fault_validates(make_package, tmp_path):
    """The report says so, and nothing is left in the working folder."""
    package = make_package({"one.py": good_module("one"), "two.py": good_module("two")})
    before = sorted(tmp_path.rglob("*.py"))
    report = validate_workflows(package)
    assert (report.faults, report.loaded_by_airflow) == ([], False)
    assert sorted(tmp_path.rglob("*.py")) == before


def test_validating_exports_if_a_folder_is_given(make_package, tmp_path):
    """The older use of the argument."""
    validate_workflows(make_package({"one.py": good_module("one")}), tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a_to_b_c_one_1.0.py"]


def test_the_exports_write_one_file_a_workflow(make_package, tmp_path):
    """Both spellings return the files that they wrote."""
    package = make_package({"one.py": good_module("one"), "two.py": good_module("two")})
    written = export_dags(package, tmp_path / "out")
    assert [each.name for each in written] == ["a_to_b_c_one_1.0.py", "a_to_b_c_two_1.0.py"]
    assert all(each.is_file() for each in written)
    assert [each.name for each in export(package)] == [each.name for each in written]
    assert (tmp_path / "export" / "a_to_b_c_one_1.0.py").is_file()


def test_workflows_are_found_once_in_public_modules_only(make_package):
    """Under two names, in a sub-package, in the package itself; not in private modules."""
    package = make_package(
        {
            "__init__.py": "from .one import workflow\n",
            "one.py": good_module("one") + "\nalias = workflow\n",
            "_private.py": good_module("private"),
            "deep/__init__.py": "",
            "deep/er.py": good_module("deep"),
            "_hidden/__init__.py": "",
            "_hidden/er.py": good_module("hidden"),
        }
    )
    assert [each.detail for each in extract_workflows_from_package(package)] == ["one", "deep"]


def test_all_faults_of_all_workflows_come_in_one_report(make_package, tmp_path):
    """Eleven faults in eight modules give eleven entries, each with place and remedy, and nothing is written."""
    package = make_package(
        {
            "good.py": good_module("good"),
            "empty.py": textwrap.dedent(WORKFLOW) + "w = new('empty')\n",
            "version.py": good_module("version").replace('"1.0"', '"one"'),
            "cyclic.py": textwrap.dedent(WORKFLOW)
            + "w = new('cyclic')\nw.add_node(MyTask1, upstreams=MyTask2)\nw.add_node(MyTask2, upstreams=MyTask1)\n",
            "unknown.py": textwrap.dedent(WORKFLOW)
            + "w = new('unknown', 'V1-x')\nw.add_node(MyTask1, upstreams=[MyTask2])\n"
            + "class Other(MyTask1): 'Do another thing.'\nw.add_node(Other, upstreams=MyTask2)\n",
            "local.py": textwrap.dedent(WORKFLOW)
            + "def make():\n    class Local(MyTask1): 'Do it here.'\n    return Local\n"
            + "w = new('local')\nw.add_node(make())\n"
            + "Renamed = MyTask1\ndel MyTask1\nw.add_node(Renamed)\n",
            "again.py": good_module("good"),
            "broken.py": "import no_such_module\n",
            "refused.py": textwrap.dedent(WORKFLOW) + "w = new('a b')\n",
        }
    )
    with pytest.raises(ValueError, match="11 faults") as caught:
        export_dags(package, tmp_path / "out")
    assert isinstance(caught.value, WorkflowValidationError)
    name = package.__name__
    summary = [
        (fault.where.removeprefix(name + "."), fault.task, fault.what.partition(":")[0].split(name)[0][:44])
        for fault in caught.value.report.faults
    ]
    assert summary == [
        ("broken", None, "it does not import"),
        ("refused", None, "it does not import"),
        ("good:workflow", None, "its dag id 'a_to_b_c_good_1.0' is also that "),
        ("cyclic:w", "MyTask1", "the tasks depend on each other in a cycle"),
        ("empty:w", None, "it has no nodes"),
        ("local:w", "Local", "its class '"),
        ("local:w", "MyTask1", "its class cannot be imported as '"),
        ("unknown:w", None, "its version 'V1-x' is neither 'dev' nor a ve"),
        ("unknown:w", "MyTask1", "task 'MyTask1' waits for 'MyTask2', which is"),
        ("unknown:w", "Other", "task 'Other' waits for 'MyTask2', which is n"),
        ("version:workflow", None, "its version 'one' is neither 'dev' nor a ver"),
    ]
    assert all(fault.remedy for fault in caught.value.report.faults)
    assert not (tmp_path / "out").exists()
    assert str(caught.value).startswith(
        f"{name}: 11 faults, 1 warning\nfault 1: {name}.broken\n    it does not import: "
    )
    assert str(caught.value).count("\n    -> ") == 11 + 1


def test_a_module_that_does_not_import_is_blamed_on_its_own_line(make_package):
    """The place is theirs, not where we or Python import it."""
    package = make_package({"broken.py": "x = 1\nx.nonsense\n", "leaves.py": "raise SystemExit(3)\n"})
    with pytest.raises(WorkflowValidationError) as caught:
        extract_workflows_from_package(package)
    broken, leaves = caught.value.report.faults
    assert "AttributeError: 'int' object has no attribute 'nonsense', line 2 of" in broken.what
    assert broken.what.endswith("broken.py: x.nonsense")
    assert leaves.what.startswith("it does not import: SystemExit: 3, line 1 of")


def test_a_package_without_workflows_is_a_fault(make_package):
    """A CI that exports nothing has a mistake in it."""
    with pytest.raises(ValueError, match="it declares no workflow"):
        validate_workflows(make_package({"one.py": "x = 1\n"}))


def test_a_task_in_the_running_program_is_a_fault(make_package):
    """A worker could not import it."""
    package = make_package(
        {"one.py": textwrap.dedent(WORKFLOW) + "MyTask1.__module__ = '__main__'\nw = new('x')\nw.add_node(MyTask1)\n"}
    )
    with pytest.raises(ValueError, match="is defined in the program that is running, not in a module"):
        validate_workflows(package)


def test_an_abstract_task_is_a_fault(make_package):
    """It could only fail on the worker."""
    module = textwrap.dedent(WORKFLOW) + "class Half(TaskBase): pass\nw = new('half')\nw.add_node(Half)\n"
    with pytest.raises(ValueError, match="its class leaves run abstract, so it cannot be run"):
        validate_workflows(make_package({"one.py": module}))


def test_another_version_than_the_installed_one_is_a_warning(make_package, monkeypatch):
    """The workers would install another release than the one that was checked."""
    monkeypatch.setattr(rules, "providing_distribution", lambda package: "dkist-processing-core")
    report = validate_workflows(make_package({"one.py": good_module("one")}))
    [warning] = report.warnings
    assert "its version is 1.0, while dkist-processing-core 8" in warning.what


def test_a_package_that_nothing_provides_is_a_warning(make_package, caplog):
    """The name of the distribution is then derived, which the log says."""
    package = make_package({"one.py": good_module("one")})
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
        export_dags(make_package({"one.py": good_module("one")}), tmp_path / "out")
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
    package = make_package({"one.py": good_module("one")})
    [spec] = validate_workflows(package).workflows
    assert (spec.category, len(searched)) == ("c", 1)
    build_utils.export_notebook_dockerfile(package, context=tmp_path)
    assert len(searched) == 2


def test_no_line_of_this_library_is_named_for_a_module_that_does_not_import():
    """The line that called it is, even if it is in no file of the package."""
    with pytest.raises(TypeError) as caught:
        build_utils.Workflow(workflow_package="p")
    what = import_fault("package_that_is_not_there", caught.value).what
    assert what.endswith(f' of {__file__}: build_utils.Workflow(workflow_package="p")')

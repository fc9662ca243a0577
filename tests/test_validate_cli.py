"""What ``validate`` and the functions behind it find in a package, and how it is told."""

import json
import re
import textwrap

import pytest
from support.command_line import CAMERA_FILES, run_on_terminal, run_program
from support.sources import flow, imported_sources, write_sources

from dkist_processing_core.build_utils import validate_workflows

TASKS = '''
    from dkist_processing_core import TaskBase, Workflow

    class Dark(TaskBase):
        """Make the dark."""
        def run(self): pass

    class Flat(Dark):
        """Make the flat."""

    def new(detail, version="1.0"):
        return Workflow(input_data="a", output_data="b", category="c", detail=detail,
                        workflow_package=__package__, workflow_version=version)
'''


def module(text):
    return textwrap.dedent(TASKS) + textwrap.dedent(text)


TWELVE_FAULTS = {
    "good.py": module("w = new('good')\nw.add_node(Dark)\nw.add_node(Flat, upstreams=Dark)\n"),
    "a_import.py": "import no_such_module\n",
    "b_syntax.py": "w = (\n",
    "c_illegal_name.py": module("w = new('a b')\n"),
    "d_twice.py": module("w = new('twice')\nw.add_node(Dark)\nw.add_node(Dark)\n"),
    "same_id.py": module("w = new('good')\nw.add_node(Dark)\n"),
    "f_empty.py": module("w = new('empty')\n"),
    "g_circle.py": module("w = new('circle')\nw.add_node(Dark, upstreams=Flat)\nw.add_node(Flat, upstreams=Dark)\n"),
    "h_unknown.py": module("w = new('unknown')\nw.add_node(Flat, upstreams=Dark)\n"),
    "i_version.py": module("w = new('version', 'newest')\nw.add_node(Dark)\n"),
    "j_local.py": module(
        """
        def make():
            class Local(Dark):
                'Do it here.'
            return Local
        w = new('local')
        w.add_node(make())
        """
    ),
    "k_renamed.py": module("w = new('renamed')\nw.add_node(Dark)\ndel Dark\n"),
    "l_abstract.py": module("class Half(TaskBase): 'Do half of it.'\nw = new('abstract')\nw.add_node(Half)\n"),
}
# Place, workflow, task, the beginning of what is told, and of the remedy, in the order of the report: what does not
# import comes first, then what is wrong between workflows, then workflow by workflow.
MEND, TOP_LEVEL = "Correct it until `python -c", "Define the class at the top level"
TOLD = [
    ("a_import", None, None, "it does not import: ModuleNotFoundError: No module named", MEND),
    ("b_syntax", None, None, "it does not import: SyntaxError: '(' was never closed, line 1", MEND),
    ("c_illegal_name", None, None, "it does not import: IllegalNameError: detail 'a b'", MEND),
    ("d_twice", "a_to_b_c_twice", "Dark", "it does not import: DuplicateTaskError: ", MEND),
    ("same_id:w", "a_to_b_c_good", None, "its DAG id 'a_to_b_c_good_1.0' is also used by", "Give one of them"),
    ("f_empty:w", "a_to_b_c_empty", None, "it has no nodes", "Add at least one with add_node("),
    ("g_circle:w", "a_to_b_c_circle", "Dark", "the tasks depend on each other in a cycle", "Remove one of these"),
    ("h_unknown:w", "a_to_b_c_unknown", "Flat", "task 'Flat' waits for 'Dark', which is", "Add it with add_node(Dark)"),
    ("i_version:w", "a_to_b_c_version", None, "its version 'newest' is neither 'dev'", "Set workflow_version or"),
    ("j_local:w", "a_to_b_c_local", "Local", "its class '", TOP_LEVEL),
    ("k_renamed:w", "a_to_b_c_renamed", "Dark", "its class cannot be imported as '", TOP_LEVEL),
    (
        "l_abstract:w",
        "a_to_b_c_abstract",
        "Half",
        "its class does not implement run",
        "Implement run, or add a subclass",
    ),
]


def assert_told(faults):
    """Compare the faults of a report, as dictionaries, with what is wrong with the package."""
    assert len(faults) == len(TOLD) == 12
    for fault, (where, workflow, task, what, remedy) in zip(faults, TOLD, strict=True):
        assert (fault["where"], fault["workflow"], fault["task"]) == (f"faulty_of_a_test.{where}", workflow, task)
        assert fault["what"].startswith(what)
        assert fault["remedy"].startswith(remedy)


@pytest.fixture
def faulty(tmp_path):
    """The name of a package of 12 modules with a fault each, and a good one."""
    write_sources(tmp_path, TWELVE_FAULTS, name="faulty_of_a_test")
    return "faulty_of_a_test"


def test_twelve_faults_are_told_by_the_command_line(command, faulty, tmp_path):
    """Those and no others, each with workflow, task, place and remedy; exit status 1."""
    status, output, error = command("validate", faulty, "--json")
    report = json.loads(output)
    assert (status, error) == (1, "")
    assert_told(report["faults"])
    assert report["loaded_by_airflow"] is False
    assert report["workflows"] == ["a_to_b_c_good_1.0", "a_to_b_c_good_1.0"]
    output = command("validate", faulty).check(status=1, stderr="").stdout
    assert output.startswith("faulty_of_a_test: 12 faults, 1 warning\nfault 1: faulty_of_a_test.a_import\n")
    assert sum(line.startswith("fault ") for line in output.splitlines()) == 12
    for _, workflow, task, what, remedy in TOLD:
        assert f"    {what}" in output
        assert f"    -> {remedy}" in output
        assert workflow is None or f"(workflow {workflow}{f', task {task}' if task else ''})" in output
    error = command("export", faulty).check(status=1, stdout="").stderr
    assert error.count("\nfault ") == 12
    assert not (tmp_path / "dags").exists()


def test_twelve_faults_are_told_where_airflow_is_installed(airflow, faulty):
    """The good workflow goes on to Airflow, and the faults are the same."""
    status, output, _ = run_program("validate", faulty, "--json")
    report = json.loads(output)
    assert (status, report["loaded_by_airflow"]) == (1, True)
    assert_told(report["faults"])


def test_the_report_says_that_airflow_has_loaded_the_files(airflow, camera):
    """With the count; a program reads it from the JSON."""
    output = run_program("validate", camera, "--require-airflow").check(stderr="").stdout
    assert output.splitlines()[-1] == (
        "2 valid workflows, checked by this library, then loaded and serialised by Airflow."
    )


def test_the_report_says_that_airflow_is_not_there(command, camera):
    """And what to install."""
    output = command("validate", camera).check(stderr="").stdout
    assert output.splitlines()[-1] == (
        "2 valid workflows, checked by this library only. If Airflow is installed, it loads them as well: "
        "pip install 'dkist-processing-core[airflow]'"
    )


def test_airflow_can_be_required(command, camera):
    """Exit status 1 where it is not installed, before anything is imported."""
    status, output, error = command("validate", camera, "--require-airflow")
    assert (status, output) == (1, "")
    assert "Validation by Airflow needs the extra 'airflow'" in error
    assert "pip install 'dkist-processing-core[airflow]'" in error


def test_a_folder_called_airflow_is_not_airflow(tmp_path, folder_named_airflow):
    """As deployments have one, next to where validation runs."""
    with imported_sources(tmp_path / "sources", {"one.py": flow()}) as package:
        assert validate_workflows(package).loaded_by_airflow is False


def test_a_package_that_does_not_import_is_a_report_as_well(command, tmp_path):
    """So a program that reads the JSON need not know two kinds of answer."""
    write_sources(tmp_path, {"__init__.py": "import no_such_module\n"}, name="faulty_of_a_test")
    status, output, _ = command("validate", "faulty_of_a_test", "--json")
    [fault] = json.loads(output)["faults"]
    assert (status, fault["where"]) == (1, "faulty_of_a_test")
    assert "No module named 'no_such_module', line 1 of" in fault["what"]


def test_a_package_without_workflows_is_a_fault(command, tmp_path):
    """A CI that checks nothing has a mistake in it; the package and the remedy are named."""
    write_sources(tmp_path, {"one.py": "x = 1\n", "_private.py": flow()}, name="faulty_of_a_test")
    output = command("validate", "faulty_of_a_test").check(status=1).stdout
    assert "fault 1: faulty_of_a_test\n    it declares no workflow\n    -> Assign a Workflow" in output
    assert output.splitlines()[-1].startswith("0 valid workflows, ")


def test_a_warning_is_told_once(command, camera):
    """In the report of validate, and on the standard error stream of an export; it changes no exit status."""
    warning = "the pool 'high_memory_pool' must exist in Airflow"
    status, output, error = command("validate", camera)
    assert (status, output.count(warning), error) == (0, 1, "")
    status, output, error = command("export", camera)
    assert (status, output.count(warning), error.count(warning)) == (0, 0, 1)
    assert f"Warning: {camera}.level1:level1 (workflow l0_to_l1_camera, task Calibrate)\n    {warning}" in error


def test_a_package_that_sets_up_logging_does_not_double_the_warnings(command, tmp_path):
    """As some do when they are imported."""
    noisy = {**CAMERA_FILES, "__init__.py": "import logging\nlogging.basicConfig(force=True)\n"}
    write_sources(tmp_path, noisy, name="camera_of_a_test")
    _, _, error = command("export", "camera_of_a_test.workflows")
    assert error.count("must exist in Airflow") == 1


def test_a_terminal_shows_colours_and_a_file_does_not(camera):
    """Unless NO_COLOR is set; lines end between words, and what is waited for is no longer there at the end."""
    status, written = run_on_terminal("validate", camera)
    assert status == 0
    assert "\x1b[1;33mwarning 1:\x1b[0m camera_of_a_test" in written
    before, _, plain = re.sub(r"\x1b\[[\d;]*m", "", written).rpartition("\x1b[2K")
    assert f"Checking {camera}" in before
    assert plain.startswith(f"{camera}: 0 faults")
    assert max(map(len, plain.splitlines())) <= 80
    assert "\n      " in plain
    status, written = run_on_terminal("validate", camera, NO_COLOR="1")
    assert "\x1b[3" not in written
    status, output, error = run_program("validate", camera)
    assert "\x1b" not in output + error
    assert "Checking" not in output + error


@pytest.mark.parametrize("verb", ["export", "list", "notebooks"])
def test_faults_look_the_same_whatever_command_meets_them(faulty, tmp_path, verb):
    """On a terminal, coloured and broken where it ends, and every warning once."""
    status, written = run_on_terminal(verb, faulty)
    assert status == 1
    assert "\x1b[1;31mError:\x1b[0m faulty_of_a_test: " in written
    assert "\x1b[1;31mfault 1:\x1b[0m faulty_of_a_test.a_import\n" in written
    plain = re.sub(r"\x1b\[[\d;]*m", "", written).rpartition("\x1b[2K")[2]
    assert max(len(line) for line in plain.splitlines() if str(tmp_path) not in line) <= 80
    assert written.lower().count("warning 1:") == (verb != "list")
    assert "Warning:" not in written

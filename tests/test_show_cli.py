"""What ``list`` and ``show`` tell of a package."""

import json
import re

import pytest
from support.command_line import CAMERA, CAMERA_FILES
from support.sources import flow, write_sources


def test_workflows_are_listed(command, camera):
    """As a table, and as JSON for a program."""
    output = command("list", camera).check(stderr="").stdout
    assert output.splitlines() == [
        "workflow         version  tasks  where",
        f"l0_to_l1_camera  1.0.0    3      {camera}.level1:level1",
        f"l1_to_l2_camera  1.0.0    1      {camera}.level2:level2",
    ]
    output = command("list", camera, "--json").check(stderr="").stdout
    assert json.loads(output)[1] == {
        "where": f"{camera}.level2:level2",
        "workflow": "l1_to_l2_camera",
        "version": "1.0.0",
        "dag_id": "l1_to_l2_camera_1.0.0",
        "tasks": ["MakeDark"],
    }


def test_a_package_without_workflows_lists_none(command, tmp_path):
    """In so many words, and with an empty list for a program; to show one of them is an error of usage."""
    write_sources(tmp_path, {"_private.py": flow(), "_hidden/__init__.py": flow()}, name="empty_of_a_test")
    assert command("list", "empty_of_a_test") == (0, "There are no workflows in empty_of_a_test.\n", "")
    assert command("list", "empty_of_a_test", "--json") == (0, "[]\n", "")
    command("show", "empty_of_a_test").check("there are no workflows in empty_of_a_test.", status=2)


def test_a_workflow_is_listed_once(command, tmp_path):
    """Under the first of its names, also if another module imports it."""
    files = {"__init__.py": "from .one import workflow as again\n", "one.py": f"{flow()}\nalias = workflow\n"}
    write_sources(tmp_path, files, name="twice_of_a_test")
    _, output, _ = command("list", "twice_of_a_test", "--json")
    assert [each["where"] for each in json.loads(output)] == ["twice_of_a_test:again"]
    assert command("export", "twice_of_a_test")[:2] == (0, "dags/a_to_b_cam_one_1.0.py\n")


def test_a_module_that_fails_hides_no_other(command, tmp_path):
    """The workflows of the others are listed and shown; the fault is told, and the exit status of list is 1."""
    write_sources(tmp_path, {**CAMERA_FILES, "workflows/broken.py": "import no_such_module\n"}, name=CAMERA)
    package = f"{CAMERA}.workflows"
    status, output, error = command("list", package)
    assert (status, len(output.splitlines())) == (1, 3)
    assert error.startswith(f"Error: {package}: 1 fault, 0 warnings\nfault 1: {package}.broken\n")
    status, output, error = command("list", package, "--json")
    assert (status, len(json.loads(output))) == (1, 2)
    assert "No module named 'no_such_module', line 1 of " in error
    assert command("show", f"{package}:level2")[0] == 0
    command("show", f"{package}:in_the_broken_one").check("No module named 'no_such_module'", status=1, stdout="")


def test_a_workflow_is_shown(command, camera):
    """Its tasks in order, with what each waits for and where it runs; as JSON the whole of its description."""
    output = command("show", f"{camera}:level1").check(stderr="").stdout
    first, *rows = output.splitlines()
    assert first == "l0_to_l1_camera, version 1.0.0, from camera-of-a-test, operator bash"
    assert [re.split(" {2,}", row) for row in rows] == [
        ["task", "upstreams", "queue", "retries", "extras", "constraints", "class"],
        ["MakeDark", "-", "default", "0", "-", "-", "camera_of_a_test.tasks:MakeDark"],
        ["MakeFlat", "MakeDark", "default", "2 after 60 s", "-", "-", "camera_of_a_test.tasks:MakeFlat"],
        ["Calibrate", "MakeDark, MakeFlat", "high_memory", "0", "-", "-", "camera_of_a_test.tasks:Calibrate"],
    ]
    status, output, _ = command("show", f"{camera}:level1", "--json")
    spec = json.loads(output)
    assert (status, spec["dag_id"], spec["nodes"][2]["upstreams"]) == (
        0,
        "l0_to_l1_camera_1.0.0",
        ["MakeDark", "MakeFlat"],
    )


def test_the_only_workflow_need_not_be_named(command, camera):
    """A module with one is enough."""
    status, output, _ = command("show", f"{camera}.level2")
    assert (status, output.partition(",")[0]) == (0, "l1_to_l2_camera")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{}"], "has 2 workflows; name one of them as {}:WORKFLOW: l0_to_l1_camera, l1_to_l2_camera."),
        (["{}:l0_to_l1_camra"], "no workflow 'l0_to_l1_camra' in {} (did you mean 'l0_to_l1_camera'?)"),
        (["{}:level3"], "no workflow 'level3' in {} (did you mean 'level"),
        (["{}:level1", "--node", "MakeDrak"], "no task 'MakeDrak' in l0_to_l1_camera (did you mean 'MakeDark'?)"),
        (["{}:level1", "--node", "Nothing"], "no task 'Nothing' in l0_to_l1_camera."),
    ],
    ids=["several", "unknown", "variable", "task", "nothing-close"],
)
def test_a_name_that_is_not_there_is_an_error_of_usage(command, camera, arguments, expected):
    """Exit status 2, with the name that was probably meant."""
    command("show", *[each.format(camera) for each in arguments]).check(expected.format(camera), status=2, stdout="")


def test_a_name_of_several_workflows_is_an_error_of_usage(command, tmp_path):
    """Exit status 2, with where each of them is; a dag id tells them apart."""
    files = {"one.py": flow("one"), "two.py": flow("two")}
    write_sources(tmp_path, files, name="pair_of_a_test")
    status, _, error = command("show", "pair_of_a_test:workflow")
    assert status == 2
    assert "'workflow' matches 2 workflows in pair_of_a_test" in error
    assert "name one of them: pair_of_a_test.one:workflow, pair_of_a_test.two:workflow." in error
    assert command("show", "pair_of_a_test.two:workflow")[0] == 0
    assert command("show", "pair_of_a_test:a_to_b_cam_two_1.0")[0] == 0


def keys(value):
    """Return every key in a value that JSON can hold."""
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("words", ["list {}", "validate {}", "show {}:level1"])
def test_the_keys_of_json_are_in_snake_case(command, camera, words):
    """Of all commands alike."""
    _, output, _ = command(*words.format(camera).split(), "--json")
    found = keys(json.loads(output))
    assert found
    assert [key for key in found if not re.fullmatch(r"[a-z]+(_[a-z]+)*", key)] == []

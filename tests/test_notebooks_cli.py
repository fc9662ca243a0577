"""The commands for manual processing: notebooks, dockerfile and rollback."""

import json
import os
import pty
import re
from pathlib import Path

import pytest
from support.command_line import run_program
from support.sources import flow, write_sources

PACKAGE = "package_of_a_command"
ARGUMENTS = ["--recipe-run-id", "7", "--workflow-name", "a_to_b_cam", "--workflow-version", "1.0"]

TASKS = """
    import logging
    from dkist_processing_core import TaskBase

    class Undoes(TaskBase):
        def __enter__(self):
            self.store = "the store"
            return super().__enter__()
        def run(self):
            print("run")
        def rollback(self):
            logging.getLogger(__name__).info("Removed what %d put into %s", self.recipe_run_id, self.store)

    class DoesNot(TaskBase):
        def run(self): ...

    class Fails(Undoes):
        def rollback(self):
            raise OSError("the store is away")
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """A package in the working folder."""
    write_sources(tmp_path, {"flow.py": flow(version=None), "tasks.py": TASKS}, name=PACKAGE)
    monkeypatch.setenv("BUILD_VERSION", "1.0")


def test_notebooks_names_what_it_wrote(command):
    """The files on the standard output, how many on the standard error stream."""
    error = command("notebooks", PACKAGE).check(stdout="notebooks/a_to_b_cam_one_1.0.ipynb\n").stderr
    assert error.endswith("1 notebook(s) in notebooks\n")
    assert Path("notebooks/a_to_b_cam_one_1.0.ipynb").is_file()


def test_notebooks_writes_to_another_folder_and_json(command):
    """For a program to read."""
    _, output, _ = command("notebooks", PACKAGE, "--to", "out/here", "--json")
    assert json.loads(output) == ["out/here/a_to_b_cam_one_1.0.ipynb"]


def test_notebooks_does_not_replace_what_somebody_has_filled_in(command):
    """Unless it is told to."""
    command("notebooks", PACKAGE)
    file = Path("notebooks/a_to_b_cam_one_1.0.ipynb")
    before = file.read_text()
    file.write_text(before.replace("= None", "= 7"))
    status, _, error = command("notebooks", PACKAGE)
    assert (status, "--overwrite on the command line" in " ".join(error.split())) == (1, True), error
    assert "= 7" in file.read_text()
    assert command("notebooks", PACKAGE, "--overwrite")[0] == 0
    assert file.read_text() == before


def test_dockerfile_writes_all_that_a_build_needs(command):
    """Into the current folder, or into another."""
    error = command("dockerfile", PACKAGE).check(stdout="Dockerfile\n").stderr
    assert error.endswith("Build the image: docker build .\n")
    assert command("dockerfile", PACKAGE, "--to", "image", "--json")[1] == '[\n  "image/Dockerfile"\n]\n'
    assert Path("Dockerfile").read_text() == Path("image/Dockerfile").read_text()
    assert Path("image/notebooks/a_to_b_cam_one_1.0.ipynb").is_file()


def test_dockerfile_of_no_release_says_what_to_set(command, monkeypatch):
    """There is nothing that an image could install."""
    monkeypatch.delenv("BUILD_VERSION")
    command("dockerfile", PACKAGE).check("Set BUILD_VERSION to the version of the release", status=1)


def rollback(*arguments, **options):
    return run_program("rollback", *arguments, merge=True, **options)


def test_a_task_is_rolled_back():
    """Inside of its with statement, without being run; what it logs is shown."""
    done = rollback(f"{PACKAGE}.tasks:Undoes", *ARGUMENTS, "--yes").check()
    *lines, last = done.stdout.splitlines()
    assert any(line.endswith(f"INFO {PACKAGE}.tasks: Removed what 7 put into the store") for line in lines)
    assert last == "rolled back: Undoes of recipe run 7, workflow a_to_b_cam 1.0"
    assert "run" not in lines


def test_where_nobody_can_be_asked_nothing_is_rolled_back():
    """Such as in a script, unless --yes is given."""
    done = rollback(f"{PACKAGE}.tasks:Undoes", *ARGUMENTS)
    assert done.returncode == 2
    assert "the standard input is not a terminal, so confirm with --yes." in done.stdout
    assert "Removed" not in done.stdout


@pytest.mark.parametrize(
    ("answer", "status", "removes"), [("y", 0, True), ("n", 1, False), ("", 1, False)], ids=["yes", "no", "enter"]
)
def test_a_person_at_a_terminal_is_asked(answer, status, removes):
    """And nothing is the answer no."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = rollback(f"{PACKAGE}.tasks:Undoes", *ARGUMENTS, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Roll back Undoes of recipe run 7, workflow a_to_b_cam 1.0? [y/N]" in done.stdout
    assert (done.returncode, "Removed" in done.stdout) == (status, removes)


def test_a_task_without_rollback_has_nothing_to_undo():
    """That is said, and is no error."""
    done = rollback(f"{PACKAGE}.tasks:DoesNot", *ARGUMENTS, "--yes")
    assert done.returncode == 0
    assert done.stdout == "DoesNot does not override rollback, so there is nothing to undo.\n"


def test_a_rollback_that_fails_says_so():
    """With the traceback of the task, and a status that a script sees."""
    done = rollback(f"{PACKAGE}.tasks:Fails", *ARGUMENTS, "--yes").check(
        "The rollback of Fails of recipe run 7, workflow a_to_b_cam 1.0 failed; a part may have been undone",
        "OSError: the store is away",
        status=1,
    )
    assert "rolled back" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: f"{PACKAGE}.tasks:Undos"}, "there is no 'Undos' in package_of_a_command.tasks (did you mean 'Undoes'?)"),
        ({0: f"{PACKAGE}.task:Undoes"}, "there is no 'task' in package_of_a_command (did you mean 'tasks'?)"),
        ({0: f"{PACKAGE}.tasks:logging"}, "not a subclass of dkist_processing_core.TaskBase"),
        ({2: "seven"}, "--recipe-run-id must be an integer, not 'seven'."),
    ],
    ids=["class", "module", "no-task", "id"],
)
def test_a_wrong_command_line_is_an_error_that_undoes_nothing(changes, message):
    """It says which word is wrong."""
    words = [f"{PACKAGE}.tasks:Undoes", *ARGUMENTS, "--yes"]
    for place, word in changes.items():
        words[place] = word
    done = rollback(*words).check(status=2)
    assert message in re.sub(r"\s+", " ", done.stdout)


def test_a_task_whose_module_does_not_import_is_blamed_on_its_own_line():
    """Not on ours."""
    Path(PACKAGE, "tasks.py").write_text("x = 1\nx.nonsense\n")
    done = rollback(f"{PACKAGE}.tasks:Undoes", *ARGUMENTS, "--yes")
    assert done.returncode == 1
    assert "AttributeError: 'int' object has no attribute 'nonsense', line 2 of" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("missing", ["--recipe-run-id", "--workflow-name", "--workflow-version"])
def test_a_rollback_needs_to_know_of_what(missing):
    """There is no default for what is deleted."""
    words = list(ARGUMENTS)
    place = words.index(missing)
    del words[place : place + 2]
    rollback(f"{PACKAGE}.tasks:Undoes", *words, "--yes").check(f"Missing option '{missing}'", status=2)

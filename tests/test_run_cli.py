"""What ``run`` and ``runs`` print, and how they end."""

import json
import re
from pathlib import Path

import pytest
from support.command_line import run_on_terminal, run_program
from support.sources import write_sources

PACKAGE = "run_of_a_test"
MODULE = """
    import os
    from dkist_processing_core import TaskBase, Workflow

    class Dark(TaskBase):
        def run(self):
            print("a dark")

    class Flat(TaskBase):
        def run(self):
            if "BROKEN" in os.environ:
                raise ValueError("no flat for amqp://me:secret99@host")

    class Movie(TaskBase):
        def run(self): pass

    flow = Workflow(input_data="a", output_data="b", category="cam",
                    workflow_package=__package__, workflow_version="1.0")
    flow.add_node(Dark)
    flow.add_node(Flat, upstreams=Dark, resource_queue="high_memory")
    flow.add_node(Movie, upstreams=Flat)
"""


@pytest.fixture
def package(tmp_path):
    """Write a package to the current folder."""
    write_sources(tmp_path, {"flow.py": MODULE}, name=PACKAGE)
    return PACKAGE


def test_a_run_is_told_line_by_line(command, package):
    """With what to do next."""
    output = command("run", package, "--recipe-run-id", "7").check(stderr="").stdout
    lines = [re.sub(r"^[0-9:]{8} |[0-9.]+ s$", "", line) for line in output.splitlines()]
    assert lines[:8] == [
        "a_to_b_cam 1.0, recipe run 7, started",
        "Dark started",
        "Dark success after ",
        "Flat started",
        "Flat success after ",
        "Movie started",
        "Movie success after ",
        "success after ",
    ]
    assert "success: 3 success" in lines
    [report] = [line for line in lines if line.startswith("report: ")]
    assert Path(report.removeprefix("report: file://")).read_text().startswith("<!DOCTYPE html>")


def test_the_report_of_a_run_is_written_again_and_elsewhere(command, package, tmp_path):
    """Its figures go to standard output, or to a file."""
    command("run", package, "--recipe-run-id", "7")
    [folder] = (tmp_path / "runs").iterdir()
    (folder / "report.html").unlink()
    assert command("runs", "report", "a_to_b") == (0, f"wrote: {folder / 'report.html'}\n", "")
    status, output, _ = command("runs", "report", "a_to_b", "--format", "csv")
    header, *rows = output.splitlines()
    assert header == "task,try,state,started,seconds,cpu_seconds,peak_memory_bytes,exit_status"
    assert [row.split(",")[:3] for row in rows] == [[name, "1", "success"] for name in ("Dark", "Flat", "Movie")]
    assert command("runs", "report", "a_to_b", "--format", "csv", "--output", "trace.csv")[0] == status == 0
    assert Path("trace.csv").read_text() == output
    rows = json.loads(command("runs", "report", "a_to_b", "--format", "json")[1])
    assert [row["task"] for row in rows] == ["Dark", "Flat", "Movie"]
    assert command("runs", "report", "a_to_b", "--output", "-")[1] == (folder / "report.html").read_text()
    command("runs", "report", "a_to_b", "--output", "missing/report.html").check("missing/report.html", status=1)


def test_a_failure_is_shown_with_its_traceback_and_its_log(command, package, monkeypatch):
    """And not with a password; --resume then goes on."""
    monkeypatch.setenv("BROKEN", "1")
    output = command("run", package, "--recipe-run-id", "7").check(status=1).stdout
    assert "Error: Flat failed with exit status 1: ValueError: no flat for amqp://<redacted>@host" in output
    assert 'raise ValueError("no flat' in output
    assert "secret99" not in output.replace('"no flat for amqp://me:secret99@host"', "")
    assert re.search(r"log: \S+/logs/Flat.1.log", output)
    assert "Movie upstream_failed, since Flat failed" in output
    assert "Use --resume" in output
    monkeypatch.delenv("BROKEN")
    status, output, _ = command("run", package, "--recipe-run-id", "7", "--resume")
    assert (status, "Dark started" in output, "Flat started, try 2" in output) == (0, False, True)


def test_a_program_gets_one_event_a_line(command, package):
    """As JSON, and nothing else."""
    status, output, error = command("run", package, "--recipe-run-id", "7", "--json", "--until", "Flat")
    events = [json.loads(line) for line in output.splitlines()]
    assert (status, error) == (0, "")
    assert [each["event"] for each in events] == ["run_started", *["task_started", "task_ended"] * 2, "run_ended"]
    assert events[0]["tasks"] == ["Dark", "Flat"]
    [run] = json.loads(command("runs", "list", "--json")[1])
    assert (run["run"], run["state"], run["recipe_run_id"]) == (events[0]["run_id"], "success", 7)
    shown = json.loads(command("runs", "show", run["run"], "--json")[1])
    assert [(task["name"], task["state"]) for task in shown["tasks"]] == [
        ("Dark", "success"),
        ("Flat", "success"),
        ("Movie", ""),
    ]


def test_runs_are_listed_shown_and_removed(command, package, tmp_path):
    """The beginning of a name is enough; nothing else in the folder is touched."""
    assert command("runs", "list") == (0, f"There are no runs in {tmp_path / 'runs'}, which does not exist.\n", "")
    for number in ("7", "8"):
        command("run", package, "--recipe-run-id", number, "--only", "Dark")
    (tmp_path / "runs" / "mine").mkdir()
    status, output, _ = command("runs", "list")
    assert [line.split()[1] for line in output.splitlines()] == ["state", "success", "success"]
    status, output, _ = command("runs", "show", "a_to_b_cam-7")
    assert re.search(r"Dark +success +1 ", output)
    command("runs", "remove", "a_to_b").check("2 runs begin with 'a_to_b'", status=2)
    assert command("runs", "remove", "")[0] == 2
    latest = command("runs", "list")[1].splitlines()[1].split()[0]
    status, output, error = command("runs", "show", "a_to_b")
    assert (status, output.startswith(f"{latest}: success")) == (0, True)
    assert error == f"2 runs begin with 'a_to_b'; this is the latest, {latest}.\n"
    assert command("runs", "remove", "a_to_b_cam-7", "a_to_b_cam-8")[0] == 0
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "Drak"], "there is no task 'Drak' in a_to_b_cam (did you mean 'Dark'?)."),
        (["--limit", "high_memory"], "must read QUEUE=N"),
        (["--limit", "gpu=1"], "no task of a_to_b_cam has the queue 'gpu'"),
        (["--environments", "--pdb"], "excludes --in-process"),
        (["--recipe-run-id", "0"], "0 is not in the range"),
    ],
)
def test_what_makes_no_sense_is_an_error_of_usage(command, package, options, message):
    """Nothing is run."""
    command("run", package, "--recipe-run-id", "7", *options).check(message, status=2)


def test_nothing_to_resume_is_an_error(command, package):
    """It says what to do."""
    command("run", package, "--recipe-run-id", "7", "--resume").check("-> Run it without --resume.", status=1)


def test_a_plan_runs_nothing(command, package, tmp_path):
    """It is the tasks in their order."""
    status, output, _ = command("run", package, "--recipe-run-id", "7", "--dry-run", "--skip", "Dark")
    assert (status, [line.split()[0] for line in output.splitlines()]) == (0, ["a_to_b_cam", "task", "Flat", "Movie"])
    assert not (tmp_path / "runs").exists()


def test_a_terminal_shows_a_table(package, tmp_path):
    """With the state of each task at the end."""
    status, written = run_on_terminal("run", package, "--recipe-run-id", "7", columns=100)
    assert status == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert re.search(r"Movie +success +1 ", plain)
    assert "success: 3 success" in plain


def test_in_process_the_log_of_a_task_is_shown(package):
    """As a worker shows it, on the standard error stream."""
    error = run_program("run", package, "--recipe-run-id", "7", "--in-process", "--only", "Dark").check("a dark").stderr
    assert re.search(r"^\d{4}-\S+ \S+ INFO dkist_processing_core.task: Task Dark complete$", error, re.MULTILINE)


def test_the_package_in_the_current_folder_is_the_one_that_runs(package, tmp_path):
    """Even if another copy of it is installed: what was just edited is what runs."""
    installed = tmp_path / "installed"
    write_sources(installed, {"flow.py": MODULE.replace("a dark", "an old dark")}, name=PACKAGE)
    arguments = ("run", package, "--recipe-run-id", "7", "--only", "Dark")
    run_program(*arguments, PYTHONPATH=str(installed)).check()
    [folder] = (tmp_path / "runs").iterdir()
    assert "a dark" in (folder / "logs" / "Dark.1.log").read_text()


def test_a_terminal_that_cannot_draw_shows_lines(package, tmp_path):
    """Such as that of an editor."""
    status, written = run_on_terminal("run", package, "--recipe-run-id", "7", TERM="dumb")
    assert status == 0
    assert "Dark started\n" in written
    assert "\x1b" not in written


def test_no_text_of_a_task_controls_the_terminal(tmp_path):
    """Escape sequences in an error are shown as text."""
    text = MODULE.replace("no flat for amqp://me:secret99@host", "\\x1b]0;title\\x07 \\x1b[2J no flat")
    write_sources(tmp_path, {"flow.py": text}, name=PACKAGE)
    status, written = run_on_terminal("run", PACKAGE, "--recipe-run-id", "7", BROKEN="1")
    assert status == 1
    assert "\x1b]0;" not in written
    assert "\x1b[2J" not in written
    assert "no flat" in written


def test_a_dry_run_shows_what_is_left(command, package, monkeypatch):
    """Of the run that would be taken up."""
    monkeypatch.setenv("BROKEN", "1")
    assert command("run", package, "--recipe-run-id", "7")[0] == 1
    status, output, _ = command("run", package, "--recipe-run-id", "7", "--resume", "--dry-run")
    assert (status, output.splitlines()[0]) == (0, "a_to_b_cam 1.0: 2 of 3 tasks")
    assert [line.split()[0] for line in output.splitlines()[2:]] == ["Flat", "Movie"]


def test_a_run_that_leaves_tasks_out_is_not_complete(command, package, caplog):
    """It says so at its end, and again before it is resumed with the same tasks."""
    closing = ["success of the selected tasks only: 2 not run, 1 success"]
    closing.append("The workflow is not complete. Tasks that were left out: Dark, Movie")
    status, output, error = command("run", package, "--recipe-run-id", "7", "--only", "Flat")
    assert (status, output.splitlines()[-4:-2], error) == (0, closing, "")
    status, output, _ = command("run", package, "--recipe-run-id", "7", "--resume")
    assert (status, output.splitlines()[-4:-2]) == (0, closing)
    [warning] = caplog.messages
    assert "is resumed with the tasks that were selected for it: Flat. It leaves out Dark, Movie. Select" in warning
    status, output, _ = command("run", package, "--recipe-run-id", "7", "--resume", "--skip", "Flat")
    assert (status, output.splitlines()[-3], len(caplog.messages)) == (0, "success: 3 success", 1)


def test_in_process_each_line_of_json_is_an_event(package):
    """Whatever the tasks print."""
    status, output, error = run_program("run", package, "--recipe-run-id", "7", "--in-process", "--json")
    assert (status, {json.loads(line)["event"] for line in output.splitlines()} > {"task_ended"}) == (0, True)
    assert "a dark" in error


def test_the_version_dev_needs_a_checkout(command, tmp_path):
    """Which is that of the current folder, or else one that is named; nothing is tried without."""
    write_sources(tmp_path, {"flow.py": MODULE.replace(', workflow_version="1.0"', "")}, name=PACKAGE)
    status, _, error = command("run", PACKAGE, "--recipe-run-id", "7", "--environments")
    assert (status, "the version of the workflow is dev, which is not a release" in error) == (2, True)
    assert not (tmp_path / "runs").exists()

"""A workflow runs on this machine, without Airflow, in the order and with the retries that it has there."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import PROGRAM, ended, start_command
from support.processes import with_variable
from support.sources import imported_sources, workflows
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.exceptions import DamagedRunError, LocalRunError, ResumeError, RunActiveError, SelectionError
from dkist_processing_core.local import run_workflow, runs

NAME = "runs_of_a_test"
TASKS = """
    import os, sys, time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class Base(TaskBase):
        def run(self):
            with (Path(os.environ["TRACE"])).open("a") as file:
                file.write(f"{self.task_name} {self.recipe_run_id}\\n")
            print(f"{self.task_name} prints")

    class Dark(Base): pass
    class Flat(Base): pass
    class Science(Base): pass
    class Movie(Base): pass
    class Fails(Base):
        retries = 1
        retry_delay_seconds = 0.01
        def run(self):
            super().run()
            if not Path(os.environ["TRACE"] + ".mended").exists():
                raise ValueError("no darks")
    class AfterFailure(Base): pass
    class Exits(Base):
        def run(self):
            os._exit(0)
    class Hangs(Base):
        def run(self):
            super().run()
            while not Path(os.environ["TRACE"] + ".mended").exists():
                time.sleep(0.05)
    class Leaves(Base):
        def run(self):
            import subprocess
            super().run()
            process = subprocess.Popen(["sleep", "600"], start_new_session=True)
            Path(os.environ["TRACE"] + ".left").write_text(str(process.pid))
    class Async(Base):
        async def run(self): super().run()
    class Generator(Base):
        def run(self):
            super().run()
            yield
    class Breaks(Base):
        def run(self):
            breakpoint()
    class Stubborn(Base):
        def run(self):
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            super().run()
            time.sleep(600)
"""
GRAPHS = {
    "diamond": {"Dark": "", "Flat": "Dark", "Science": "Dark", "Movie": "Flat Science"},
    "failing": {"Dark": "", "Fails": "Dark", "AfterFailure": "Fails", "Movie": "AfterFailure", "Flat": "Dark"},
    "breaks": {"Breaks": ""},
    "exits": {"Exits": ""},
    "early": {"Exits": "", "Flat": ""},
    "hangs": {"Dark": "", "Hangs": "Dark"},
    "leaves": {"Leaves": "", "Fails": "Leaves"},
    "unrun": {"Async": "", "Generator": ""},
    "stubborn": {"Stubborn": ""},
}
FLOWS = workflows(NAME, "cam", GRAPHS, queues={"Science": "high_memory"})


@pytest.fixture
def flows(tmp_path, monkeypatch):
    """Import the workflows, whose tasks write their names to the file that ``TRACE`` names."""
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    with imported_sources(tmp_path / "sources", {"tasks.py": TASKS, "flows.py": FLOWS}, name=NAME):
        from importlib import import_module

        yield import_module(f"{NAME}.flows")


@pytest.fixture
def trace(tmp_path):
    """Return the names of the tasks that ran, in order."""

    def read():
        file = tmp_path / "trace"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    return read


def mend(tmp_path):
    (tmp_path / "trace.mended").touch()


@pytest.mark.parametrize("executor", ["processes", "in_process"])
def test_tasks_run_in_their_order(flows, trace, executor):
    """Each once, and each after its upstreams."""
    result = run_workflow(flows.diamond, 7, executor=executor)
    assert (result.state, result.is_success) == ("success", True)
    assert trace()[0] == "Dark"
    assert trace()[-1] == "Movie"
    assert sorted(trace()) == ["Dark", "Flat", "Movie", "Science"]
    assert {task.state for task in result.tasks.values()} == {"success"}
    [only] = result.tasks["Movie"].tries
    assert (only.number, only.state, only.exit_status) == (1, "success", 0)
    assert only.seconds is not None
    assert only.peak_memory_bytes > 1_000_000
    if executor == "processes":
        assert "Movie prints" in (result.folder / only.log).read_text()


@pytest.mark.parametrize("executor", ["processes", "in_process"])
def test_a_failure_is_retried_and_stops_only_what_depends_on_it(flows, trace, executor):
    """The states are those that Airflow would show."""
    result = run_workflow(flows.failing, 7, executor=executor, parallel=1)
    assert {name: task.state for name, task in result.tasks.items()} == {
        "Dark": "success",
        "Fails": "failed",
        "AfterFailure": "upstream_failed",
        "Movie": "upstream_failed",
        "Flat": "success",
    }
    first, second = result.tasks["Fails"].tries
    assert (first.state, second.state, second.exit_status) == ("up_for_retry", "failed", 1)
    assert second.summary == "ValueError: no darks"
    assert sorted(trace()) == ["Dark", "Fails", "Fails", "Flat"]


def test_with_fail_fast_no_task_is_started_after_a_failure(flows, trace):
    """What has not begun has no state."""
    result = run_workflow(flows.early, 7, parallel=1, fail_fast=True)
    assert (result.state, result.tasks["Exits"].state, result.tasks["Flat"].state) == ("failed", "failed", "")
    assert run_workflow(flows.early, 8, parallel=1).tasks["Flat"].state == "success"
    assert trace() == ["Flat"]


def test_a_process_that_ends_with_0_before_its_task_is_complete_has_failed(flows):
    """As on a worker."""
    result = run_workflow(flows.exits, 7)
    [only] = result.tasks["Exits"].tries
    assert (only.state, only.exit_status) == ("failed", 70)
    assert "before it was complete" in only.summary


def test_a_breakpoint_without_a_terminal_says_how_to_get_one(flows, monkeypatch):
    """A debugger of its own, such as one that is reached through the network, is left alone."""
    assert "--in-process" in run_workflow(flows.breaks, 7).tasks["Breaks"].tries[0].summary
    monkeypatch.setenv("PYTHONBREAKPOINT", "os.getpid")
    assert run_workflow(flows.breaks, 7).is_success


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "Dark Flat Science Movie"),
        ({"start": ["Science"]}, "Science Movie"),
        ({"until": ["Flat"]}, "Dark Flat"),
        ({"start": ["Flat"], "until": ["Movie"]}, "Flat Movie"),
        ({"only": ["Movie", "Dark"]}, "Dark Movie"),
        ({"skip": ["Dark", "Flat"]}, "Science Movie"),
        ({"start": ["Dark"], "skip": ["Movie"]}, "Dark Flat Science"),
    ],
)
def test_tasks_can_be_chosen(flows, trace, chosen, expected):
    """What is not chosen counts as done."""
    result = run_workflow(flows.diamond, 7, parallel=1, **chosen)
    assert (result.state, trace()) == ("success", expected.split())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"only": ["Drak"]}, SelectionError, "'Drak' in a_to_b_cam_diamond .did you mean 'Dark'"),
        ({"skip": ["Dark", "Flat", "Science", "Movie"]}, SelectionError, "left"),
        ({"parallel": 0}, LocalRunError, "must be 1 or more"),
        ({"queue_limits": {"default": 0}}, LocalRunError, "must be 1 or more"),
    ],
)
def test_arguments_with_which_nothing_runs_are_refused(flows, arguments, error, message, tmp_path):
    """Before anything is written."""
    with pytest.raises(error, match=message):
        run_workflow(flows.diamond, 7, **arguments)
    assert not (tmp_path / "runs").exists()


def test_a_queue_has_its_own_limit(flows):
    """No two of its tasks run at once, and others do."""
    running, most = set(), []

    def listen(event):
        if event["event"] == "task_started":
            running.add(event["task"])
            most.append(len(running))
        elif event["event"] == "task_ended":
            running.discard(event["task"])

    run_workflow(flows.diamond, 7, parallel=4, listener=listen)
    assert max(most) == 2
    most.clear()
    limits = {"default": 1, "high_memory": 1}
    run_workflow(flows.diamond, 7, parallel=4, queue_limits=limits, only=["Flat", "Dark"], listener=listen)
    assert max(most) == 1


def test_resume_runs_what_has_not_succeeded(flows, trace, tmp_path):
    """In the same folder; the tries go on."""
    first = run_workflow(flows.failing, 7, parallel=1)
    run_workflow(flows.failing, 8, parallel=1, only=["Dark"])
    mend(tmp_path)
    (tmp_path / "trace").unlink()
    second = run_workflow(flows.failing, 7, parallel=1, resume=True)
    assert (second.state, second.folder) == ("success", first.folder)
    assert trace() == ["Fails", "AfterFailure", "Movie"]
    assert [each.state for each in second.tasks["Fails"].tries] == ["up_for_retry", "failed", "success"]
    assert second.tasks["Fails"].tries[-1].log == "logs/Fails.3.log"


def test_resume_refuses_a_graph_that_has_changed_where_it_was_done(flows, trace, tmp_path):
    """Unless that is wanted; what was not done yet may change; another version was another release."""
    run_workflow(flows.failing, 7)
    mend(tmp_path)
    with pytest.raises(ResumeError, match="the version of the workflow was 1.0 and is now 2.0"):
        run_workflow(replace(flows.failing.spec, version="2.0"), 7, resume=True)
    journal = next((tmp_path / "runs").glob("*/journal.jsonl"))
    journal.write_text(journal.read_text().replace(f"{NAME}.tasks:Flat", f"{NAME}.tasks:Other"))
    with pytest.raises(ResumeError, match="Flat was .*:Other and is"):
        run_workflow(flows.failing, 7, resume=True)
    assert run_workflow(flows.failing, 7, resume=True, allow_changes=True).is_success
    assert trace().count("Flat") == 1


def test_there_must_be_something_to_resume(flows):
    """Of this workflow and this recipe run."""
    run_workflow(flows.diamond, 7, only=["Dark"])
    for flow, number in ((flows.diamond, 70), (flows.failing, 7)):
        with pytest.raises(ResumeError, match=f"there is no run of {flow.workflow_name} for recipe run {number}"):
            run_workflow(flow, number, resume=True)


def test_an_event_that_was_torn_is_forgotten(flows, tmp_path):
    """A loss of power may leave half a line; what comes next is a line of its own."""
    folder = run_workflow(flows.diamond, 7).folder
    journal = folder / "journal.jsonl"
    whole = journal.read_bytes()
    for size in (len(whole) - 1, len(whole) - 40, len(whole) // 2):
        journal.write_bytes(whole[:size])
        assert run_workflow(flows.diamond, 7, resume=True).is_success
        assert list(runs.events(folder))[-1]["event"] == "run_ended"


def start(flow, *options, folder):
    """Start the command that runs a workflow."""
    return start_command(
        PROGRAM, "run", f"{NAME}.flows:{flow}", "--recipe-run-id", "7", *options, cwd=folder / "sources"
    )


@pytest.mark.parametrize("flow", ["hangs", "stubborn"])
def test_ctrl_c_ends_the_tasks_and_the_run_can_be_resumed(flows, trace, tmp_path, flow):
    """A second one kills what does not end by itself."""
    process = start(flow, folder=tmp_path)
    wait_until(lambda: len(trace()) == (2 if flow == "hangs" else 1), "the task has not begun")
    process.send_signal(signal.SIGINT)
    if flow == "stubborn":
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    assert ended(process).returncode == 130
    assert not with_variable(f"TRACE={tmp_path}")
    folder = runs.latest(f"a_to_b_cam_{flow}", 7)
    assert runs.state(folder).state == "interrupted"
    if flow == "hangs":
        mend(tmp_path)
        result = run_workflow(flows.hangs, 7, resume=True)
        assert result.is_success
        assert trace() == ["Dark", "Hangs", "Hangs"]


def test_a_killed_run_leaves_no_task_and_can_be_resumed(flows, trace, tmp_path):
    """The process whose children the tasks are ends them, and holds the journal until then."""
    process = start("hangs", folder=tmp_path)
    wait_until(lambda: len(trace()) == 2, "the task has not begun")
    with pytest.raises(RunActiveError):
        runs.Journal(runs.latest("a_to_b_cam_hangs", 7))
    process.kill()
    process.communicate()
    mend(tmp_path)
    result = run_workflow(flows.hangs, 7, resume=True)
    assert result.is_success
    assert [each.state for each in result.tasks["Hangs"].tries] == ["interrupted", "success"]
    assert trace() == ["Dark", "Hangs", "Hangs"]
    assert not with_variable(f"TRACE={tmp_path}")


def test_a_task_in_main_is_refused(flows):
    """No other process can import it."""
    spec = flows.exits.spec
    spec = replace(spec, nodes=(replace(spec.nodes[0], task="__main__:Exits"),))
    with pytest.raises(LocalRunError, match="Exits is in __main__"):
        run_workflow(spec, 7)


def test_nothing_goes_to_a_service_unless_that_is_asked_for(flows, monkeypatch):
    """Whatever the variables of the person say."""
    monkeypatch.setenv("ELASTIC_APM_ENABLED", "true")
    monkeypatch.setenv("DKIST_ISB_LOGGING", "true")
    result = run_workflow(flows.diamond, 7, only=["Dark"])
    log = (result.folder / "logs" / "Dark.1.log").read_text()
    assert "Dark prints" in log
    assert "Elastic" not in log
    assert "bus" not in log


def test_what_has_not_run_has_not_succeeded(flows, trace):
    """A coroutine and a generator are made by calling them, and nothing of them runs."""
    result = run_workflow(flows.unrun, 7)
    assert {task.state for task in result.tasks.values()} == {"failed"}
    assert "TaskNotRunError: run returned a coroutine, which was not run" in result.tasks["Async"].tries[0].summary
    assert "TaskNotRunError: run returned a generator, which was not run" in result.tasks["Generator"].tries[0].summary
    assert trace() == []


def test_what_a_task_leaves_behind_ends_with_the_run_and_holds_nothing(flows, tmp_path):
    """So the run can be taken up at once."""
    assert run_workflow(flows.leaves, 7).state == "failed"
    left = int((tmp_path / "trace.left").read_text())
    assert not Path(f"/proc/{left}").exists()
    mend(tmp_path)
    assert run_workflow(flows.leaves, 7, resume=True).is_success


def test_a_resumed_run_keeps_the_tasks_that_were_chosen_for_it(flows, trace, tmp_path):
    """Unless others are chosen."""
    run_workflow(flows.failing, 7, skip=["Flat", "Movie"])
    mend(tmp_path)
    result = run_workflow(flows.failing, 7, resume=True)
    assert (result.state, "Flat" in trace(), "Movie" in trace()) == ("success", False, False)
    result = run_workflow(flows.failing, 7, resume=True, only="Movie")
    assert (trace()[-1], "Flat" in trace()) == ("Movie", False)


def test_what_depends_on_a_task_that_runs_again_runs_again(flows, trace):
    """It has succeeded with something else."""
    run_workflow(flows.diamond, 7, skip=["Science"])
    assert trace() == ["Dark", "Flat", "Movie"]
    run_workflow(flows.diamond, 7, resume=True, start="Science")
    assert trace()[3:] == ["Science", "Movie"]


def test_a_run_that_was_resumed_with_changes_can_be_resumed_again(flows, tmp_path):
    """Also if a task that had succeeded is gone."""
    run_workflow(flows.failing, 7)
    spec = flows.failing.spec
    nodes = [
        replace(node, upstreams=tuple(each for each in node.upstreams if each != "Dark"))
        for node in spec.nodes
        if node.name != "Dark"
    ]
    changed = replace(spec, nodes=tuple(nodes))
    with pytest.raises(ResumeError, match="Dark is no longer in the workflow"):
        run_workflow(changed, 7, resume=True)
    assert run_workflow(changed, 7, resume=True, allow_changes=True).state == "failed"
    mend(tmp_path)
    result = run_workflow(changed, 7, resume=True, allow_changes=True)
    assert (result.state, "Dark" in result.tasks) == ("success", False)


def test_runs_of_one_second_have_an_order(flows):
    """The last one is taken up."""
    folders = [run_workflow(flows.exits, 7, executor="processes").folder for _ in range(2)]
    folders += [runs.new_folder("a_to_b_cam_exits", 7) for _ in range(20)]
    assert runs.latest("a_to_b_cam_exits", 7) == folders[-1]
    assert runs.folders() == folders[::-1]


@pytest.mark.parametrize(
    "journal",
    [b"", b"\n", b"\xff\n", b"3\n", b'{"event": "task_started", "task": "A"}\n', b"[" * 100_000 + b"\n"],
    ids=["empty", "empty line", "no text", "number", "event of no task", "nested"],
)
def test_a_damaged_journal_costs_no_other_run(command, flows, journal):
    """It is listed as what it is, and named where it is used."""
    run_workflow(flows.diamond, 7)
    damaged = runs.new_folder("a_to_b_cam_diamond", 8)
    (damaged / runs.JOURNAL).write_bytes(journal)
    status, output, _ = command("runs", "list")
    states = [line.split()[1] for line in output.splitlines()[1:]]
    assert (status, states) == (0, ["damaged" if journal else "interrupted", "success"])
    if journal:
        command("runs", "show", damaged.name).check(f"the journal {damaged / runs.JOURNAL} is damaged", status=1)
        with pytest.raises(DamagedRunError, match="is damaged"):
            run_workflow(flows.diamond, 8, resume=True)
    assert command("runs", "remove", damaged.name)[0] == 0
    assert not damaged.exists()


@pytest.mark.parametrize("name", ["myproject", "flow-7-20260101T000000-000000"])
def test_what_no_run_has_made_is_not_removed(command, flows, name):
    """Whatever it is called, and whatever is in it."""
    folder = runs.runs_folder() / name
    folder.mkdir(parents=True)
    (folder / runs.JOURNAL).write_text("")
    status, _, error = command("runs", "remove", name)
    assert (status, "no run begins with" in error, folder.exists()) == (2, True, True)
    (runs.runs_folder() / "mine").mkdir()
    (runs.runs_folder() / "mine" / ".dkist-processing-core").touch()
    assert command("runs", "remove", "mine")[0] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_task_in_the_process_of_the_command_can_be_interrupted(flows, trace, tmp_path, number):
    """By one signal, and the run can be resumed."""
    process = start("hangs", "--in-process", folder=tmp_path)
    try:
        wait_until(lambda: "Hangs" in trace(), "the task has not begun")
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert (process.returncode, "Hangs interrupted" in output) == (130, True)
    mend(tmp_path)
    assert run_workflow(flows.hangs, 7, resume=True).is_success


def test_a_task_cannot_end_the_process_of_the_command_with_0(flows, tmp_path):
    """Nothing else would notice it."""
    process = start("exits", "--in-process", folder=tmp_path)
    ended(process).check("Exits has called os._exit(0), which ends the run", status=1)

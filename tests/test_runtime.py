"""The program that runs one task in its environment."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import datetime

import pytest
from support.command_line import ended, start_command
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.common.log_lines import Reader, marked_lines, parse
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.exceptions import TaskImportError
from dkist_processing_core.runtime.main import exit_status, load_task, run_task

TASKS = """
    import logging, os, signal, sys, time
    from pathlib import Path
    from dkist_processing_core import TaskBase

    logger = logging.getLogger("team")

    class Good(TaskBase):
        def run(self):
            logger.debug("a debug record")
            logger.info("recipe run %s", self.recipe_run_id)

    class IsEndedInItsReport(TaskBase):
        def run(self):
            class Notes(list):
                def __iter__(self):
                    os.kill(os.getpid(), self.pop()) if len(self) else None
                    raise KeyboardInterrupt
            error = ValueError("the flat is missing")
            error.__notes__ = Notes([signal.SIGTERM])
            raise error

    class Pools(TaskBase):
        def run(self):
            import multiprocessing
            with multiprocessing.get_context("fork").Pool(3) as pool:
                print(sum(pool.map(abs, range(-4, 0))))

    class Outer:
        class Inner(Good):
            pass

    class Configures(TaskBase):
        def pre_run(self):
            logging.basicConfig(format="THEIRS %(message)s", level="DEBUG", stream=sys.stdout)
        def run(self):
            logger.info("once")

    class Library(TaskBase):
        def run(self):
            logging.getLogger("team").addHandler(logging.NullHandler())
            logger.error("the flat is missing")
            logging.getLogger("team.deeper").info("a detail")
            logging.getLogger("team").addHandler(logging.StreamHandler(sys.stdout))
            logger.error("theirs alone")

    class Waits(TaskBase):
        def run(self):
            print("waiting", flush=True)
            try:
                time.sleep(600)
            except Exception:
                print("swallowed")
        def __exit__(self, *error):
            super().__exit__(*error)
            os.kill(os.getpid(), signal.SIGTERM)
            print("torn down", error[0].__name__, flush=True)

    class Speaks(TaskBase):
        def run(self):
            print("printed")
            print("no end of the line, then a record", end="")
            logger.error("an error\\nof two lines")
            logger.warning("a warning")
            logger.debug("a detail")
            logging.getLogger("theirs").addHandler(logging.StreamHandler(sys.stdout))
            logging.getLogger("theirs").critical("by a handler of theirs")
            os.write(1, b"written\\n")

    class ConfiguresAll(TaskBase):
        def run(self):
            import logging.config
            logging.config.dictConfig({"version": 1})
            raise ValueError("the flat is missing")

    class ClosesItsStreams(TaskBase):
        def run(self):
            sys.stderr.close()
            sys.stdout = None
            os.close(2)
            raise ValueError("the flat is missing")

    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    class Suppresses(TaskBase):
        def run(self):
            raise ValueError("the flat is missing")
        def __exit__(self, *error):
            super().__exit__(*error)
            return True

    class LeavesInItsTeardown(Suppresses):
        def __exit__(self, *error):
            super().__exit__(*error)
            sys.exit()

    class LeavesAtOnce(TaskBase):
        def run(self):
            pass
        def __init__(self, *arguments, **options):
            sys.exit(0)

    class LeavesOnEntry(TaskBase):
        def run(self):
            pass
        def __enter__(self):
            sys.exit(0)

    class ForksAndFails(TaskBase):
        def run(self):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                raise ValueError("the flat is missing")

    class Talks(TaskBase):
        def run(self):
            print("waiting", flush=True)
            time.sleep(600)
        def __exit__(self, *error):
            print("teardown begins", flush=True)
            super().__exit__(*error)
            Path("done").touch()

    class ClearsItsEnvironment(TaskBase):
        def run(self):
            os.environ.clear()
            raise ValueError("the flat is missing")

    class LeavesAThread(TaskBase):
        def run(self):
            import threading
            print("waiting", flush=True)
            threading.Thread(target=time.sleep, args=[600]).start()

    class WritesInPieces(TaskBase):
        def run(self):
            class Pieces(logging.Handler):
                def emit(self, record):
                    for piece in ("[", record.levelname, "] ", record.getMessage()):
                        sys.stdout.write(piece)
                    sys.stdout.flush()
            logger.addHandler(Pieces())
            logger.error("in pieces")
            print("printed")

    class RaisesFromAnother(TaskBase):
        def run(self):
            try:
                {}["key"]
            except KeyError as error:
                raise ValueError("http://me:p@ss@host/ has no key") from error

    class Unprintable(Exception):
        def __str__(self):
            raise SystemExit(0)
        __repr__ = __str__

    class RaisesALongChain(TaskBase):
        def run(self):
            error = None
            for number in range(3000):
                try:
                    raise ValueError(str(number)) from error
                except ValueError as caught:
                    error = caught
            raise error

    class HasOddNotes(TaskBase):
        def run(self):
            error = ValueError("the flat is missing")
            error.__notes__ = [Unprintable(), 3]
            raise error

    class RedirectsItsStreams(TaskBase):
        def run(self):
            import io
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            sys.stdout = sys.stderr = io.StringIO()
            logging.disable()
            logging.shutdown()
            raise ValueError("the flat is missing")

    class IsNotBlocking(TaskBase):
        def run(self):
            os.set_blocking(2, False)
            raise ValueError("x" * 49_000)

    class ClosesEverything(TaskBase):
        def run(self):
            os.closerange(0, 1000)
            self.files = [open(f"product{number}.dat", "w") for number in range(30)]
            raise ValueError("the flat is missing")

    def log_much(number):
        logging.getLogger("team").warning("%s %s begins%sends", os.getpid(), number, chr(97 + number % 26) * 30_000)

    class LogsFromProcesses(TaskBase):
        def run(self):
            import multiprocessing
            with multiprocessing.get_context(os.environ["METHOD"]).Pool(4) as pool:
                pool.map(log_much, range(100), chunksize=1)

    def log_below(queue):
        import logging.handlers
        logging.getLogger().addHandler(logging.handlers.QueueHandler(queue))
        logging.getLogger("theirs").error("by a queue")

    class HandsOnRecords(TaskBase):
        def run(self):
            import logging.handlers, multiprocessing
            shown = logging.StreamHandler()
            memory = logging.handlers.MemoryHandler(100, target=shown)
            logger.addHandler(memory)
            logger.warning("earlier")
            logger.error("later")
            logger.removeHandler(memory)
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            listener = logging.handlers.QueueListener(queue, shown)
            listener.start()
            process = context.Process(target=log_below, args=[queue])
            process.start()
            process.join()
            listener.stop()

    not_a_task = 3
"""
# What the run of a task consists of, if that is one statement.
STATEMENTS = {
    "Bad": 'raise RuntimeError("the flat is missing")',
    "RaisesWhatCannotBeEncoded": r'raise ValueError("no flat in " + os.fsdecode(b"caf\xe9.fits"))',
    "RaisesTheUntellable": "raise Silent",
    "RaisesTheUnprintable": 'raise ExceptionGroup("two", [KeyError(Unprintable()), Unprintable()]) from Unprintable()',
    "RaisesAGroup": 'raise ExceptionGroup("two", [ValueError("one"), KeyError("two")])',
    "RaisesALongOne": 'raise ValueError("x" * 50_000_000)',
    "Interrupted": "raise KeyboardInterrupt",
    "Leaves": "sys.exit(7)",
    "LeavesInPeace": "sys.exit(0)",
    "LeavesTrue": "sys.exit(True)",
    "LeavesWith256": "sys.exit(256)",
    "LeavesWithText": 'sys.exit("nothing to do")',
    "LeavesWithTheUnprintable": "sys.exit(Unprintable())",
}


@pytest.fixture
def team(tmp_path):
    """A folder with a team's module in it."""
    more = (f"class {name}(TaskBase):\n    def run(self):\n        {each}\n" for name, each in STATEMENTS.items())
    (tmp_path / "team_tasks.py").write_text("".join([textwrap.dedent(TASKS), *more]))
    (tmp_path / "broken_tasks.py").write_text("import no_such_module\n")
    return tmp_path


def start(team, task, **options):
    words = ["-m", "dkist_processing_core.runtime", task, "--workflow-name", "w", "--workflow-version", "1"]
    return start_command(sys.executable, *words, **{"PYTHONPATH": team, "DKIST_RECIPE_RUN_ID": "42", **options})


def run(team, task, **options):
    return ended(start(team, task, **options))


def terminate(process):
    """Send SIGTERM, and SIGCONT until the process has ended, as the worker program does."""
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: process.send_signal(signal.SIGCONT) or process.poll() is not None, "the task has not ended")


def test_a_pool_of_processes_ends_with_its_with_statement(team):
    """A worker that waits for work ends by SIGTERM, so the task does not wait for it for ever; ten times."""
    for _ in range(10):
        assert run(team, "team_tasks:Pools")[:2] == (0, "10\n")


def test_a_task_that_succeeds_gives_0_and_its_log(team):
    """Its records show with time, level and logger; debug ones do not by default."""
    status, stdout, stderr = run(team, "team_tasks:Good")
    assert (status, stdout) == (0, "")
    lines = stderr.splitlines()
    assert len(lines) == 4
    date, clock, rest = lines[2].split(" ", 2)
    assert rest == "INFO team: recipe run 42"
    assert datetime.fromisoformat(f"{date} {clock}").tzinfo is not None


def test_the_log_level_is_a_setting(team):
    """DKIST_LOG_LEVEL shows more or less; a wrong one is named and INFO is used."""
    assert "DEBUG team: a debug record" in run(team, "team_tasks:Good", DKIST_LOG_LEVEL="debug")[2]
    assert run(team, "team_tasks:Good", DKIST_LOG_LEVEL="ERROR")[2] == ""
    wrong = run(team, "team_tasks:Good", DKIST_LOG_LEVEL="LOUD")[2]
    assert "DKIST_LOG_LEVEL is 'LOUD', which is not one of" in wrong
    assert "INFO team: recipe run 42" in wrong


def test_a_handler_that_the_team_sets_up_is_not_disturbed(team):
    """It shows each record once, in its own form, although it came late."""
    status, stdout, stderr = run(team, "team_tasks:Configures")
    assert (status, stdout.count("once")) == (0, 1)
    assert "THEIRS once" in stdout
    assert "once" not in stderr


def test_null_handlers_swallow_nothing(team):
    """Libraries attach one to their logger as a matter of course; a handler that shows something ends ours."""
    status, stdout, stderr = run(team, "team_tasks:Library")
    assert status == 0
    assert "ERROR team: the flat is missing" in stderr
    assert "INFO team.deeper: a detail" in stderr
    assert "theirs alone" not in stderr
    assert stdout == "theirs alone\n"


def test_a_module_that_does_not_import_gives_1_and_the_traceback(team):
    """The last lines of the log are the traceback; a missing dependency is not mistaken for a missing task."""
    status, _, stderr = run(team, "broken_tasks:Any")
    assert status == 1
    assert "ERROR dkist_processing_core.runtime: Task broken_tasks:Any " in stderr
    assert stderr.endswith("ModuleNotFoundError: No module named 'no_such_module'\n")


MARK = "0123"


def marked(team, task, **environment):
    """Run a task as the operator does; return the exit status and (kind, text) of each line."""
    environment = {"DKIST_LOG_MARK": MARK, "PYTHONUNBUFFERED": "1", **environment}
    status, stdout, stderr = run(team, task, **environment)
    lines = [line for line in [*stdout.split("\n"), *stderr.split("\n")] if line]
    return status, [tuple(each) for line in lines for each in parse(line, mark=MARK)]


def outcome_of(team, task, **environment):
    """Run a task; return the exit status, how it says that it has ended, and its standard error."""
    place = team / "outcome.json"
    place.touch()
    status, _, stderr = run(team, task, DKIST_OUTCOME=str(place), **environment)
    return status, Outcome.from_json(place.read_text()), stderr


def test_log_records_keep_their_level(team):
    """Each record is one line that states its level, whichever handler writes it; what is printed states none."""
    status, lines = marked(team, "team_tasks:Speaks", DKIST_LOG_LEVEL="DEBUG")
    assert status == 0
    assert [each for each in lines if "dkist_processing_core" not in each[1]] == [
        ("", "printed"),
        ("", "no end of the line, then a record"),
        ("50", "by a handler of theirs"),
        ("", "written"),
        ("40", "team: an error\nof two lines"),
        ("30", "team: a warning"),
        ("10", "team: a detail"),
    ]
    assert all(kind for kind, text in lines if "dkist_processing_core" in text)


def test_the_last_error_is_the_traceback_of_the_task(team):
    """It is one record at ERROR, without the frames of this library, and with short paths."""
    status, lines = marked(team, "team_tasks:RaisesFromAnother")
    assert status == 1
    kind, text = lines[-1]
    assert kind == "40"
    assert text.startswith(
        "Task team_tasks:RaisesFromAnother failed: ValueError: http://<redacted>@host/ has no key\nTraceback"
    )
    assert text.endswith("ValueError: http://<redacted>@host/ has no key")
    assert "KeyError: 'key'" in text
    assert text.count("in run") == 2
    assert "runtime/task.py" not in text
    assert "/lib/python" not in text


@pytest.mark.parametrize(
    ("task", "status", "summary"),
    [
        ("Bad", 1, "RuntimeError: the flat is missing"),
        ("RaisesFromAnother", 1, "ValueError: http://<redacted>@host/ has no key"),
        ("ConfiguresAll", 1, "ValueError: the flat is missing"),
        ("ClosesItsStreams", 1, "ValueError: the flat is missing"),
        ("RaisesTheUntellable", 1, "team_tasks.Silent: <exception str() failed>"),
        ("RaisesAGroup", 1, "ExceptionGroup: two (2 sub-exceptions)"),
        ("LeavesWithText", 1, "SystemExit: nothing to do"),
        ("IsEndedInItsReport", 1, "ValueError"),
        ("RaisesWhatCannotBeEncoded", 1, r"ValueError: no flat in caf\udce9.fits"),
        ("LeavesWith256", 1, "SystemExit: 256"),
        ("Leaves", 7, "SystemExit: 7"),
        ("Interrupted", 130, "KeyboardInterrupt"),
        ("Suppresses", 1, "ValueError: the flat is missing"),
        ("LeavesInItsTeardown", 1, "ValueError: the flat is missing"),
        ("LeavesAtOnce", 1, None),
        ("LeavesOnEntry", 1, None),
        ("ForksAndFails", 1, "ValueError: the flat is missing"),
        ("RaisesTheUnprintable", 1, "ExceptionGroup: two (2 sub-exceptions)"),
        ("RaisesALongChain", 1, "ValueError: 2999"),
        ("HasOddNotes", 1, "ValueError: the flat is missing"),
        ("LeavesTrue", 1, "SystemExit: True"),
        ("LeavesWithTheUnprintable", 1, "SystemExit: <exception str() failed>"),
        ("RedirectsItsStreams", 1, "ValueError: the flat is missing"),
        ("ClosesEverything", 1, "ValueError: the flat is missing"),
        ("Nowhere", 1, None),
    ],
)
def test_a_failed_task_says_why(team, monkeypatch, task, status, summary):
    """In its log and to who started it, whatever it did to logging and to its streams, and however it failed."""
    monkeypatch.chdir(team)
    ended, outcome, stderr = outcome_of(team, f"team_tasks:{task}")
    assert (ended, outcome.state, outcome.exit_status) == (status, "failed", status)
    assert [file.read_text() for file in team.glob("product*.dat") if file.stat().st_size] == []
    if summary is not None:
        assert outcome.summary == summary
        last = outcome.error.splitlines()[-1].lstrip(" +-")
        assert last.startswith(summary) or task in {"RaisesAGroup", "RaisesTheUnprintable", "HasOddNotes"}
    if task not in {"ClosesItsStreams", "ClosesEverything"}:
        assert outcome.error.splitlines()[-1] in stderr
    # All descriptors are closed; with the worker program it is shown then as well, see test_worker_program.
    if task != "ClosesEverything":
        assert "ERROR dkist_processing_core.runtime: " in stderr


def test_the_error_keeps_its_level_whatever_the_environment_is(team):
    """The mark is known from the start."""
    _, lines = marked(team, "team_tasks:ClearsItsEnvironment")
    assert lines[-1][0] == "40"


def test_a_record_that_a_handler_writes_in_pieces_is_one_record(team):
    """It is complete when the handler flushes."""
    _, lines = marked(team, "team_tasks:WritesInPieces")
    assert ("40", "[ERROR] in pieces") in lines
    assert ("", "printed") in lines


def test_an_error_is_complete_although_nothing_waits_for_its_reader(team):
    """The task has made its standard error stream non-blocking, and the pipe is full."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    process = start(team, "team_tasks:IsNotBlocking", DKIST_LOG_MARK=MARK, stdout=write, stderr=write)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        output = file.read()
    assert process.wait(PATIENCE_SECONDS) == 1
    *_, (kind, text) = read_all(output)
    assert (kind, text.endswith(f"\nValueError: {'x' * 49_000}")) == ("40", True)


def read_all(output):
    """Return what the operator reads of an output, without the lines of this library."""
    reader = Reader(MARK)
    lines = [each for line in output.split("\n") if line for each in reader.read(line.rstrip())]
    assert reader.rest() == []
    return [tuple(each) for each in lines if "dkist_processing_core" not in each.text]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_records_of_several_processes_are_whole_and_keep_their_level(team, method):
    """Each is longer than what a pipe takes at once, and all are written at the same time."""
    environment = {"DKIST_LOG_MARK": MARK, "PYTHONUNBUFFERED": "1", "METHOD": method}
    status, stdout, _ = run(team, "team_tasks:LogsFromProcesses", **environment, stderr=subprocess.STDOUT)
    assert status == 0
    records = read_all(stdout)
    assert {kind for kind, _ in records} == {"30"}
    numbers = sorted(int(text.split()[2]) for _, text in records)
    assert numbers == list(range(100))
    for _, text in records:
        middle = text.partition(" begins")[2].removesuffix("ends")
        assert middle == middle[0] * 30_000


def test_records_that_are_handed_on_keep_their_level(team):
    """By a handler that keeps them for a while, and by a queue from a process that the task has spawned."""
    _, lines = marked(team, "team_tasks:HandsOnRecords")
    assert [each for each in lines if "dkist_processing_core" not in each[1]] == [
        ("30", "earlier"),
        ("40", "later"),
        ("40", "by a queue"),
    ]


@pytest.mark.parametrize("text", ["x" * 20_000, "é \n" * 3000, "\U0001f52d" * 5000, "\udc80" * 2000], ids=len)
def test_a_long_record_is_lines_that_a_pipe_takes_at_once(text):
    """In every encoding, and with spaces and line breaks at the end of a line, which Airflow removes."""
    lines = marked_lines(40, text, mark="0123456789abcdef")
    assert max(len(line.encode("ascii", errors="backslashreplace")) for line in lines) <= 4096
    reader = Reader("0123456789abcdef")
    assert [each for line in lines for each in reader.read(line.rstrip())] == [("40", text.rstrip("\n"))]
    assert [each for line in lines[:-1] for each in reader.read(line.rstrip())] == []
    [(kind, beginning)] = reader.rest()
    assert (kind, text.startswith(beginning)) == ("40", True)


def test_sigterm_while_a_thread_is_at_work_is_no_success(team):
    """The task has not ended as long as Python waits for a thread of it."""
    place = team / "outcome.json"
    process = start(team, "team_tasks:LeavesAThread", DKIST_OUTCOME=str(place), PYTHONUNBUFFERED="1")
    assert process.stdout.readline() == "waiting\n"
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: place.exists() and place.read_text(), "the task does not say how it has ended")
    process.kill()
    process.communicate()
    assert Outcome.from_json(place.read_text()).state == "failed"


def test_a_huge_error_is_shown_in_part(team):
    """The type stays, in the log and in the outcome."""
    _, outcome, stderr = outcome_of(team, "team_tasks:RaisesALongOne")
    assert len(outcome.to_json()) < 10_000
    assert outcome.summary.startswith("ValueError: xxx")
    assert "characters removed" in outcome.error
    assert len(stderr) < 200_000


@pytest.mark.parametrize("task", ["Good", "LeavesInPeace"])
def test_a_task_that_succeeds_says_so(team, task):
    """So a process that ends before its task does is not mistaken for one."""
    status, outcome, _ = outcome_of(team, f"team_tasks:{task}")
    assert (status, outcome) == (0, Outcome(state="succeeded"))


def test_a_module_that_ends_the_process_is_no_success(team):
    """Nothing of the task has run."""
    (team / "leaving_tasks.py").write_text("import sys\nsys.exit()\n")
    status, outcome, _ = outcome_of(team, "leaving_tasks:Any")
    assert (status, outcome.state) == (1, "failed")
    assert "SystemExit() was raised before the task had begun" in outcome.summary


@pytest.mark.parametrize("code", [256, 512, -256, 1 << 16, 1 << 64, 1.0, "", "0", (), [], b"", 0.0, {}, -1, 255, True])
def test_whatever_is_no_zero_is_a_failure(code):
    """Although the operating system would make a success of some of them."""
    assert 0 < exit_status(SystemExit(code)) < 256


@pytest.mark.parametrize("value", ["", "abc", "1); import os", "1.5"], ids=["empty", "word", "code", "fraction"])
def test_a_bad_recipe_run_id_gives_65(team, value):
    """The message and the outcome show the value; the module of the task is not even imported."""
    status, outcome, stderr = outcome_of(team, "broken_tasks:Any", DKIST_RECIPE_RUN_ID=value)
    assert (status, outcome.state) == (65, "failed")
    for text in (outcome.summary, stderr):
        assert f"recipe_run_id must be an integer, not {value!r}" in text
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("team_tasks:Goood", "there is no 'Goood' in team_tasks (did you mean 'Good'?)"),
        ("team_tasks:not_a_task", "'team_tasks:not_a_task' is 3, not a subclass"),
        ("team_tusks:Good", "there is no module 'team_tusks' in the environment"),
        ("team_tasks", "there is no '' in team_tasks"),
    ],
    ids=["class", "no-task", "module", "no-class"],
)
def test_a_task_that_is_not_there_is_named(team, task, message):
    """The error says what is missing and is no traceback."""
    status, _, stderr = run(team, task)
    assert status == 1
    assert message in stderr
    assert "Traceback" not in stderr


def test_sigterm_ends_a_task_in_order(team):
    """Its teardown runs to the end even if the signal comes again, and the exit status is that of the signal."""
    process = start(team, "team_tasks:Waits")
    assert process.stdout.readline() == "waiting\n"
    terminate(process)
    ended(process).check("Task team_tasks:Waits was terminated (SIGTERM)", status=143, stdout="torn down Terminated\n")


def test_a_task_can_be_run_from_python(team, monkeypatch, capsys):
    """The recipe run id is an argument, or comes from the environment."""
    monkeypatch.syspath_prepend(str(team))
    assert load_task("team_tasks:Outer.Inner").__name__ == "Inner"
    run_task("team_tasks:Outer.Inner", workflow_name="w", workflow_version="1", recipe_run_id="5")
    monkeypatch.setenv("DKIST_RECIPE_RUN_ID", "6")
    run_task("team_tasks:Good", workflow_name="w", workflow_version="1")
    with pytest.raises(TaskImportError):
        run_task("team_tasks:None", workflow_name="w", workflow_version="1")


def test_a_teardown_runs_to_its_end_although_nobody_reads(team):
    """As when the Airflow process that read the output has died."""
    read, write = os.pipe()
    process = start(team, "team_tasks:Talks", PYTHONUNBUFFERED="1", stdout=write, stderr=write)
    os.close(write)
    seen = b""
    while b"waiting" not in seen:
        seen += os.read(read, 4096)
    os.close(read)
    terminate(process)
    assert process.returncode == 143
    assert (team / "done").exists()

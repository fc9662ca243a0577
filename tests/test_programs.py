"""Programs that are run within a bound, and that end with everything that they have started."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.processes import is_alive, wait_for, with_variable
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.common import programs
from dkist_processing_core.common.programs import end, family, parents, run_program

SLEEPER = """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    open(sys.argv[1], "w").write(str(child.pid))
    time.sleep(600)
"""


def python(text, *arguments, seconds=PATIENCE_SECONDS, **options):
    return run_program(
        [sys.executable, "-c", textwrap.dedent(text), *arguments], environment={"A": "b"}, seconds=seconds, **options
    )


def test_a_program_is_run_to_its_end(tmp_path):
    """Its status and its output, of both streams, are returned; it has no variables but those it is given."""
    text = "import os, sys; print(os.environ['A'], 'HOME' in os.environ, os.getcwd(), flush=True); sys.exit('bad')"
    assert python(text, folder=tmp_path) == (1, f"b False {tmp_path}\nbad\n")


def test_each_line_is_seen_when_it_is_printed(tmp_path):
    """Also the last one, without an end of line, and one that is no text; the program waits until the first is seen."""
    seen = []

    def see(line):
        seen.append(line)
        (tmp_path / "seen").touch()

    text = (
        "import pathlib, sys, time\nprint('one', flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.05)\nsys.stdout.buffer.write(b'\\xff\\ntwo')"
    )
    python(text, tmp_path / "seen", on_line=see)
    assert seen == ["one", "\ufffd", "two"]


def test_a_program_that_takes_too_long_is_ended(tmp_path):
    """With what it has started, even in a session of its own."""
    for seconds in (2, 20, PATIENCE_SECONDS):
        with pytest.raises(subprocess.TimeoutExpired):
            python(SLEEPER, tmp_path / "pid", seconds=seconds)
        if (tmp_path / "pid").exists():  # the program has come so far
            break
    [pid] = wait_for(tmp_path / "pid")
    assert not is_alive(pid)


STARTS_ONE_AFTER_THE_OTHER = """
    import os, time
    for number in range(1000):
        if os.fork() == 0:
            os.setsid()
            os.execvp("sleep", ["sleep", "600"])
        if number == 10:
            print("x", flush=True)
        time.sleep(0.002)
    time.sleep(600)
"""


def test_what_a_program_starts_while_it_is_ended_ends_as_well(tmp_path):
    """
    It is in sessions of its own, so nobody would find it once its parent has ended.

    Here an error of the listener ends the program, as Ctrl-C does, which is raised at the same place.
    """

    def fail(line):
        raise KeyboardInterrupt

    variables = {"PATH": os.environ["PATH"], "MARK_OF_A_TEST": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        run_program(
            [sys.executable, "-c", textwrap.dedent(STARTS_ONE_AFTER_THE_OTHER)],
            environment=variables,
            seconds=PATIENCE_SECONDS,
            on_line=fail,
        )
    assert with_variable(f"MARK_OF_A_TEST={tmp_path}") & parents().keys() == set()


def test_what_is_left_behind_with_the_output_open_delays_nothing(tmp_path):
    """A daemon keeps the output open as long as it runs."""
    text = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True); print('done')"
    assert python(text) == (0, "done\n")


def test_what_does_not_end_is_killed(monkeypatch, tmp_path):
    """After a while, since it may have good reasons not to end at once."""
    monkeypatch.setattr(programs, "GRACE_SECONDS", 1.0)
    stubborn = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w').write('1')"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{stubborn}; time.sleep(600)", tmp_path / "ready"], start_new_session=True
    )
    wait_for(tmp_path / "ready")
    assert family(process.pid) == {process.pid}
    end(process)
    assert process.returncode == -9
    assert family(process.pid) == set()


def test_a_process_runs_as_long_as_one_of_its_threads_does():
    """Its first thread may have ended before the others."""
    lines = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    ending = "print('soon', flush=True); ctypes.CDLL(None).pthread_exit(None)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{lines}; {ending}"], stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.read(1)
    wait_until(lambda: ") Z " in Path(f"/proc/{process.pid}/stat").read_text(), "the first thread does not end")
    assert family(process.pid) == {process.pid}
    end(process)
    assert family(process.pid) == set()
    process.stdout.close()

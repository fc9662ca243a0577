"""Run the command line and other programs, and a package for them to work on."""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import textwrap
from pathlib import Path
from typing import NamedTuple

from support.waiting import PATIENCE_SECONDS

# Less than a test may take (600 s), and enough for what installs something on a machine that is busy.
SECONDS = 500.0
PROGRAM = Path(sys.executable).parent / "dkist-processing-core"

CAMERA = "camera_of_a_test"
CAMERA_FILES = {
    "tasks.py": '''
        from dkist_processing_core import TaskBase

        class MakeDark(TaskBase):
            """Make the master dark."""
            def run(self): pass

        class MakeFlat(TaskBase):
            """Make the master flat."""
            retries = 2
            def run(self): pass

        class Calibrate(TaskBase):
            """Calibrate all frames."""
            def run(self): pass
    ''',
    "workflows/__init__.py": "",
    "workflows/level1.py": f"""
        from dkist_processing_core import ResourceQueue, Workflow
        from {CAMERA}.tasks import Calibrate, MakeDark, MakeFlat

        level1 = Workflow(input_data="l0", output_data="l1", category="camera",
                          workflow_package=__package__, workflow_version="1.0.0")
        level1.add_node(Calibrate, upstreams=[MakeDark, MakeFlat], resource_queue=ResourceQueue.HIGH_MEMORY)
        level1.add_node(MakeDark)
        level1.add_node(MakeFlat, upstreams=MakeDark)
    """,
    "workflows/level2.py": f"""
        from dkist_processing_core import Workflow
        from {CAMERA}.tasks import MakeDark

        level2 = Workflow(input_data="l1", output_data="l2", category="camera",
                          workflow_package=__package__, workflow_version="1.0.0")
        level2.add_node(MakeDark)
    """,
}


class Ended(NamedTuple):
    """How a process ended: its exit status, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str

    def check(self, *texts, status=0, stdout=None, stderr=None):
        """
        Return this if the program has ended as it should; otherwise the error shows what it wrote.

        Parameters
        ----------
        texts
            What it must have written: as its output if it was to succeed, and otherwise as an error.
        status
            The exit status.
        stdout, stderr
            All that it must have written as its output, and as errors, if that matters.
        """
        written = self.stderr if status else self.stdout
        missing = [text for text in texts if text not in written]
        is_whole = stdout in {None, self.stdout} and stderr in {None, self.stderr}
        shown = self.stdout if self.stdout == self.stderr else f"{self.stdout}{self.stderr}"
        expected = f"{status} with {[*texts, stdout or '', stderr or '']}"
        assert (self.returncode, missing, is_whole) == (status, [], True), f"{self.returncode}, not {expected}\n{shown}"
        return self


def run_command(
    *command, cwd=None, text=None, stdin=subprocess.DEVNULL, env=None, merge=False, seconds=SECONDS, **environment
):
    """
    Run a command to its end, and return its status and its output.

    Parameters
    ----------
    command
        The program and its arguments.
    cwd
        Where it runs.
    text, stdin
        Its input, as text or as a file; empty by default.
    env
        All of its environment variables, those of this process by default.
    merge
        Whether what it writes as errors is in its output, in order; the result then has all of it as both.
    seconds
        The bound.
    environment
        More environment variables.
    """
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**(os.environ if env is None else env), **environment},
        **({"stdin": stdin} if text is None else {"input": text}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge else subprocess.PIPE,
        text=True,
        timeout=seconds,
    )
    return Ended(done.returncode, done.stdout, done.stdout if merge else done.stderr)


def start_command(*command, kind=subprocess.Popen, env=None, **options):
    """
    Start a command in a session of its own, and return its process, whose end `ended` awaits.

    Parameters
    ----------
    command
        The program and its arguments.
    kind
        The class of the process.
    env
        All of its environment variables, those of this process by default.
    options
        More environment variables, which are in upper case, and arguments of the class.
    """
    variables = {name: str(value) for name, value in options.items() if name.isupper()}
    others = {name: value for name, value in options.items() if not name.isupper()}
    usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    usual |= {"text": True, "start_new_session": True, "env": {**(os.environ if env is None else env), **variables}}
    return kind(list(map(str, command)), **usual | others)


def ended(process):
    """Wait for the end of a process, and return how it ended."""
    stdout, stderr = process.communicate(timeout=SECONDS)
    return Ended(process.returncode, stdout, stdout if stderr is None else stderr)


def read_until(process, text):
    """Read what a process writes as far as a text, and return it."""
    read = ""
    while text not in read:
        line = process.stdout.readline()
        assert line, read
        read += line
    return read


def first_on_path(folder, name, text):
    """Write a program into a folder, and return a PATH on which it comes before all others of its name."""
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(text)
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def run_program(*arguments, program=(PROGRAM,), **options):
    """Run the program of this library as `run_command` does."""
    return run_command(*program, *arguments, **options)


def run_python(source, *arguments, **options):
    """Run a Python program, given as its text, as `run_command` does."""
    program = [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(source)]
    return run_command(*program, *arguments, **options)


def with_mounts_of_its_own():
    """Return the words before a command that may mount something; skip the test where nothing can be mounted."""
    import pytest

    program = shutil.which("unshare")  # the command after it may have another PATH
    words = [program, "--user", "--map-root-user", "--mount"]
    if program is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("this machine has no mount namespaces")
    return words


def run_on_terminal(*arguments, columns=80, **environment):
    """Run the program on a terminal, and return the status and everything that it writes there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # a terminal reports its end so
        pass
    os.close(ours)
    return process.wait(PATIENCE_SECONDS), written.decode().replace("\r\n", "\n")

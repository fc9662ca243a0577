"""Run the command line, and a package for it to work on."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from support.waiting import PATIENCE_SECONDS

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


def run_program(*arguments, program=(PROGRAM,), **environment):
    """Run the program in its own process, and return status, standard output and standard error."""
    done = subprocess.run(
        [*program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


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

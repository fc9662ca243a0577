"""DAG folders: what is in them, and a command line that is killed while it changes them."""

import sys
import textwrap
from pathlib import Path

from support.waiting import PATIENCE_SECONDS

NEVER = 0
# Kills itself by SIGKILL before the step whose number it is given; each change of a folder or of Airflow is a step.
PROGRAM = """
    import os, signal, sys
    from dkist_processing_core import cli
    from dkist_processing_core.deployment import airflow_api

    last, steps = int(sys.argv.pop(1)), 0

    def counted(function):
        def call(*arguments, **options):
            global steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return call

    for name in ("link", "mkdir", "rename", "replace", "rmdir", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    airflow_api.AirflowApi.pause = counted(airflow_api.AirflowApi.pause)
    airflow_api.SECONDS = float(sys.argv.pop(1))
    sys.exit(cli.main())
"""


def killed_before(step: int) -> tuple[object, ...]:
    """Return a program that is the command line, is killed before a step, and waits for Airflow for long."""
    return sys.executable, "-c", textwrap.dedent(PROGRAM), str(step), str(PATIENCE_SECONDS)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content of each file in a folder, and when it was modified."""
    return {
        str(each.relative_to(folder)): (each.read_bytes(), each.stat().st_mtime_ns)
        for each in sorted(folder.rglob("*"))
        if each.is_file() and "__pycache__" not in each.parts
    }


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, but for what a killed writer has left, which an export removes."""
    return {path: content for path, (content, _) in contents(folder).items() if not path.endswith(".part")}

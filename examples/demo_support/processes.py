"""Run the programs of the demo, and end them with all of their descendants when the demo ends."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dkist_processing_core.common.programs import run_program

__all__ = ["DemoError", "run"]

SECONDS = 1800.0
TAIL_LINES = 15


class DemoError(Exception):
    """The demo cannot continue. The message says why, and what to do or where to read more."""


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    on_line: Callable[[str], str | None] | None = None,
) -> str:
    """
    Run a program to its end and return what it printed.

    Parameters
    ----------
    command
        The program and its arguments.
    environment
        All of its environment variables.
    folder
        Where it runs.
    log
        The file that gets what it prints, at once; an older one is replaced.
    on_line
        Called with each line. It may return another text for the log.

    Raises
    ------
    DemoError
        If the program fails, or does not end.
    """
    name = Path(command[0]).name
    with log.open("w", encoding="utf-8", buffering=1) as file:

        def write(line: str) -> None:
            replacement = on_line(line) if on_line else None
            file.write(f"{line if replacement is None else replacement}\n")

        try:
            status, output = run_program(
                command, environment=environment, seconds=SECONDS, folder=folder, on_line=write
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"{name} did not end within {SECONDS:.0f} s. What it printed is in {log}") from None
    if status:
        tail = "\n".join(f"    {line}" for line in log.read_text(encoding="utf-8").splitlines()[-TAIL_LINES:])
        raise DemoError(
            f"{name} ended with exit status {status}. Its last lines:\n{tail}\n  Everything that it printed is in {log}"
        )
    return output

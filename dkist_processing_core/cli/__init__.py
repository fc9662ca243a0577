"""
The command line ``dkist-processing-core``: one noun per module, one verb per command.

Runs in: author and CI, worker. It needs click and rich, which the extras ``build`` and ``airflow`` install. The exit
status is 0 for success, 1 if the command failed, and 2 if the command line itself is wrong.
"""

import io
import sys
from importlib.util import find_spec

from dkist_processing_core.exceptions import DKISTProcessingCoreError, MissingExtraError

__all__ = ["main"]

FAILED = 1


def main() -> int:
    """Run the command that the process was started with, and return the exit status."""
    if find_spec("click") is None or find_spec("rich") is None:
        sys.stderr.write(f"{MissingExtraError('The command line', extra='build')}\n")
        return FAILED
    for stream in (sys.stdout, sys.stderr):
        # The error of a task may contain characters that the terminal cannot show, such as one with Latin-1.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from dkist_processing_core.cli.root import root
    from dkist_processing_core.cli.tables import say

    try:
        root.main(prog_name="dkist-processing-core")
    except (DKISTProcessingCoreError, OSError) as error:
        say(f"Error: {error}", err=True)
        return FAILED
    return 0

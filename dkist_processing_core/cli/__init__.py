"""
The command line ``dkist-processing-core``: one noun a module, one verb a command.

Runs in: author and CI, worker. It is built on click, which the extras ``build`` and ``airflow`` bring. Exit status: 0
if all is well, 1 if what was asked for could not be done, 2 if the command line itself is wrong.
"""

import sys

from dkist_processing_core.exceptions import DKISTProcessingCoreError, MissingExtraError

__all__ = ["main"]

FAILED = 1


def main() -> int:
    """Run the command that the process was started with, and return the exit status."""
    try:
        from dkist_processing_core.cli.notices import show_warnings
        from dkist_processing_core.cli.root import root
        from dkist_processing_core.cli.tables import say
    except ImportError as error:
        if error.name != "click":
            raise
        sys.stderr.write(f"{MissingExtraError('The command line', extra='build')}\n")
        return FAILED
    show_warnings()
    try:
        root.main(prog_name="dkist-processing-core")
    except (DKISTProcessingCoreError, OSError) as error:
        say(f"Error: {error}", err=True)
        return FAILED
    return 0

"""
Check an environment that was just built: a task can be run, and all files are on the disk.

Runs in: task environment, as a program by its path, with the standard library alone.
"""

import os
import sys
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Exit with a message if the environment cannot be used."""
    try:
        import_module("dkist_processing_core.runtime.main")
    except ImportError as error:
        sys.exit(
            f"this environment cannot run a task: {error}. The release that is installed here must depend on "
            "dkist-processing-core 8 or later."
        )
    try:
        _write_to_disk(sys.prefix)
    except OSError as error:
        sys.exit(f"the environment cannot be written to the disk: {error}")


def _write_to_disk(folder: str) -> None:
    """Flush all files in a folder to the disk, together with everything else on its file system."""
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        write = library.syncfs
    except (AttributeError, ImportError):  # not Linux, or a Python without ctypes
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if write(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()

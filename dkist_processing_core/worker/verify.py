"""
Check an environment that was just built: all installed files are there, and a task can be run.

Runs in: task environment, as a program by its path, with the standard library alone.
"""

import sys
import sysconfig
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """End with a message unless the environment is complete."""
    # Only what the installer has put there: an editable checkout has lists of its own, of another shape.
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    missing = [
        f"{distribution.metadata['Name']}: {file}"
        for distribution in distributions(path=installed)
        for file in distribution.files or ()
        if file.suffix != ".pyc" and not Path(str(file.locate())).exists()
    ]
    if missing:
        sys.exit(f"{len(missing)} files of the environment are missing, such as {missing[0]}")
    try:
        import_module("dkist_processing_core.runtime.main")
    except ImportError as error:
        sys.exit(
            f"this environment cannot run a task: {error}. The release that is installed here must depend on "
            "dkist-processing-core 8 or later."
        )


if __name__ == "__main__":
    main()

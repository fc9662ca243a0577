"""
Measure the coverage of this library in each process that imports it.

Every Python of the environment that `install.py` has prepared imports this at its start. Most of its processes never
import the library; they pay for the hook alone, and not for importing coverage.
"""

import os
import sys

PACKAGE = "dkist_processing_core"
ROOT = os.path.abspath(os.path.join(os.path.realpath(__file__), *[os.pardir] * 4))
DATA = os.path.join(ROOT, ".build", "coverage", "data")


class Hook:
    """Finds nothing; the first search for the package starts the measurement."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == PACKAGE and self in sys.meta_path:
            sys.meta_path.remove(self)
            start()


def start() -> None:
    import atexit

    import coverage

    measurement = coverage.Coverage(data_file=DATA, config_file=os.path.join(ROOT, "pyproject.toml"))
    process = os.getpid()

    def end() -> None:
        if os.getpid() != process:
            return  # coverage has started another measurement in the child
        try:
            measurement.stop()
            measurement.save()
        except Exception:
            pass  # what a test forbids this process must not become an error of that test

    atexit.register(end)
    measurement.start()


sys.meta_path.insert(0, Hook())

"""
Run one task in its own environment: ``python -P -m dkist_processing_core.runtime``, see `main`.

Runs in: task environment.
"""

import sys
from importlib.util import find_spec

from dkist_processing_core.runtime.main import main

if __name__ == "__main__":
    # What multiprocessing lets a process that it spawns run first; it passes over a module called __main__.
    __spec__ = find_spec("dkist_processing_core.runtime.spawned")
    sys.exit(main())

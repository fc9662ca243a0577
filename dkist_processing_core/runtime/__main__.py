"""
Run one task in its own environment: ``python -P -m dkist_processing_core.runtime``, see `main`.

Runs in: task environment.
"""

import sys
from importlib.util import find_spec

from dkist_processing_core.runtime.main import main

if __name__ == "__main__":
    # A process that multiprocessing spawns runs this module first. A module named __main__ would be skipped.
    __spec__ = find_spec("dkist_processing_core.runtime.spawned")
    sys.exit(main())

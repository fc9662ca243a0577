"""
Run one task in its own environment: ``python -P -m dkist_processing_core.runtime``, see `main`.

Runs in: task environment.
"""

import sys

from dkist_processing_core.runtime.main import main

if __name__ == "__main__":
    sys.exit(main())

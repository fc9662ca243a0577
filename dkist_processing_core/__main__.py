"""
The command line, as ``python -m dkist_processing_core``.

Runs in: author and CI, worker.
"""

import sys

from dkist_processing_core.cli import main

if __name__ == "__main__":
    sys.exit(main())

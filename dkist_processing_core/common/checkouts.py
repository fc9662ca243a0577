"""
The state of a checkout: its commit, and a digest of the files that differ from the commit.

Runs in: worker, task environment.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CheckoutState", "checkout_state"]

GIT_SECONDS = 20
UNTRACKED = "??"


class CheckoutState(NamedTuple):
    """
    The sources in a checkout.

    ``commit`` and ``dirty`` are None if git does not know the folder. ``sources_sha256`` is the digest of the files
    that differ from the commit, or of all Python files if there is no commit; None if the checkout is clean.
    """

    commit: str | None
    dirty: bool | None
    sources_sha256: str | None


def checkout_state(folder: Path) -> CheckoutState:
    """
    Return the state of a checkout.

    It is dirty if a file differs from the commit, or if there is a Python file that git neither tracks nor ignores.
    """
    try:
        root, commit = _git(folder, "rev-parse", "--show-toplevel", "HEAD").split("\n")[:2]
        status = _git(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".")
    except (OSError, ValueError, subprocess.SubprocessError):
        return CheckoutState(commit=None, dirty=None, sources_sha256=_digest(folder, _python_files(folder)))
    entries = [(each[:2], each[3:]) for each in status.split("\0") if each]
    changed = [Path(root, path) for state, path in entries if state != UNTRACKED or path.endswith(".py")]
    digest = _digest(folder, changed) if changed else None
    return CheckoutState(commit=commit, dirty=bool(changed), sources_sha256=digest)


def _git(folder: Path, *arguments: str) -> str:
    # Variables such as GIT_DIR would select another repository. A query must not write the index.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603 - no shell, and arguments of ours
        ["git", "-C", folder, *arguments],  # noqa: S607 - the one on PATH
        env={**variables, "GIT_OPTIONAL_LOCKS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=GIT_SECONDS,
    )
    return os.fsdecode(done.stdout)


def _python_files(folder: Path) -> Iterable[Path]:
    """Yield the Python files of a folder, but not those of hidden folders and virtual environments."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            each for each in folders if not each.startswith(".") and not Path(parent, each, "pyvenv.cfg").exists()
        ]
        yield from (Path(parent, name) for name in names if name.endswith(".py"))


def _digest(folder: Path, files: Iterable[Path]) -> str:
    rows = sorted((os.path.relpath(each, folder), _content(each)) for each in files)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _content(file: Path) -> str:
    """Return the digest of a file; for a folder, which is a nested repository, the digest of its Python files."""
    try:
        return _digest(file, _python_files(file)) if file.is_dir() else hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:  # deleted, or not readable
        return type(error).__name__

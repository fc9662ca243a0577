"""The archives of a release: built from copies of the sources, as they are in this folder."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from support.command_line import run_command
from support.made_once import made_once
from support.releases import REPOSITORY, run_uv

# Those that `make release-check` has built, and that are uploaded; without it, the tests build their own.
BUILT = os.environ.get("DKIST_TEST_ARCHIVES")


class NoCheckoutError(Exception):
    """The sources are no checkout of git, so nothing says which files belong to them."""


def copy_sources(folder: Path) -> Path:
    """
    Copy the files that are version-controlled, or new and not ignored, into a repository of their own.

    Raises
    ------
    NoCheckoutError
        If the sources are not in a checkout.
    """
    listed = run_command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPOSITORY)
    if listed.returncode or not (REPOSITORY / ".git").exists():
        raise NoCheckoutError(f"{REPOSITORY} is not a checkout of git")
    for name in filter(None, listed.stdout.split("\0")):
        if (source := REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    for command in (["init", "--quiet"], ["add", "--all"]):
        run_command("git", *command, cwd=folder).check()
    return folder


def build(sources: Path, folder: Path, *options: str) -> Path:
    """Build the archives, with the pinned version of the build backend, and return the folder."""
    run_uv("build", *options, "--build-constraints", sources / "constraints.txt", "--out-dir", folder, sources)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each archive, by its name."""
    archives = [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in archives}


def archives_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Return a folder with the sdist and the wheel that was built from it.

    Raises
    ------
    NoCheckoutError
        As `copy_sources`.
    """
    if BUILT:
        return Path(BUILT)
    sources = tmp_path_factory.mktemp("copy") / "sources"
    return made_once(tmp_path_factory, "archives", lambda folder: build(copy_sources(sources), folder))

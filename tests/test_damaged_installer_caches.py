"""What is damaged in the cache of an installer defeats no build."""

import os
import shutil

import pytest
from support.command_line import first_on_path
from support.script_runs import environments, run, worker_without_uv

CACHES = {
    "modules": ("*.py", 0),
    "lists": ("RECORD", 0),
    "halves-of-lists": ("RECORD", 300),
    "metadata": ("METADATA", 0),
    "pointers": ("*.msgpack", 0),
    "all": ("*", 0),
    "halves-of-all": ("*", 200),
}


@pytest.fixture(scope="module")
def uv_cache(releases, tmp_path_factory):
    """A cache of uv that holds all that an environment needs."""
    folder = tmp_path_factory.mktemp("uv")
    settings = {"UV_CACHE_DIR": str(folder / "cache"), "DKIST_ENVIRONMENT_CACHE": str(folder / "environments")}
    run("Good", releases, **settings).check()
    return folder / "cache"


@pytest.mark.parametrize(("pattern", "size"), CACHES.values(), ids=CACHES)
def test_a_damaged_cache_of_uv_defeats_no_build(releases, uv_cache, tmp_path, pattern, size):
    """uv itself installs empty files without a word, or fails; then it works without its cache."""
    copy = shutil.copytree(uv_cache, tmp_path / "uv", symlinks=True)
    for file in copy.rglob(pattern):
        if file.is_file() and file.stat().st_size > size:
            os.truncate(file, size)
    run("Good", releases, UV_CACHE_DIR=str(copy)).check("INFO team: good, recipe run 42")
    [environment] = environments(tmp_path / "environments")
    assert (next(environment.glob("lib/*/site-packages/pika/spec.py"))).stat().st_size > 1000


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(lambda file: os.truncate(file, 0), "has 0 bytes instead of"), (os.unlink, ": No such file")],
    ids=["emptied", "deleted"],
)
def test_an_environment_of_links_is_built_anew(releases, uv_cache, tmp_path, damage, reason):
    """If files that they lead to are lost, as by a power cut or ``uv cache clean``; that cache is not used again."""
    copy = shutil.copytree(uv_cache, tmp_path / "uv", symlinks=True)
    settings = {"UV_LINK_MODE": "symlink", "UV_CACHE_DIR": str(copy)}
    run("Good", releases, **settings).check()
    for file in copy.rglob("*.py"):
        damage(file)
    run("Good", releases, **settings).check("INFO team: good, recipe run 42", reason)


def test_a_damaged_cache_of_pip_defeats_no_build(releases, tmp_path):
    """Each file in it is shorter than it was."""
    settings = {**worker_without_uv(tmp_path / "tools"), "PIP_CACHE_DIR": str(tmp_path / "pip")}
    run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path / "first"), **settings).check()
    for file in (tmp_path / "pip").rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    second = {**settings, "DKIST_ENVIRONMENT_CACHE": str(tmp_path / "second")}
    run("Good", releases, **second).check("INFO team: good, recipe run 42")


def test_an_installer_that_fails_twice_is_an_error(releases, tmp_path):
    """The second time without its cache, and there is no third."""
    program = f'#!/bin/sh\necho "$UV_NO_CACHE" >>{tmp_path}/calls\nexit 2\n'
    done = run("Good", releases, PATH=first_on_path(tmp_path / "tools", "uv", program)).check(status=69)
    assert (tmp_path / "calls").read_text() == "\n1\n"
    assert done.stdout.count("The build is tried again without the installer's cache") == 1

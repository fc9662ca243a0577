"""Lock files: what a workflow states by the hash of each file, and what is written for an environment."""

import platform
import shutil
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import first_on_path, run_program
from support.releases import VERSION, with_links, write_package
from support.script_runs import environments, new_spec, run, worker_without_uv
from support.wheels import make_wheel

from dkist_processing_core.authoring.constraints import read_constraints
from dkist_processing_core.common.environment import read_description
from dkist_processing_core.common.lock_file import for_release
from dkist_processing_core.exceptions import EnvironmentLockError, WorkflowError
from dkist_processing_core.worker import locking

NAME = "camlock"
LOCK = """
lock-version = "1.0"
created-by = "a test"
[[packages]]
name = "Spectrum_Tools"
version = "2.0"
sdist = { url = "https://h/s.tar.gz", hashes = { sha256 = "00" } }
[[packages.wheels]]
url = "https://h/b.whl"
hashes = { sha256 = "bb" }
[[packages.wheels]]
url = "https://h/a.whl"
hashes = { sha256 = "aa" }
[[packages]]
name = "camera"
version = "1.0"
marker = "sys_platform == 'linux'"
sdist = { url = "https://h/c.tar.gz", hashes = { sha256 = "cc", md5 = "0" } }
[[packages]]
name = "lines"
archive = { url = "https://h/lines-1.whl", hashes = { sha256 = "dd" } }
"""
ZEROS = "0" * 62


def write(folder, text, name="pylock.toml"):
    """Write a lock file, whose hashes are completed."""
    (folder / name).write_text(text.replace('sha256 = "', f'sha256 = "{ZEROS}'))
    return folder / name


def test_a_lock_file_becomes_requirements_with_hashes(tmp_path):
    """Of a distribution with wheels, the wheels count."""
    text = read_constraints(write(tmp_path, LOCK, "pylock.cam.toml"), workflow="w")
    assert text.replace(ZEROS, "").splitlines() == [
        'camera==1.0; sys_platform == "linux" --hash=sha256:cc',
        "lines @ https://h/lines-1.whl --hash=sha256:dd",
        "spectrum-tools==2.0 --hash=sha256:aa --hash=sha256:bb",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("lock-version", "version"), "is not in the format of PEP 751: KeyError: 'lock-version'"),
        (('lock-version = "1.0"', 'lock-version = "2.0"'), "has lock-version '2.0', but only 1.0 is supported"),
        (("[[packages]]", "[packages]"), "Cannot declare"),
        (('archive = { url = "https://h/lines-1.whl"', 'archive = { path = "x.whl"'), "refers to lines by a path"),
        (
            ('archive = { url = "https://h/lines-1.whl", hashes = { sha256 = "dd" } }', 'directory = { path = "." }'),
            "lines",
        ),
        (('sha256 = "aa"', 'md5 = "aa"'), "has no SHA-256 hash for a file of spectrum-tools"),
        (("sys_platform == 'linux'", "'x' in extras"), "a choice of extras or dependency groups: camera"),
        (('version = "2.0"', 'version = "two"'), "Invalid version: 'two'"),
        (('version = "2.0"', 'version = "2.*"'), "Invalid version: '2.*'"),
        (('sha256 = "aa"', 'sha256 = "aa --find-links https://h"'), "has no SHA-256 hash for a file of spectrum-tools"),
        (('sha256 = "aa"', 'sha256 = "aaa"'), "has no SHA-256 hash for a file of spectrum-tools"),
        (("https://h/lines", "https://me:secret99@h/lines"), "has a URL of lines that may contain a password"),
        (("lines-1.whl", "lines-1.whl?sig=secret99"), "has a URL of lines that may contain a password"),
        ((LOCK[LOCK.index("[[") :], "packages = []"), "lists no packages"),
    ],
)
def test_what_cannot_be_locked_is_refused(tmp_path, change, message):
    """With the file, and what is wrong with it."""
    file = write(tmp_path, LOCK.replace(*change))
    with pytest.raises(WorkflowError, match=r"pylock.toml' is not a usable lock file \(") as raised:
        read_constraints(file, workflow="w")
    assert message in str(raised.value)
    assert "secret99" not in str(raised.value)


def test_a_constraints_file_with_hashes_is_no_lock(tmp_path):
    """It constrains what is installed, as before."""
    (tmp_path / "constraints.txt").write_text("camera==1.0 --hash=sha256:aa\n")
    assert read_constraints(tmp_path / "constraints.txt", workflow="w") == "camera==1.0"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.0", True), ("2", True), ("2.0.0", True), ("02.0", True), ("2.1", False), ("2.0rc1", False), ("dev", False)],
)
def test_the_release_counts_in_its_own_version_alone(tmp_path, version, expected):
    """However that is spelled; a checkout has none."""
    text = read_constraints(write(tmp_path, LOCK), workflow="w")
    kept = for_release(text, "Spectrum.Tools", version)
    assert ("spectrum-tools==2.0 " in kept) == expected
    assert len(kept.splitlines()) == 2 + expected


@pytest.fixture(scope="module")
def index(core_wheel, tmp_path_factory):
    """A folder with a release and what it needs."""
    folder = shutil.copytree(core_wheel, tmp_path_factory.mktemp("index") / "wheels")
    needs = (f"dkist-processing-core=={VERSION}", "spectrograph", "lines; extra == 'asdf'")
    make_wheel(folder, NAME, "1.0", *needs, extras=("frozen", "asdf"))
    wheel = make_wheel(folder, "spectrograph", "2.0")
    shutil.copy(wheel, folder / "spectrograph-2.0-cp27-none-any.whl")
    make_wheel(folder, "lines", "1.0")
    return folder


@pytest.fixture(params=["uv", "pip"])
def installer(request, tmp_path):
    """The variables of a worker that has this installer alone."""
    return {} if request.param == "uv" else worker_without_uv(tmp_path / "bin", "env")


def built(index, folder, constraints="", *, version="1.0", extras=("frozen",), **environment):
    """Run a task that is not there in the environment of the release, with some constraints."""
    spec = new_spec(name=NAME, version=version, extras=extras)
    spec = replace(spec, nodes=(replace(spec.nodes[0], constraints=constraints),))
    return run(spec, index, DKIST_ENVIRONMENT_CACHE=str(folder), **environment)


@pytest.fixture(scope="module")
def locked(index, tmp_path_factory):
    """What the environment of the release says, its lock file, and the constraints that a workflow reads there."""
    folder = tmp_path_factory.mktemp("locked")
    built(index, folder / "cache")
    file = folder / "pylock.toml"
    write_lock(index, folder / "cache", file).check()
    return described_in(folder / "cache"), file, read_constraints(file, workflow="w")


def described_in(cache):
    """Return what the one environment in a cache says."""
    [environment] = environments(cache)
    return read_description(environment)


def write_lock(index, cache, file, **environment):
    arguments = ("environments", "lock", NAME, "--cache", cache, "--output", file)
    return run_program(*arguments, **with_links(index), **environment)


@pytest.mark.once
def test_a_lock_rebuilds_the_environment(index, locked, installer, tmp_path):
    """In an empty cache, by either installer, with the same identity."""
    described, file, text = locked
    content = tomllib.loads(file.read_text())
    assert {each["name"] for each in content["packages"]} == {each["name"] for each in described["distributions"]}
    assert content["requires-python"] == f"=={sys.version_info.major}.{sys.version_info.minor}.*"
    [wheel] = next(each["wheels"] for each in content["packages"] if each["name"] == "spectrograph")
    assert "py3-none-any" in str(wheel)  # and not that of another Python
    done = built(index, tmp_path / "cache", text, **installer)
    assert "was built, but" not in done.stdout
    again = described_in(tmp_path / "cache")
    assert (again["identity"], again["installer"]["name"]) == (described["identity"], "pip" if installer else "uv")


@pytest.mark.once
def test_an_environment_of_pip_knows_its_wheels(index, locked, tmp_path):
    """Their hashes are those that uv learns from the index; nobody is asked."""
    built(index, tmp_path / "cache", **worker_without_uv(tmp_path / "bin", "env"))
    write_lock(index, tmp_path / "cache", tmp_path / "pylock.toml").check()
    assert locked_hashes(tmp_path / "pylock.toml") == locked_hashes(locked[1])


def without_spectrograph(text):
    """Return constraints that lack a requirement of the release."""
    return "\n".join(each for each in text.splitlines() if not each.startswith("spectrograph"))


def locked_hashes(file):
    """Return the hashes of the wheels of each distribution in a lock file."""
    packages = tomllib.loads(file.read_text())["packages"]
    return {each["name"]: [wheel["hashes"]["sha256"] for wheel in each["wheels"]] for each in packages}


@pytest.mark.once
def test_a_wheel_that_was_exchanged_is_refused(index, locked, installer, tmp_path):
    """With status 69 and its name, be it what the release needs, or the release, however its version is spelled."""
    *_, text = locked
    for name, version in (("spectrograph", "1.0"), (NAME, "1.0.0")):
        exchanged = shutil.copytree(index, tmp_path / name)
        [wheel] = exchanged.glob(f"{name}-*-py3-none-any.whl")
        with wheel.open("ab") as archive:
            archive.write(b"\0")
        done = built(exchanged, tmp_path / "cache", text, version=version, **installer).check(status=69)
        [error] = [line for line in done.stdout.splitlines() if " ERROR: " in line]
        assert "differs from the one in the lock file" in error
        assert f"{name}==" in error
        assert environments(tmp_path / "cache") == []


@pytest.mark.once
def test_a_lock_that_lacks_something_is_refused(index, locked, installer, tmp_path):
    """Be it a dependency, or one of an extra that only this task has; nothing is installed that it does not state."""
    *_, whole = locked
    part = without_spectrograph(whole)
    for text, extras, missing in ((part, ("frozen",), "spectrograph"), (whole, ("frozen", "asdf"), "lines")):
        done = built(index, tmp_path / "cache", text, extras=extras, **installer).check(status=69)
        [error] = [line for line in done.stdout.splitlines() if " ERROR: " in line]
        assert "the lock file of the workflow lacks a requirement" in error
        assert missing in error
        assert environments(tmp_path / "cache") == []


@pytest.mark.once
def test_settings_of_the_worker_do_not_decide_beside_a_lock(index, locked, installer, tmp_path):
    """What it lacks is noticed, and what it has is installed, also where dependencies are not to be."""
    described, file, whole = locked
    settings = {**installer, "PIP_NO_DEPS": "1"}
    done = built(index, tmp_path / "cache", without_spectrograph(whole), **settings)
    assert "the lock file of the workflow lacks a requirement" in done.stdout
    built(index, tmp_path / "cache", whole, **settings)
    assert described_in(tmp_path / "cache")["identity"] == described["identity"]
    write_lock(index, tmp_path / "cache", tmp_path / "pylock.toml", PIP_NO_DEPS="1").check()
    assert locked_hashes(tmp_path / "pylock.toml") == locked_hashes(file)


@pytest.mark.once
def test_a_checkout_is_installed_beside_the_lock_of_its_release(index, locked, tmp_path):
    """Which has the release as well, though the index may have it no more."""
    *_, text = locked
    project = write_package(tmp_path / "project", {"tasks.py": ""}, name=NAME)
    others = shutil.copytree(index, tmp_path / "others", ignore=shutil.ignore_patterns(f"{NAME}-*"))
    done = built(others, tmp_path / "cache", text, version="dev", DKIST_DEV_PROJECT=str(project))
    done.check(status=1)  # it has no such task
    distributions = {each["name"]: each for each in described_in(tmp_path / "cache")["distributions"]}
    assert distributions[NAME]["origin"]["checkout"]["path"] == str(project)
    assert distributions["spectrograph"]["version"] == "2.0"


@pytest.mark.once
def test_a_lock_of_the_release_before_fits(index, locked, tmp_path):
    """The release itself is that of the workflow; a constraint of the worker does not count beside a lock."""
    described, _, text = locked
    before = text.replace(f"{NAME}==1.0", f"{NAME}==0.9")
    (tmp_path / "worker.txt").write_text("spectrograph<2\n")
    worker = {"UV_CONSTRAINT": str(tmp_path / "worker.txt")}
    built(index, tmp_path / "cache", for_release(before, NAME, "1.0"), **worker)
    assert described_in(tmp_path / "cache")["identity"] == described["identity"]


@pytest.mark.once
def test_what_is_not_on_the_index_any_more_is_not_locked(index, tmp_path):
    """Nothing is written if the lock would build something else."""
    cache = tmp_path / "cache"
    built(index, cache)
    exchanged = shutil.copytree(index, tmp_path / "exchanged")
    make_wheel(exchanged, "spectrograph", "2.0", files={"spectrograph.py": "VERSION = 'another'\n"})
    message = "the package index no longer has what is in the environment: spectrograph differ"
    write_lock(exchanged, cache, tmp_path / "pylock.toml").check(message, status=1)
    (exchanged / "spectrograph-2.0-py3-none-any.whl").unlink()
    message = "does not have what is in the environment"
    write_lock(exchanged, cache, tmp_path / "pylock.toml").check(message, status=1)
    assert not (tmp_path / "pylock.toml").exists()


def of_distribution(**values):
    """Return what an environment with one distribution says, from an index unless something else is given."""
    distribution = {"name": "cam", "version": "1.0", "origin": None, "wheel_sha256": None, **values}
    interpreter = {"version": platform.python_version(), "executable": sys.executable}
    return {"requirement": "cam[frozen]==1.0", "interpreter": interpreter, "distributions": [distribution]}


WHEEL = {"origin": {"url": "file:///nowhere/cam-1.0-py3-none-any.whl"}}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (of_distribution(origin={"checkout": {}}), "cam is installed from a checkout, which has no hash.*Release it"),
        (of_distribution(**WHEEL, wheel_sha256="00"), "the lock has no SHA-256 hash.*Use a package index that states"),
        (
            of_distribution(**WHEEL, wheel_sha256="0" * 64),
            r"cam\[frozen\]==1.0 cannot be built from its lock: .* ends",
        ),
    ],
    ids=["checkout", "hash", "build"],
)
def test_an_environment_that_cannot_be_locked_says_why(tmp_path, description, message):
    """With what to do."""
    with pytest.raises(EnvironmentLockError, match=f"(?s){message}"):
        locking.lock_file(tmp_path, description)


def test_the_package_index_is_asked_with_uv_within_a_time(tmp_path, monkeypatch):
    """The errors say how to get it, and how long it took."""
    monkeypatch.setattr(locking, "find_uv", lambda _: None)
    with pytest.raises(EnvironmentLockError, match=r"uv, which asks .* is not on PATH(?s:.*)pip install uv"):
        locking.lock_file(tmp_path, of_distribution())
    first_on_path(tmp_path, "uv", "#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(locking, "find_uv", lambda _: tmp_path / "uv")
    monkeypatch.setattr(locking, "SECONDS", 0.1)
    with pytest.raises(
        EnvironmentLockError, match=r"does not have what is in the environment: it took more than 0.1 s"
    ):
        locking.lock_file(tmp_path, of_distribution())


def test_a_lock_is_toml_without_credentials():
    """Whatever characters an address has; of a distribution without wheels, the source distribution counts."""
    file = {"url": "https://me:s3cret@h/c\u00e4m\U0001f52d\x7f.tar.gz", "size": 3, "hashes": {"sha256": "aa"}}
    package = locking._chosen(Path(), {"name": "cam", "version": "1.0", "marker": "x", "sdist": file})
    content = tomllib.loads(locking._toml(of_distribution(), {"cam": package}))
    [cam] = content["packages"]
    assert cam == {"name": "cam", "version": "1.0", "sdist": {**file, "url": "https://h/c\u00e4m\U0001f52d\x7f.tar.gz"}}
    direct = {"direct_url": {"url": "https://h/cam.tar.gz"}}
    pins = [locking._pin(of_distribution(origin=origin)["distributions"][0]) for origin in (None, direct)]
    assert pins == ["cam==1.0", "cam @ https://h/cam.tar.gz"]

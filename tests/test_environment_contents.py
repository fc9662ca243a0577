"""What the command line says of the contents of environments: show, compare, verify."""

import functools
import json
import os
import shutil

import pytest
from support.described_environments import build, new_cache, replace, rewrite, site_packages, undescribe
from support.releases import run_uv
from support.wheels import make_wheel

from dkist_processing_core.common.environment import DESCRIPTION, read_description
from dkist_processing_core.worker import collector, inventory, verification

CAMERA = {
    "camera/__init__.py": "GAIN = 1\n",
    "camera/flat.txt": "flat\n",
    "{info}/entry_points.txt": "[console_scripts]\nexpose = camera:main\n",
}


@pytest.fixture
def command(command):
    """Run one of the commands for environments; return exit status, standard output and standard error."""
    return functools.partial(command, "environments")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheels of two distributions, and each in another version, or with one byte that is another one."""
    folder = tmp_path_factory.mktemp("wheels")
    changed = {**CAMERA, "camera/__init__.py": "GAIN = 2\n"}
    return {
        "camera": make_wheel(folder / "a", "camera", "1.0", files=CAMERA),
        "other-camera": make_wheel(folder / "b", "camera", "1.0", files=changed),
        "spectrum": make_wheel(folder, "spectrum", "2.0", files={"spectrum.py": ""}),
        "spectrum-3": make_wheel(folder, "spectrum", "3.0", files={"spectrum.py": "", "lines.py": ""}),
    }


@pytest.fixture(scope="module")
def built(wheels, tmp_path_factory):
    """A cache with two environments, of which the second one differs in both distributions and has a third one."""
    cache = new_cache(tmp_path_factory.mktemp("built") / "cache")
    build(cache, "cam-a", wheels["camera"], wheels["spectrum"])
    extra = make_wheel(tmp_path_factory.mktemp("extra"), "extra", "0.1", files={"extra.py": ""})
    build(cache, "cam-b", wheels["other-camera"], wheels["spectrum-3"], extra)
    return cache


@pytest.fixture
def cache(built, tmp_path, monkeypatch):
    """A copy of that cache, the one that is configured."""
    monkeypatch.setenv("DKIST_ENVIRONMENT_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(built, tmp_path / "cache", symlinks=True)


@pytest.fixture
def environment(cache):
    [found] = cache.glob("v1/cam-a-*/")
    return found


def test_show_names_all_that_an_environment_contains(command, environment, wheels):
    """For people, and as JSON, which is the file; its own label says so much of the name as is needed."""
    output = command("show", "cam-a").check().stdout
    lines = [line.split(maxsplit=1) for line in output.splitlines() if line]
    description = read_description(environment)
    assert ["identity", description["identity"]] in lines
    assert ["constraint", "spectrum<3"] in lines
    assert ["UV_DEFAULT_INDEX", "https://h/simple"] in lines
    assert [each.split() for each in output.splitlines()[-2:]] == [
        ["camera", "1.0", wheels["camera"].as_uri()],
        ["spectrum", "2.0", wheels["spectrum"].as_uri()],
    ]
    assert json.loads(command("show", "cam-a", "--json")[1]) == description
    assert command("show", environment / DESCRIPTION)[1] == output


def test_show_names_a_name_that_is_close(command, cache):
    """As all commands that take the name of an environment."""
    command("show", "spec-a").check("there is no environment 'spec-a'", status=2)


def test_compare_says_per_distribution_what_differs(command, cache):
    """A version, a file, a distribution that only one has; the exit status is 1."""
    output = command("compare", "cam-a", "cam-b").check(status=1).stdout
    assert [line.split() for line in output.splitlines()[3:]] == [
        ["camera", "1.0", "1.0", "files", "differ"],
        ["extra", "0.1", "only", "in", "B"],
        ["spectrum", "2.0", "3.0", "versions", "differ"],
    ]


def test_compare_with_the_file_of_another_machine(command, environment, tmp_path):
    """Equal if the code is; that another Python has built it is said, and is no difference of the identity."""
    theirs = tmp_path / "theirs.json"
    interpreter = read_description(environment)["interpreter"]
    rewrite(environment, interpreter={**interpreter, "build": "3.99 of theirs"})
    shutil.copy(environment / DESCRIPTION, theirs)
    rewrite(environment, interpreter={**interpreter, "build": "3.98"})
    output = command("compare", environment.name, theirs).check().stdout
    assert output.splitlines()[2:] == [
        "not part of the identity: interpreter 3.98 in A, 3.99 of theirs in B",
        "equal: the same files of the same distributions",
    ]


def test_an_environment_of_an_earlier_version_says_so(command, environment):
    """It cannot be shown or compared; it is verified as far as its own lists go."""
    undescribe(environment)
    for arguments in (("show", "cam-a"), ("compare", "cam-a", "cam-b")):
        command(*arguments).check(
            "has no environment.json, since an earlier version of this library built it",
            "-> Remove it, and the next task builds it again, with that file.",
            status=1,
        )
    error = command("verify", "cam-a").check(stdout=f"as installed: cam-a-1.0-{'a' * 12}\n").stderr
    assert "compared with their own RECORD files only" in error
    (site_packages(environment) / "camera/flat.txt").unlink()
    (site_packages(environment) / "added.py").touch()
    output = command("verify", "cam-a").check(status=1).stdout
    assert [line.split()[0] for line in output.splitlines()] == ["NOT", "added", "missing"]


BROKEN = {
    "no-json": ("{", "is not JSON"),
    "another-json": ("[1]", "does not describe an environment"),
    "a-later-version": ('{"schema_version": 2}', "has schema_version 2, but this release supports 1"),
    "another-content": ('{"schema_version": 1, "identity": "0a", "distributions": []}', "does not match its content"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_description_is_refused(command, cache, tmp_path, text, message):
    """The error names the file, what is wrong, and what to do."""
    file = tmp_path / "other.json"
    file.write_text(text)
    command("compare", "cam-a", file).check(str(file), message, "\n    -> ", status=1)


def test_verify_finds_nothing_in_what_was_built(command, cache):
    """Of all environments, also after Python has compiled what it has imported; the exit status is 0."""
    assert command("verify", "--all") == (
        0,
        f"as installed: cam-a-1.0-{'a' * 12}\nas installed: cam-b-1.0-{'b' * 12}\n",
        "",
    )


def upgrade(environment, wheels):
    run_uv("pip", "install", "--no-index", "--python", environment / "bin/python", wheels["spectrum-3"])


def reinstall(environment, wheels):
    options = ["--reinstall", "--no-index", "--python", environment / "bin/python"]
    run_uv("pip", "install", *options, wheels["other-camera"])


CHANGES = {
    "a-byte": (
        lambda path, _: replace(site_packages(path) / "camera/__init__.py", "GAIN = 9\n"),
        ["changed camera 1.0", "changed {modules}/camera/__init__.py"],
    ),
    "a-file-less": (
        lambda path, _: (site_packages(path) / "camera/flat.txt").unlink(),
        ["changed camera 1.0", "missing {modules}/camera/flat.txt"],
    ),
    "a-module-more": (
        lambda path, _: (site_packages(path) / "sitecustomize.py").touch(),
        ["added {modules}/sitecustomize.py"],
    ),
    "a-compiled-module": (lambda path, _: (site_packages(path) / "json.pyc").touch(), ["added {modules}/json.pyc"]),
    "a-linked-package": (lambda path, _: (site_packages(path) / "link").symlink_to("/usr"), ["added {modules}/link"]),
    "an-upgrade": (upgrade, ["changed spectrum 2.0 -> 3.0"]),
    "another-wheel-of-the-release": (reinstall, ["changed camera 1.0"]),
    "a-script": (lambda path, _: (path / "bin/expose").write_text("#!/bin/sh\n"), ["changed bin/expose"]),
    "a-program": (lambda path, _: (path / "bin/git").touch(), ["added bin/git"]),
    "the-system's-packages": (
        lambda path, _: replace(
            path / "pyvenv.cfg", (path / "pyvenv.cfg").read_text().replace("packages = false", "packages = true ")
        ),
        ["changed pyvenv.cfg"],
    ),
    "another-python": (
        lambda path, _: ((path / "bin/python").unlink(), (path / "bin/python").symlink_to("/usr/bin/python")),
        ["changed bin/python"],
    ),
    "the-description": (lambda path, _: rewrite(path, identity="0a"), ["changed environment.json"]),
    "no-description": (lambda path, _: (path / DESCRIPTION).unlink(), ["changed environment.json"]),
}


@pytest.mark.parametrize(("change", "findings"), CHANGES.values(), ids=CHANGES)
def test_verify_names_what_is_no_longer_as_it_was_installed(command, environment, wheels, change, findings):
    """Whatever it is, also if no size and no time tell it; the exit status is 1, and the other one is as it was."""
    change(environment, wheels)
    output = command("verify", "cam-a", "cam-b").check(status=1).stdout
    shown = site_packages(environment).relative_to(environment)
    first, *named, last = output.splitlines()
    assert first == f"NOT as installed: cam-a-1.0-{'a' * 12}"
    assert [" ".join(line.split()) for line in named] == [each.format(modules=shown) for each in findings]
    assert last == f"as installed: cam-b-1.0-{'b' * 12}"


def test_verify_wants_names_or_all(command, cache):
    """Neither, or both, is an error of the command line."""
    for arguments in ((), ("cam-a", "--all")):
        command("verify", *arguments).check("give the names of environments, or --all.", status=2)


def test_many_findings_are_cut(command, environment):
    """A folder that was copied into an environment does not fill the terminal."""
    for number in range(60):
        (site_packages(environment) / f"m{number:02}.py").touch()
    lines = command("verify", "cam-a")[1].splitlines()
    assert (len(lines), lines[-1]) == (52, "  and 10 more")


def test_what_is_being_built_is_not_verified(command, environment):
    """It is named; that is no failure of the others."""
    (environment / ".ready").unlink()
    command("verify", "--all").check(
        stdout=f"as installed: cam-b-1.0-{'b' * 12}\n", stderr=f"unfinished, not verified: cam-a-1.0-{'a' * 12}\n"
    )
    assert command("show", "cam-a")[0] == 1


def test_what_is_verified_is_not_removed_meanwhile(command, environment, monkeypatch):
    """As if a task ran in it; its last use stays what it was, and then it can be removed."""
    lock = environment.with_name(f"{environment.name}.use")
    lock.touch()
    os.utime(lock, (1, 1))
    [ours] = [each for each in collector.environments() if each.path == environment]
    removed = []

    def take_inventory(path, checkouts):
        removed.append(collector.remove(ours))
        return inventory.take_inventory(path, checkouts)

    monkeypatch.setattr(verification, "take_inventory", take_inventory)
    assert command("verify", "cam-a")[0] == 0
    assert (removed, lock.stat().st_mtime) == ([False], 1)
    assert collector.remove(ours)

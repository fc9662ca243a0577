"""Power cuts: the cache, and that of the installer, are on a disk that loses what was not written yet."""

import contextlib
import os
import random
import shutil
import signal
import time

import pytest
from support.command_line import run_command
from support.power_cuts import mounted_disk
from support.processes import session_members
from support.script_runs import new_spec, run, start, worker_without_uv

pytestmark = [pytest.mark.network, pytest.mark.once]

CUTS = int(os.environ.get("DKIST_TEST_CUTS", "20"))  # read before the tests isolate themselves
RAN = "INFO team: good, recipe run 42"


@pytest.fixture
def disk(tmp_path):
    """A disk whose power can be cut."""
    with mounted_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture(params=["uv", "pip"])
def settings(request, disk, tmp_path):
    """The variables of a worker that has everything on that disk."""
    tools = worker_without_uv(tmp_path / "tools") if request.param == "pip" else {}
    caches = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "DKIST_ENVIRONMENT_CACHE": "environments"}
    return {**tools, **{name: str(disk.folder / folder) for name, folder in caches.items()}}


def test_a_power_cut_after_a_task_costs_a_build_at_most(releases, disk, settings):
    """The task after it runs, and the one after that reuses its environment."""
    assert run("Good", releases, **settings).returncode == 0
    disk.cut()
    disk.restore()
    run("Good", releases, **settings).check(RAN)
    run("Bad", releases, **settings).check("environment reused", status=1)


def cut_power(releases, disk, settings, seconds):
    """Cut the power some time after the beginning of a task whose environment may have to be built."""
    process = start(new_spec(), releases, **settings)
    time.sleep(seconds)
    disk.cut()
    # The power is off for all of them; whatever has the disk open keeps it from being mounted again.
    while members := session_members(process.pid):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.02)
    stdout, _ = process.communicate()
    disk.restore()
    return process.returncode, stdout


@pytest.mark.parametrize("cuts", [2, pytest.param(CUTS, marks=[pytest.mark.kills, pytest.mark.timeout(3600)])])
def test_a_start_after_a_power_cut_always_runs_the_task(releases, disk, settings, cuts):
    """At random moments with what earlier cuts have left on the disk, every other time during a build."""
    moments = random.Random(11)
    began = time.monotonic()
    assert run("Good", releases, **settings).returncode == 0
    build_seconds = time.monotonic() - began
    built = 0
    for number in range(cuts):
        seconds = moments.uniform(0.2, 8)
        if number % 2 == 0:
            seconds = moments.uniform(0, build_seconds)
            # On the disk as well, or else the power cut would undo it, and the next start would build nothing.
            shutil.rmtree(disk.folder / "environments", ignore_errors=True)
            run_command("sync", "-f", disk.folder).check()
        status, stdout = cut_power(releases, disk, settings, seconds)
        assert status or RAN in stdout, stdout
        done = run("Good", releases, **settings).check(RAN)
        built += "building the environment" in done.stdout
    print(f"{cuts} power cuts, after {built} of which the environment was built")

"""Power cuts: the cache, and that of the installer, are on a disk that loses what was not written yet."""

import os
import random
import signal
import time

import pytest
from support.power_cuts import mounted_disk
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
    done = run("Good", releases, **settings)
    assert (done.returncode, RAN in done.stdout) == (0, True), done.stdout
    done = run("Bad", releases, **settings)
    assert (done.returncode, "environment reused" in done.stdout) == (1, True), done.stdout


def cut_power(releases, disk, settings, moments):
    """Cut the power at a moment of a build, or after it; then start a task, which must run."""
    process = start(new_spec(), releases, **settings)
    time.sleep(next(moments))
    disk.cut()
    os.killpg(process.pid, signal.SIGKILL)
    stdout, _ = process.communicate()
    assert (process.returncode == 0) <= (RAN in stdout), stdout
    disk.restore()
    done = run("Good", releases, **settings)
    assert (done.returncode, RAN in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize("cuts", [2, pytest.param(CUTS, marks=[pytest.mark.kills, pytest.mark.timeout(3600)])])
def test_a_start_after_a_power_cut_always_runs_the_task(releases, disk, settings, cuts):
    """At random moments, each with what the cuts before it have left on the disk."""
    random_ = random.Random(11)
    for number in range(cuts):
        cut_power(releases, disk, settings, iter([random_.uniform(0.2, 8)]))
        print(f"{number + 1} cuts")

"""Builds that are killed, over and over: run by ``make test-kills``, since it takes minutes."""

import os
import random
import shutil
import signal
import time

import pytest
from support.command_line import run_command
from support.script_runs import environments, new_spec, run, start

pytestmark = [pytest.mark.kills, pytest.mark.network, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("DKIST_TEST_KILLS", "200"))  # read before the tests isolate themselves
MISSING_FILES = """
from importlib.metadata import distributions
from pathlib import Path
for distribution in distributions():
    for file in distribution.files or ():
        if not Path(str(distribution.locate_file(file))).exists():
            print(file)
"""


def test_a_start_after_a_killed_build_always_succeeds(releases, tmp_path):
    """Each build is killed at a random moment; the start after it succeeds, in an environment that misses no file."""
    cache = tmp_path / "environments"
    moments = random.Random(7)
    killed_while_building = 0
    for _ in range(KILLS):
        process = start(new_spec(), releases)
        time.sleep(moments.uniform(0.05, 1.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        unfinished = [each for each in environments(cache) if not (each / ".ready").exists()] if cache.exists() else []
        killed_while_building += bool(unfinished)
        run("Good", releases).check()
        [environment] = environments(cache)
        run_command(environment / "bin/python", "-c", MISSING_FILES).check(stdout="")
        shutil.rmtree(environment)
    print(f"{KILLS} builds killed, {killed_while_building} of them in the middle")
    assert killed_while_building > KILLS / 4

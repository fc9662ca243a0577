"""Which variables of the worker reach a task."""

import json
import os

import pytest
from support.command_line import run_python

from dkist_processing_core.common.clean_room import cleaned, unwanted
from dkist_processing_core.worker import __main__ as worker

RUN_OF_PYTHON_VIRTUALENV = """
import json, os
from dkist_processing_core.runtime import virtualenv
virtualenv.main = lambda _: print(json.dumps(dict(os.environ)))
virtualenv.run("m:T", "1", "w", "1", "", "")
"""
REMOVED = [
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW_CONN_MY DB",
    "AIRFLOW_HOME",
    "AIRFLOW_VAR_MY-KEY%",
    "BASHOPTS",
    "BASH_ENV",
    "BASH_FUNC_cd%%",
    "CDPATH",
    "FUNCNEST",
    "GLOBSORT",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PYTHONOPTIMIZE",
    "PYTHONPATH",
    "PYTHON_GIL",
    "SHELLOPTS",
    "VIRTUAL_ENV",
    "VIRTUAL_ENV_PROMPT",
    "_AIRFLOW_WWW_USER_PASSWORD",
    "__AIRFLOW_SUPERVISOR_FD",
    "__PYVENV_LAUNCHER__",
]


@pytest.mark.parametrize("name", REMOVED)
def test_what_configures_airflow_python_or_a_shell_is_removed(name):
    """Its settings and secrets, and what would let the Python or the shell of the worker decide what a task runs."""
    assert unwanted([name, "HOME"]) == [name]
    assert cleaned({name: "x", "HOME": "/h"}) == {"HOME": "/h"}


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW_CTX_DAG_ID",
        "BASHFUL",
        "GLOB",
        "DKIST_LOG_LEVEL",
        "ENV",
        "LD_PRELOAD",
        "MESH_CONFIG",
        "PATH",
        "PYTHONHASHSEED",
        "PYTHONUNBUFFERED",
        "PYTHON_CPU_COUNT",
        "PYTHON_GILDED",
        "PYTHON_VERSION",
    ],
)
def test_all_others_reach_the_task(name):
    """Those that name the run as well."""
    assert cleaned({name: "x"}) == {name: "x"}


def test_both_operators_run_a_task_in_one_clean_room():
    """What Airflow calls in its own virtual environment removes what the worker program removes."""
    assert worker.cleaned is cleaned
    # Without it, the Python of this test may not find this library.
    removed = set(REMOVED) - {"PYTHONPATH"}
    environment = {**os.environ, **dict.fromkeys(removed, ""), "MINE": "x"}
    done = run_python(RUN_OF_PYTHON_VIRTUALENV, env=environment).check()
    left = json.loads(done.stdout)
    assert [name for name in removed if name in left] == []
    assert left["MINE"] == "x"

"""Which variables of the worker reach a task."""

import pytest

from dkist_processing_core.common.clean_room import cleaned, unwanted


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW_CONFIG",
        "AIRFLOW_CONN_DB",
        "AIRFLOW_HOME",
        "AIRFLOW_VAR_X",
        "BASHOPTS",
        "BASH_ENV",
        "BASH_FUNC_cd%%",
        "CDPATH",
        "POSIXLY_CORRECT",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONINSPECT",
        "PYTHONOPTIMIZE",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONSAFEPATH",
        "PYTHONSTARTUP",
        "PYTHONUSERBASE",
        "PYTHONWARNINGS",
        "PYTHON_GIL",
        "SHELLOPTS",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "_AIRFLOW__AS_LIBRARY",
        "__PYVENV_LAUNCHER__",
    ],
)
def test_what_configures_airflow_python_or_a_shell_is_removed(name):
    """Its settings and secrets, and what would let the Python or the shell of the worker decide what a task runs."""
    assert unwanted([name, "HOME"]) == [name]
    assert cleaned({name: "x", "HOME": "/h"}) == {"HOME": "/h"}


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW_CTX_DAG_ID",
        "BASHFUL",
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

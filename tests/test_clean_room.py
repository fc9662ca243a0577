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
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONSTARTUP",
        "PYTHONUSERBASE",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "_AIRFLOW__AS_LIBRARY",
        "__PYVENV_LAUNCHER__",
    ],
)
def test_airflows_own_variables_are_removed(name):
    """Its settings and secrets, and what would let its Python decide what a task runs."""
    assert unwanted([name, "HOME"]) == [name]
    assert cleaned({name: "x", "HOME": "/h"}) == {"HOME": "/h"}


@pytest.mark.parametrize("name", ["AIRFLOW_CTX_DAG_ID", "DKIST_LOG_LEVEL", "MESH_CONFIG", "PATH", "PYTHONUNBUFFERED"])
def test_all_others_reach_the_task(name):
    """Those that name the run as well."""
    assert cleaned({name: "x"}) == {name: "x"}

"""
Which variables of the worker never reach a task, nor the programs that build its environment.

Runs in: worker, and task environment for the operator ``python_virtualenv``, with the standard library alone.
"""

from collections.abc import Iterable, Mapping

__all__ = ["cleaned", "unwanted"]

# Airflow's settings, connections and variables hold secrets. AIRFLOW_CTX_... names the run, and stays.
PREFIXES = ("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "_AIRFLOW_", "PYTHONUSER")
# Each would let the worker's own Python, or files of its user, decide what a task runs.
NAMES = frozenset(
    {
        "AIRFLOW_CONFIG",
        "AIRFLOW_HOME",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONINSPECT",
        "PYTHONIOENCODING",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "__PYVENV_LAUNCHER__",
    }
)


def unwanted(names: Iterable[str]) -> list[str]:
    """Return the names whose variables are removed."""
    return [name for name in names if name in NAMES or name.startswith(PREFIXES)]


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of environment variables without the unwanted ones."""
    removed = set(unwanted(environment))
    return {name: value for name, value in environment.items() if name not in removed}

"""
Which variables of the worker never reach a task, nor the programs that build its environment.

Runs in: worker, and task environment for the operator ``python_virtualenv``, with the standard library alone.
"""

from collections.abc import Iterable, Mapping

__all__ = ["cleaned", "unwanted"]

# Airflow's settings, connections and variables hold secrets, and so do those from which images make its settings,
# whatever follows in the name, which need not be an identifier (AIRFLOW_CONN_MY-DB).
PREFIXES = ("AIRFLOW_", "_AIRFLOW_", "__AIRFLOW_", "PYTHONUSER")
# They name the run.
KEPT_PREFIX = "AIRFLOW_CTX_"
# Each would let the worker's own Python, or files of its user, decide what a task runs.
NAMES = frozenset(
    {
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
    return [name for name in names if name in NAMES or (name.startswith(PREFIXES) and not name.startswith(KEPT_PREFIX))]


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of environment variables without the unwanted ones."""
    removed = set(unwanted(environment))
    return {name: value for name, value in environment.items() if name not in removed}

"""
Which variables of the worker never reach a task, nor the programs that build its environment.

Runs in: worker, and task environment for the operator ``python_virtualenv``, with the standard library alone.
"""

import re
from collections.abc import Iterable, Mapping

__all__ = ["cleaned", "unwanted"]

# Airflow's settings, connections and variables hold secrets. AIRFLOW_CTX_... names the run, and stays.
PREFIXES = ("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "_AIRFLOW_")
# Each would let the worker's own Python, or files of its user, decide what a task runs.
NAMES = frozenset({"AIRFLOW_CONFIG", "AIRFLOW_HOME", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"})
# So would those of Python itself, which have no "_" behind PYTHON, with a few exceptions; what other programs call
# PYTHON_... is theirs. These change neither which code runs nor whether it succeeds.
PYTHON = re.compile(r"PYTHON[A-Z]|PYTHON_(GIL|PRESITE)$")
PYTHON_KEPT = frozenset({"PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONUTF8"})
# What a shell does with each of these, exported functions (BASH_FUNC_...) among them, would change a script of a task.
SHELL = re.compile(r"BASH_|(BASHOPTS|CDPATH|EXECIGNORE|GLOBIGNORE|POSIXLY_CORRECT|SHELLOPTS|TMOUT)$")


def unwanted(names: Iterable[str]) -> list[str]:
    """Return the names whose variables are removed."""
    return [name for name in names if name in NAMES or name.startswith(PREFIXES) or _configures_an_interpreter(name)]


def _configures_an_interpreter(name: str) -> bool:
    return bool(SHELL.match(name) or (PYTHON.match(name) and name not in PYTHON_KEPT))


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of environment variables without the unwanted ones."""
    removed = set(unwanted(environment))
    return {name: value for name, value in environment.items() if name not in removed}

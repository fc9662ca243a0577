"""
The variables of the worker that never reach a task or the programs that build its environment.

Runs in: worker, and task environment for the operator ``python_virtualenv``, with the standard library alone.
"""

import re
from collections.abc import Iterable, Mapping

__all__ = ["cleaned", "unwanted"]

# Airflow's settings, connections and variables contain secrets. So do the variables from which container images derive
# its settings (_AIRFLOW_...). The rest of a name need not be an identifier (AIRFLOW_CONN_MY-DB). AIRFLOW_CTX_... names
# the run.
AIRFLOW = re.compile(r"AIRFLOW_(?!CTX_)|__?AIRFLOW_")
# With any of these, the worker's own Python could decide which code a task runs.
ENVIRONMENT = frozenset({"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"})
# So could the variables of Python itself. Except for two, those that could have no "_" after PYTHON; other variables
# PYTHON_... may belong to other programs. Those that are kept change neither which code runs nor whether it succeeds.
PYTHON = re.compile(r"PYTHON[A-Z]|PYTHON_(GIL|PRESITE)$")
PYTHON_KEPT = frozenset({"PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONUTF8"})
# Each of these, exported functions (BASH_FUNC_...) included, changes how a shell executes the script of a task.
SHELL = re.compile(
    r"BASH_|(BASHOPTS|CDPATH|EXECIGNORE|FUNCNEST|GLOB(IGNORE|SORT)|PIPESTATUS|POSIXLY_CORRECT|SHELLOPTS|TMOUT)$"
)


def unwanted(names: Iterable[str]) -> list[str]:
    """Return those of the names whose variables must be removed."""
    return [name for name in names if _is_unwanted(name)]


def _is_unwanted(name: str) -> bool:
    if PYTHON.match(name):
        return name not in PYTHON_KEPT
    return name in ENVIRONMENT or bool(AIRFLOW.match(name) or SHELL.match(name))


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of environment variables without the unwanted ones."""
    return {name: value for name, value in environment.items() if not _is_unwanted(name)}

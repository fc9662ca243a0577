"""
Settings that are needed before, or without, pydantic: read from the environment on call, never at import.

Runs in: all four interpreters. `config` has all settings, with types and descriptions. This module has the few whose
readers must not import pydantic.
"""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["build_version", "cache_folder", "is_true", "isb_enabled", "isb_logging", "log_level"]

DEFAULT_BUILD_VERSION = "dev"
DEFAULT_LOG_LEVEL = "INFO"
TRUE_WORDS = frozenset({"1", "on", "t", "true", "y", "yes"})
FALSE_WORDS = frozenset({"0", "off", "f", "false", "n", "no"})


def is_true(text: str) -> bool:
    """Tell whether a text is one of the words that pydantic reads as true."""
    return text.strip().lower() in TRUE_WORDS


def build_version() -> str:
    """Return the version of workflows that do not state one (``BUILD_VERSION``, else ``dev``)."""
    return os.environ.get("BUILD_VERSION") or DEFAULT_BUILD_VERSION


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """
    Return the folder in which a worker keeps task environments (``DKIST_ENVIRONMENT_CACHE``).

    By default it is ``dkist-processing-core/environments`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    variables = os.environ if environment is None else environment
    if configured := variables.get("DKIST_ENVIRONMENT_CACHE"):
        return Path(configured)
    # Without a home folder it does not raise but returns a relative path, which `worker.cache` refuses.
    caches = variables.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(caches, "dkist-processing-core", "environments")


def log_level() -> str:
    """Return the lowest level of the log records of a task that are shown (``DKIST_LOG_LEVEL``, else ``INFO``)."""
    return (os.environ.get("DKIST_LOG_LEVEL") or DEFAULT_LOG_LEVEL).strip().upper()


def isb_enabled() -> bool:
    """Tell whether there is an interservice bus: yes, unless ``DKIST_ISB_ENABLED`` is false."""
    return os.environ.get("DKIST_ISB_ENABLED", "").strip().lower() not in FALSE_WORDS


def isb_logging() -> bool:
    """Tell whether the log records of a task go to the interservice bus as well (``DKIST_ISB_LOGGING``, else no)."""
    return isb_enabled() and is_true(os.environ.get("DKIST_ISB_LOGGING", ""))

"""
The limits of the cache of task environments: how long an environment is kept, and how much all of them may take.

Runs in: worker.
"""

import re
from collections.abc import Mapping
from datetime import timedelta

from dkist_processing_core.exceptions import ConfigurationError

__all__ = ["max_age", "max_size", "parse_age", "parse_size"]

DEFAULT_MAX_AGE = "30d"
DEFAULT_MAX_SIZE = "50G"
UNITS_OF_SIZE = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
UNITS_OF_AGE = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_age(text: str) -> timedelta:
    """Parse an age such as ``30d``; raise a `ConfigurationError` if the text is not one."""
    match = re.fullmatch(r"(\d+)([smhdw])", text.strip())
    if match is None:
        raise ConfigurationError(f"{text!r} is not an age; give a number with a unit of s, m, h, d or w, such as 30d")
    try:
        return timedelta(seconds=int(match[1]) * UNITS_OF_AGE[match[2]])
    except OverflowError:
        raise ConfigurationError(f"{text!r} is too long an age; leave the limit out instead") from None


def parse_size(text: str) -> int:
    """Parse a size such as ``50G`` to bytes; raise a `ConfigurationError` if the text is not one."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.strip().upper())
    if match is None:
        raise ConfigurationError(
            f"{text!r} is not a size; give a number of bytes, or one with K, M, G or T, such as 50G"
        )
    return int(float(match[1]) * UNITS_OF_SIZE[match[2]])


def max_age(variables: Mapping[str, str]) -> timedelta:
    """Return how long an unused environment is kept; raise a `ConfigurationError` if the setting is not an age."""
    return parse_age(variables.get("DKIST_ENVIRONMENT_MAX_AGE") or DEFAULT_MAX_AGE)


def max_size(variables: Mapping[str, str]) -> int:
    """Return the limit of all environments in bytes; raise a `ConfigurationError` if the setting is not a size."""
    return parse_size(variables.get("DKIST_ENVIRONMENT_MAX_SIZE") or DEFAULT_MAX_SIZE)

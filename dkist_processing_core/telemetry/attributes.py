"""
What is recorded about a task and its spans, in values that a back end takes.

Runs in: task environment, if any back end is on.
"""

import os
import socket
import traceback
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from dkist_processing_core.common.metadata import TaskMetadata

__all__ = ["LEFT_OPEN", "LONGEST", "exception_attributes", "plain", "task_attributes", "text"]

# Marks a span that the task has not ended.
LEFT_OPEN = "dkist.left_open"
PLAIN_TYPES = frozenset({str, bool, int, float})
LONGEST = 8192
MOST_ELEMENTS = 1024
MOST_FRAMES = 100
SMALLEST, LARGEST = -(2**63), 2**63 - 1
CONTAINERS = (list, tuple, dict, set, frozenset, bytes, bytearray, memoryview)
ALLOCATION = {
    "NOMAD_ALLOC_ID": "nomad.allocation.id",
    "NOMAD_ALLOC_NAME": "nomad.allocation.name",
    "NOMAD_GROUP_NAME": "nomad.allocation.group",
}


def task_attributes(facts: TaskMetadata) -> dict[str, str | int]:
    """Return what is recorded about a task, and where it runs, by its names in OpenTelemetry."""
    return {
        "recipe.run.id": facts.recipe_run_id,
        "workflow.name": facts.workflow_name,
        "workflow.version": facts.workflow_version,
        "task.name": facts.task_name,
        "host.name": socket.gethostname(),
        **{name: os.environ[variable] for variable, name in ALLOCATION.items() if os.environ.get(variable)},
    }


def plain(attributes: Mapping[Any, Any], *, are_sequences_plain: bool = False) -> dict[str, Any]:
    """
    Return attributes that every back end takes: texts, booleans and numbers, none of them huge.

    A number of another type, such as one of numpy's, becomes one of Python's. Anything else is recorded as its text;
    what is None is not recorded.

    Parameters
    ----------
    attributes
        The attributes. No value of theirs can make this raise.
    are_sequences_plain
        Whether a list or tuple of values of one type is taken as well.
    """
    made = {}
    for key, value in attributes.items():
        if value is None:
            continue
        kind = type(value)
        if kind is str:
            if len(value) > LONGEST or not value.isascii():
                value = text(value)  # noqa: PLW2901 - it is the same value
        elif kind is int:
            if not SMALLEST <= value <= LARGEST:
                value = text(value)  # noqa: PLW2901 - likewise
        elif kind not in PLAIN_TYPES:
            value = _plain(value, are_sequences_plain=are_sequences_plain)  # noqa: PLW2901 - likewise
        made[key if type(key) is str and key.isascii() else text(key)] = value
    return made


def text(value: object) -> str:
    """Return what a value is as a text that every back end takes, and not a huge one, whatever the value is."""
    try:
        if isinstance(value, CONTAINERS) and len(value) > MOST_ELEMENTS:
            return f"<{type(value).__name__} of {len(value)} elements>"
        made = str(value)[: LONGEST + 1]
        # What cannot be encoded would keep a whole batch of spans from being sent.
        made = made.encode(errors="backslashreplace").decode()
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
    return made if len(made) <= LONGEST else f"{made[: LONGEST - 3]}..."


def exception_attributes(error: BaseException) -> dict[str, str]:
    """Return what OpenTelemetry's semantic conventions record about an exception."""
    kind = type(error)
    return {
        "exception.type": kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}",
        "exception.message": text(error),
        # The end of it tells what happened, the beginning only how the task was started.
        "exception.stacktrace": text("".join(traceback.format_exception(error, limit=-MOST_FRAMES))[-LONGEST:]),
    }


def _plain(value: Any, *, are_sequences_plain: bool) -> Any:
    try:
        if isinstance(value, Integral):
            value = int(value)
            return value if SMALLEST <= value <= LARGEST else text(value)
        if isinstance(value, Real):
            return float(value)
        if are_sequences_plain and isinstance(value, (list, tuple)) and len(value) <= MOST_ELEMENTS:
            types = {type(each) for each in value}
            if len(types) == 1 and types <= PLAIN_TYPES:
                return list(plain(dict(enumerate(value))).values())
    except Exception:
        return text(value)
    return text(value)

"""
The attributes of a task and of its spans, in values that every back end accepts.

Runs in: task environment, if any back end is on.
"""

import logging
import os
import traceback
from collections.abc import Mapping
from contextlib import suppress
from numbers import Integral, Real
from typing import Any

from dkist_processing_core.common.metadata import TaskMetadata
from dkist_processing_core.common.redaction import redact_urls

__all__ = [
    "LEFT_OPEN",
    "LONGEST",
    "exception_attributes",
    "exception_message",
    "plain",
    "task_attributes",
    "text",
    "warn",
]

logger = logging.getLogger(__name__)

# Attribute of a span that the task did not end.
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


def task_attributes(metadata: TaskMetadata) -> dict[str, str | int]:
    """Return the attributes of a task and of its worker, by their names in OpenTelemetry."""
    identity = metadata.environment_identity
    return {
        "recipe.run.id": metadata.recipe_run_id,
        "workflow.name": metadata.workflow_name,
        "workflow.version": metadata.workflow_version,
        "task.name": metadata.task_name,
        **({"environment.identity": identity} if identity else {}),
        "host.name": os.uname().nodename,
        **{name: os.environ[variable] for variable, name in ALLOCATION.items() if os.environ.get(variable)},
    }


def plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """
    Return attributes as texts, booleans, numbers and lists of one of these, all of limited size.

    A number of another type, such as one of NumPy's, is converted to a Python number. Any other value is recorded as
    its text. None is not recorded.
    """
    return {
        key if type(key) is str and key.isascii() else text(key): _plain(value)
        for key, value in attributes.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    kind = type(value)  # most values need no change
    if kind is str:
        return value if len(value) <= LONGEST and value.isascii() else text(value)
    if kind is float or kind is bool or (kind is int and SMALLEST <= value <= LARGEST):
        return value
    with suppress(Exception):
        if isinstance(value, Integral):
            value = int(value)
            return value if SMALLEST <= value <= LARGEST else text(value)
        if isinstance(value, Real):
            return float(value)
        if isinstance(value, (list, tuple)) and len(value) <= MOST_ELEMENTS:
            types = {type(each) for each in value}
            if len(types) == 1 and types <= PLAIN_TYPES:
                return [_plain(each) for each in value]
    return text(value)


def text(value: object) -> str:
    """Return the text of any value, with limited length and without characters that cannot be encoded."""
    try:
        if isinstance(value, CONTAINERS) and len(value) > MOST_ELEMENTS:
            return f"<{type(value).__name__} of {len(value)} elements>"
        # A character that cannot be encoded would prevent a whole batch of spans from being sent.
        made = str(value)[: LONGEST + 1].encode(errors="backslashreplace").decode()
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
    return made if len(made) <= LONGEST else f"{made[: LONGEST - 3]}..."


def exception_message(error: BaseException) -> str:
    """Return the text of an exception, redacted before it is truncated: a truncated URL does not look like one."""
    try:
        return text(redact_urls(str(error)))
    except Exception:
        return text(error)


def exception_attributes(error: BaseException) -> dict[str, str]:
    """Return the attributes of an exception according to OpenTelemetry's semantic conventions."""
    kind = type(error)
    # The end of a traceback shows what happened; the beginning only shows how the task was started.
    stacktrace = redact_urls("".join(traceback.format_exception(error, limit=-MOST_FRAMES)))[-LONGEST:]
    return {
        "exception.type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "exception.message": exception_message(error),
        "exception.stacktrace": text(stacktrace),
    }


def warn(error: Exception) -> None:
    """Log that a span is not recorded."""
    with suppress(Exception):  # at the recursion limit, even logging may fail
        logger.warning("A span could not be recorded completely: %s: %s", type(error).__name__, error)

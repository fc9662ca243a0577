"""
Rules for the class of a task, as far as it can be seen before it runs.

Runs in: author and CI. Each of them is something that a worker would meet at the first run otherwise.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator

from dkist_processing_core.runtime.task import TaskBase

__all__ = ["class_faults"]

MADE_WITH = ("recipe_run_id", "workflow_name", "workflow_version")
CALLED_WITHOUT_ARGUMENTS = ("pre_run", "run", "post_run")


def class_faults(task: type[TaskBase]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the class of a task, and the remedy."""
    try:
        inspect.signature(task).bind(**dict.fromkeys(MADE_WITH))
    except TypeError as error:
        yield (
            f"its __init__ cannot be called with {', '.join(MADE_WITH)}: {error}",
            "Give it these three parameters, and every other one a default",
        )
    except ValueError:  # it is not written in Python
        pass
    for owner, method in _methods(task, "__init__"):
        if not {"super", "__init__"} & {*method.__code__.co_names}:
            yield (
                f"{owner.__name__}.__init__ does not call super().__init__",
                "Call super().__init__(recipe_run_id, workflow_name, workflow_version) in it",
            )
    for name in CALLED_WITHOUT_ARGUMENTS:
        method = getattr(task, name)
        try:
            inspect.signature(method).bind(*(() if _is_bound(task, name) else (None,)))
        except TypeError as error:
            yield f"its {name} is called without arguments: {error}", f"Give each parameter of {name} a default"
        except ValueError:
            pass
    for owner, method in _methods(task, "__enter__"):
        if _returns_nothing(method):
            yield (
                f"{owner.__name__}.__enter__ returns nothing, so there is no task in the with statement",
                "Return what super().__enter__() returns",
            )


def _methods(task: type[TaskBase], name: str) -> Iterator[tuple[type, Callable[..., object]]]:
    """Yield each class above a task that defines a method, and the function that does."""
    for owner in task.__mro__[: task.__mro__.index(TaskBase)]:
        method = inspect.unwrap(owner.__dict__[name]) if name in owner.__dict__ else None
        if inspect.isfunction(method):
            yield owner, method


def _is_bound(task: type[TaskBase], name: str) -> bool:
    found = inspect.getattr_static(task, name)
    return isinstance(found, (classmethod, staticmethod))


def _returns_nothing(function: Callable[..., object]) -> bool:
    """Return whether a function can be seen to return nothing."""
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return False
    if not isinstance(definition, ast.FunctionDef):
        return False
    pending: list[ast.AST] = [*definition.body]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Raise)):
            return False
        if isinstance(node, ast.Return) and node.value is not None:
            return isinstance(node.value, ast.Constant) and node.value.value is None
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)
    return True

"""
Rules for the class of a task that can be checked before it runs.

Runs in: author and CI. Each rule finds a fault that would otherwise appear in the first run on a worker. The rules
check only plain functions, since the effect of a decorator, a descriptor or generated code is unknown.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType

from dkist_processing_core.runtime.task import TaskBase

__all__ = ["class_faults"]

MADE_WITH = ("recipe_run_id", "workflow_name", "workflow_version")
CALLED_WITHOUT_ARGUMENTS = ("pre_run", "run", "post_run")
DECORATED = (staticmethod, classmethod)


def class_faults(task: type[TaskBase]) -> Iterator[tuple[str, str]]:
    """Yield each fault of the class of a task, with the remedy."""
    if problem := _cannot_take(task.__init__, *[None] * (1 + len(MADE_WITH)), names=MADE_WITH):
        yield (
            f"its __init__ cannot be called with {', '.join(MADE_WITH)}: {problem}",
            "Give it these three parameters, and every other one a default",
        )
    for owner, method in _methods(task, "__init__"):
        if _calls_nothing_with_itself(method):
            yield (
                f"{owner.__name__}.__init__ does not call super().__init__",
                "Call super().__init__(recipe_run_id, workflow_name, workflow_version) in it",
            )
    for name in CALLED_WITHOUT_ARGUMENTS:
        found: object = inspect.getattr_static(task, name)
        function: object = found.__func__ if isinstance(found, DECORATED) else found
        if problem := _cannot_take(function, *[] if isinstance(found, staticmethod) else [None]):
            yield f"its {name} is called without arguments: {problem}", f"Give each parameter of {name} a default"
        if _is_function(function) and (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
            yield f"its {name} is async, and calling it runs nothing", f"Write {name} without async"
        elif _is_function(function) and inspect.isgeneratorfunction(function):
            yield f"its {name} is a generator, and calling it runs nothing", f"Write {name} without yield"
    for owner, method in _methods(task, "__enter__"):
        if _returns_nothing(method):
            yield (
                f"{owner.__name__}.__enter__ returns nothing, so there is no task in the with statement",
                "Return what super().__enter__() returns",
            )


def _is_function(value: object) -> bool:
    """Return whether a value is a plain function, without a decorator around it."""
    return isinstance(value, FunctionType) and not hasattr(value, "__wrapped__")


def _cannot_take(function: object, *arguments: object, names: tuple[str, ...] = ()) -> str:
    """Return why a function cannot be called with these arguments, the last ones as keywords; empty if it can."""
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return ""
    positional = arguments[: len(arguments) - len(names)]
    try:
        inspect.signature(function).bind(*positional, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return ""


def _methods(task: type[TaskBase], name: str) -> Iterator[tuple[type, FunctionType]]:
    """Yield each class of a task's hierarchy below `TaskBase` that defines a method, and the function."""
    for owner in task.__mro__[: task.__mro__.index(TaskBase)]:
        method = owner.__dict__.get(name)
        if isinstance(method, FunctionType) and _is_function(method):
            yield owner, method


def _definition(function: FunctionType) -> ast.FunctionDef | None:
    """Return the syntax tree of a function; None if it has no source."""
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return None
    return definition if isinstance(definition, ast.FunctionDef) else None


def _calls_nothing_with_itself(function: FunctionType) -> bool:
    """Return whether a method clearly uses neither ``super()`` nor ``__init__``, and passes ``self`` to no call."""
    definition = _definition(function)
    if definition is None or not definition.args.args:
        return False
    this = definition.args.args[0].arg
    for node in ast.walk(definition):
        if isinstance(node, ast.Name) and node.id == "super":
            return False
        if isinstance(node, ast.Attribute) and node.attr in {"__init__", "__class__"}:
            return False
        if isinstance(node, ast.Call):
            parts = (node.func, *node.args, *(keyword.value for keyword in node.keywords))
            if any(isinstance(each, ast.Name) and each.id == this for part in parts for each in ast.walk(part)):
                return False
    return True


def _returns_nothing(function: FunctionType) -> bool:
    """Return whether a function clearly returns nothing on every path."""
    definition = _definition(function)
    if definition is None:
        return False
    pending: list[ast.AST] = [*definition.body]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Raise)):
            return False
        if isinstance(node, ast.Return) and node.value is not None:
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                return False
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)
    return True

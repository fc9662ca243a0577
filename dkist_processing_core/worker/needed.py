"""
The environments that a deployment needs, by its exported DAG files or by a manifest of them.

Runs in: worker. DAG files are read without Airflow and without being run: what they look like is part of the ABI. Files
by anybody else are passed over, and so is a task that runs by Airflow's own operator, which builds an environment of
its own.
"""

import ast
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dkist_processing_core.exceptions import NeededEnvironmentsError

__all__ = ["Needed", "needed_by_dag_files", "needed_by_manifest"]

MARK = "dkist_processing_core.scheduling"
FROZEN = ("frozen",)


class Needed(NamedTuple):
    """The requirement and the constraints that an environment is built from, and which Python with."""

    requirement: str
    constraints: str = ""
    requires_python: str = ""


def needed_by_manifest(file: Path) -> Iterator[Needed]:
    """Yield what a ``manifest.json`` says; `NeededEnvironmentsError` if it says nothing of environments."""
    try:
        for entry in json.loads(file.read_text(encoding="utf-8"))["files"]:
            for each in entry["environments"]:
                yield Needed(*(str(each[key]) for key in Needed._fields))
    except (KeyError, TypeError, ValueError) as error:
        raise NeededEnvironmentsError(
            f"{file} does not say which environments its files need: {type(error).__name__}: {error}",
            remedy="Name a manifest.json that this library has exported, or use --dags",
        ) from error


def needed_by_dag_files(folder: Path) -> Iterator[Needed]:
    """Yield what the exported files and archives in a folder need; `NeededEnvironmentsError` if one is damaged."""
    for name, text in _sources(folder):
        if MARK not in text:
            continue
        try:
            yield from _needed_by(ast.parse(text))
        except (AttributeError, KeyError, RecursionError, SyntaxError, TypeError, ValueError) as error:
            raise NeededEnvironmentsError(
                f"{name} cannot be read as an exported DAG file: {type(error).__name__}: {error}",
                remedy="Export it again, or move it out of the folder",
            ) from error


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if path.suffix == ".py":
            yield str(path), path.read_bytes().decode(errors="replace")
        elif path.suffix == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".py"):
                        yield f"{path}/{name}", archive.read(name).decode(errors="replace")


def _needed_by(tree: ast.Module) -> Iterator[Needed]:
    texts = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def arguments(call: ast.Call, **defaults: Any) -> list[Any]:
        given = {each.arg: each.value for each in call.keywords}
        values = (texts[each.id] if isinstance(each, ast.Name) else each for each in map(given.get, defaults))
        return [
            default if value is None else ast.literal_eval(value)
            for value, default in zip(values, defaults.values(), strict=True)
        ]

    for block in (each for each in ast.walk(tree) if isinstance(each, ast.With)):
        for workflow in _calls(block.items[0].context_expr, "workflow_dag"):
            distribution, version, python = arguments(workflow, distribution=None, version=None, requires_python="")
            for task in _calls(block, "TaskOperator"):
                extras, constraints = arguments(task, extras=FROZEN, constraints="")
                yield Needed(f"{distribution}[{','.join(extras)}]=={version}", constraints, python)


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Yield the calls of a function by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node

"""
The environments that a deployment needs, by its exported DAG files or by a manifest of them.

Runs in: worker. DAG files are read without Airflow and without being run: what they look like is part of the ABI. Files
by anybody else are passed over, and so is a task that runs by Airflow's own operator, which builds an environment of
its own.
"""

import ast
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dkist_processing_core.exceptions import NeededEnvironmentsError

__all__ = ["Needed", "needed_by_dag_files", "needed_by_manifest"]

MARK = b"dkist_processing_core.scheduling"
MOST_BYTES = 120_000
MOST_BYTES_OF_A_FILE = 1 << 24
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
                yield _checked(*(each[key] for key in Needed._fields))
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise NeededEnvironmentsError(
            f"{file} does not say which environments its files need: {type(error).__name__}: {error}",
            remedy="Name a manifest.json that this library has exported, or use --dags",
        ) from error


def needed_by_dag_files(folder: Path) -> Iterator[Needed]:
    """Yield what the exported files and archives in a folder need; `NeededEnvironmentsError` if one is damaged."""
    for name, text in _sources(folder):
        try:
            yield from _needed_by(ast.parse(text))
        except (KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
            raise NeededEnvironmentsError(
                f"{name} cannot be read as an exported DAG file: {type(error).__name__}: {error}",
                remedy="Export it again, or move it out of the folder",
            ) from error


def _checked(requirement: object, constraints: object, requires_python: object) -> Needed:
    """Return what is needed if it can be passed to a process in its environment; else `ValueError`."""
    for each in (requirement, constraints, requires_python):
        # Linux allows 128 KiB for one variable.
        if not isinstance(each, str) or "\0" in each or len(each.encode()) > MOST_BYTES:
            raise ValueError(f"{str(each)[:80]!r} is not a text that can be part of an exported file")
    return Needed(str(requirement), str(constraints), str(requires_python))


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file that this library has exported; Airflow follows links as well."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        identity = Path(parent).stat()
        if (identity.st_dev, identity.st_ino) in seen:
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders.sort()
        for path in (Path(parent, each) for each in sorted(names)):
            if path.suffix == ".py" and path.is_file():
                contents = [(str(path), path.read_bytes())]
            elif path.suffix == ".zip" and path.is_file() and zipfile.is_zipfile(path):
                contents = list(_archived(path))
            else:
                continue
            yield from ((name, data.decode(errors="replace")) for name, data in contents if MARK in data)


def _archived(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for each in archive.infolist():
                # What is encrypted, or so large, no export has written.
                if each.filename.endswith(".py") and not each.flag_bits & 1 and each.file_size <= MOST_BYTES_OF_A_FILE:
                    yield f"{path}/{each.filename}", archive.read(each)
    except (NotImplementedError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise NeededEnvironmentsError(
            f"{path} cannot be read as an archive: {error}", remedy="Export it again, or move it out of the folder"
        ) from error


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
        for workflow in (call for item in block.items for call in _calls(item.context_expr, "workflow_dag")):
            distribution, version, python = arguments(workflow, distribution=None, version=None, requires_python="")
            for task in _calls(block, "TaskOperator"):
                extras, constraints = arguments(task, extras=FROZEN, constraints="")
                if not (distribution and version and isinstance(extras, (list, tuple))):
                    raise ValueError(f"{distribution=}, {version=}, {extras=}")
                yield _checked(f"{distribution}[{','.join(extras)}]=={version}", constraints, python)


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Yield the calls of a function by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node

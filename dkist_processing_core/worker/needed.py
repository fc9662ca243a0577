"""
The environments that a deployment needs, according to its exported DAG files or their manifest.

Runs in: worker. DAG files are read without Airflow and are not executed: their form is part of the ABI. Files that this
library did not export are skipped, and so are tasks that run with Airflow's own operator, which builds an environment
of its own.
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

__all__ = [
    "Exported",
    "Needed",
    "candidates",
    "exported_in",
    "folders",
    "needed_by_dag_files",
    "needed_by_manifest",
    "sources",
]

MARK = b"dkist_processing_core.scheduling"
MOST_BYTES = 120_000
MOST_BYTES_OF_A_FILE = 1 << 24
FROZEN = ("frozen",)


class Needed(NamedTuple):
    """The requirement, the constraints and the Python from which an environment is built."""

    requirement: str
    constraints: str = ""
    requires_python: str = ""


class Exported(NamedTuple):
    """A workflow of an exported file; ``needed`` has one entry for each task."""

    name: str
    version: str
    distribution: str
    needed: tuple[Needed, ...]


def needed_by_manifest(file: Path) -> Iterator[Needed]:
    """Yield the environments in a ``manifest.json``; raise a `NeededEnvironmentsError` if it does not list them."""
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
    """Yield the environments for exported files in a folder; raise a `NeededEnvironmentsError` if one is damaged."""
    for path in candidates(folder):
        for name, text in sources(path):
            for workflow in exported_in(name, text):
                yield from workflow.needed


def exported_in(name: str, text: str) -> list[Exported]:
    """Return the workflows in the text of an exported file; raise a `NeededEnvironmentsError` if it is damaged."""
    try:
        return list(_workflows(ast.parse(text)))
    except (KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise NeededEnvironmentsError(
            f"{name} cannot be read as an exported DAG file: {type(error).__name__}: {error}",
            remedy="Export it again, or move it out of the folder",
        ) from error


def _checked(requirement: object, constraints: object, requires_python: object) -> Needed:
    """Return the environment, or raise a `ValueError` if the values cannot be environment variables."""
    for each in (requirement, constraints, requires_python):
        # Linux allows 128 KiB for one variable.
        if not isinstance(each, str) or "\0" in each or len(each.encode()) > MOST_BYTES:
            raise ValueError(f"{str(each)[:80]!r} is not a string that can be part of an exported file")
    return Needed(str(requirement), str(constraints), str(requires_python))


def candidates(folder: Path) -> Iterator[Path]:
    """Yield each file that Airflow would search for DAGs."""
    for parent, names in folders(folder):
        for path in (parent / each for each in sorted(names)):
            if path.suffix in {".py", ".zip"} and path.is_file():
                yield path


def folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder that Airflow searches, and the names of its files. Like Airflow, it follows links."""
    seen = set()
    for parent, inner, names in os.walk(folder, followlinks=True):
        identity = Path(parent).stat()
        if (identity.st_dev, identity.st_ino) in seen:
            inner.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        inner.sort()
        yield Path(parent), names


def sources(path: Path) -> list[tuple[str, str]]:
    """Return name and text of each exported DAG file in a file: one, several in an archive, or none."""
    if path.suffix == ".py":
        contents = [(str(path), path.read_bytes())]
    else:
        contents = list(_archived(path)) if zipfile.is_zipfile(path) else []
    return [(name, data.decode(errors="replace")) for name, data in contents if MARK in data]


def _archived(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for each in archive.infolist():
                # An export writes no encrypted files, and none that large.
                if each.filename.endswith(".py") and not each.flag_bits & 1 and each.file_size <= MOST_BYTES_OF_A_FILE:
                    yield f"{path}/{each.filename}", archive.read(each)
    except (NotImplementedError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise NeededEnvironmentsError(
            f"{path} cannot be read as an archive: {error}", remedy="Export it again, or move it out of the folder"
        ) from error


def _workflows(tree: ast.Module) -> Iterator[Exported]:
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
            name, distribution, version, python = arguments(
                workflow, name="", distribution=None, version=None, requires_python=""
            )
            needed = []
            for task in _calls(block, "TaskOperator"):
                extras, constraints = arguments(task, extras=FROZEN, constraints="")
                if not (distribution and version and isinstance(extras, (list, tuple))):
                    raise ValueError(f"{distribution=}, {version=}, {extras=}")
                needed.append(_checked(f"{distribution}[{','.join(extras)}]=={version}", constraints, python))
            yield Exported(str(name), str(version), str(distribution), tuple(needed))


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Yield the calls of a function with this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node

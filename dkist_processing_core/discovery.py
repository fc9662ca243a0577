"""
Find the workflows that a package declares.

Runs in: author and CI.
"""

import pkgutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

from dkist_processing_core.faults import Fault
from dkist_processing_core.workflow import Workflow

__all__ = ["Declaration", "Discovery", "discover"]


@dataclass(frozen=True)
class Declaration:
    """A workflow and the place where it was found first, as ``module:variable``."""

    where: str
    workflow: Workflow


@dataclass
class Discovery:
    """The workflows of a package, and the modules in which none could be looked for."""

    package: str
    declarations: list[Declaration] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def discover(package: ModuleType) -> Discovery:
    """
    Find the workflows in the public modules of a package, its public sub-packages included.

    A workflow that several modules hold is found once. A module that fails to import is a fault of its own and does
    not hide the workflows of the others.

    Parameters
    ----------
    package
        The imported package; a module that is no package is searched by itself.
    """
    found = Discovery(package.__name__)
    seen: set[int] = set()
    for module in _public_modules(package, found.faults):
        for name, value in vars(module).items():
            if isinstance(value, Workflow) and id(value) not in seen:
                seen.add(id(value))
                found.declarations.append(Declaration(f"{module.__name__}:{name}", value))
    return found


def _public_modules(package: ModuleType, faults: list[Fault]) -> Iterator[ModuleType]:
    yield package
    for _, name, is_package in sorted(
        pkgutil.iter_modules(getattr(package, "__path__", ())), key=lambda each: each.name
    ):
        if name.startswith("_"):
            continue
        dotted = f"{package.__name__}.{name}"
        try:
            module = import_module(dotted)
        except (Exception, SystemExit) as error:
            faults.append(_import_fault(dotted, error))
            continue
        if is_package:
            yield from _public_modules(module, faults)
        else:
            yield module


def _import_fault(module: str, error: BaseException) -> Fault:
    """Describe why a module does not import, by the last line of theirs that ran, not of ours or of Python's."""
    ours = Path(__file__).parent
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if not frame.filename.startswith("<") and ours not in file.parents and "importlib" not in file.parts:
            place = f", line {frame.lineno} of {frame.filename}: {frame.line}"
    return Fault(
        where=module,
        what=f"it does not import: {type(error).__name__}: {error}{place}",
        remedy=f"Mend it until `python -c 'import {module}'` succeeds",
        workflow=getattr(error, "workflow", None),
        task=getattr(error, "task", None),
    )

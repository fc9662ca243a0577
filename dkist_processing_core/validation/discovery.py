"""
Find the workflows that a package declares.

Runs in: author and CI.
"""

import pkgutil
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from dkist_processing_core.validation.report import Fault
from dkist_processing_core.workflow import Workflow

__all__ = ["Declaration", "Discovery", "discover", "import_fault"]


@dataclass(frozen=True)
class Declaration:
    """A workflow and the first place where it was found, as ``module:variable``."""

    where: str
    workflow: Workflow

    def fault(self, what: str, *, remedy: str, task: str | None = None) -> Fault:
        """Return a fault of this workflow, or of one of its tasks."""
        return Fault(where=self.where, what=what, remedy=remedy, workflow=self.workflow.workflow_name, task=task)


@dataclass
class Discovery:
    """The workflows of a package, and the faults of the modules that could not be imported."""

    package: str
    declarations: list[Declaration] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def discover(package: ModuleType) -> Discovery:
    """
    Find the workflows in the public modules of a package, its public sub-packages included.

    A workflow in several modules is found once. A module that cannot be imported is a fault, and does not hide the
    workflows of the others. Instead of a package, a single module is also accepted.
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
            faults.append(import_fault(dotted, error))
            continue
        if is_package:
            yield from _public_modules(module, faults)
        else:
            yield module


def import_fault(module: str, error: BaseException) -> Fault:
    """Describe why a module cannot be imported, with the last line of the package that was executed."""
    what = str(error)
    place = _last_place(module, error)
    if isinstance(error, SyntaxError) and error.filename:
        # The line was never executed, so it is in no frame.
        what, place = error.msg, f", line {error.lineno} of {error.filename}: {(error.text or '').strip()}"
    return Fault(
        where=module,
        what=f"it does not import: {type(error).__name__}: {what}{place.rstrip(': ')}",
        remedy=f"Correct it until `python -c 'import {module}'` succeeds",
        workflow=getattr(error, "workflow", None),
        task=getattr(error, "task", None),
    )


def _last_place(module: str, error: BaseException) -> str:
    """Return the last executed line of the package; if there is none, that of any library other than ours."""
    ours, pythons = Path(__file__).parents[1], Path(sysconfig.get_path("stdlib"))
    theirs = _places(module.partition(".")[0])
    last, is_theirs = "", False
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        is_pythons = pythons in file.parents and "site-packages" not in file.parts
        if frame.filename.startswith("<") or ours in file.parents or is_pythons:
            continue
        is_of_package = any(place == file or place in file.parents for place in theirs)
        if is_of_package or not is_theirs:
            last, is_theirs = f", line {frame.lineno} of {frame.filename}: {frame.line}", is_of_package
    return last


def _places(name: str) -> list[Path]:
    """Return the folders of a top-level package, or the file of a top-level module."""
    try:
        found = find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        return []
    return [Path(each) for each in found.submodule_search_locations or ([found.origin] if found.origin else [])]

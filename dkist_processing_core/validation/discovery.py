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
            faults.append(import_fault(dotted, error))
            continue
        if is_package:
            yield from _public_modules(module, faults)
        else:
            yield module


def import_fault(module: str, error: BaseException) -> Fault:
    """Describe why a module does not import, by the last line of theirs that ran, not of ours or of Python's."""
    what = str(error)
    place = _last_place(module, error)
    if isinstance(error, SyntaxError) and error.filename:
        # That line never ran, so no frame has it.
        what, place = error.msg, f", line {error.lineno} of {error.filename}: {(error.text or '').strip()}"
    return Fault(
        where=module,
        what=f"it does not import: {type(error).__name__}: {what}{place.rstrip(': ')}",
        remedy=f"Mend it until `python -c 'import {module}'` succeeds",
        workflow=getattr(error, "workflow", None),
        task=getattr(error, "task", None),
    )


def _last_place(module: str, error: BaseException) -> str:
    """Return the last line that ran of the package itself; if there is none, of whatever is not ours or Python's."""
    ours, pythons = Path(__file__).parent, Path(sysconfig.get_path("stdlib"))
    theirs = _places(module.partition(".")[0])
    last, is_theirs = "", False
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if frame.filename.startswith("<") or ours in file.parents:
            continue
        if pythons in file.parents and "site-packages" not in file.parts:
            continue
        is_of_package = any(place == file or place in file.parents for place in theirs)
        if is_of_package or not is_theirs:
            last, is_theirs = f", line {frame.lineno} of {frame.filename}: {frame.line}", is_of_package
    return last


def _places(name: str) -> list[Path]:
    """Return the folders of a package that is not in another one, or the file of such a module."""
    try:
        found = find_spec(name)
    except (ImportError, ValueError):
        return []
    if found is None:
        return []
    return [Path(each) for each in found.submodule_search_locations or ([found.origin] if found.origin else [])]

"""
Rules for the wheel of a release: it contains what the tasks of the workflows need.

Runs in: author and CI.
"""

import inspect
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Self

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from dkist_processing_core.authoring.names import as_version
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.validation.discovery import Declaration
from dkist_processing_core.validation.distribution import extras_in
from dkist_processing_core.validation.report import Fault

__all__ = ["wheel_faults"]

FIND_ALL = "Let the build find all subpackages, for example packages.find of setuptools, and build the wheel again"
TESTS = re.compile(r"\.(tests?|test_\w+|conftest)(\.|$)")


@dataclass(frozen=True)
class _Wheel:
    name: str
    version: Version
    extras: set[str]
    files: set[str]
    sources: Mapping[str, bytes]

    @classmethod
    def read(cls, path: Path) -> Self:
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            files = set(archive.namelist())
            [info] = [each for each in files if PurePosixPath(each).match("*.dist-info/METADATA")]
            metadata = Parser().parsestr(archive.read(info).decode())
            sources = {each: archive.read(each) for each in files if each.endswith(".py")}
        return cls(name, version, extras_in(metadata.get_all("Provides-Extra")), files, sources)

    def has_module(self, module: str) -> bool:
        path = module.replace(".", "/")
        return bool({f"{path}.py", f"{path}/__init__.py"} & self.files) or any(
            each.startswith(f"{path}.") and each.endswith((".so", ".pyd")) for each in self.files
        )

    def lacks_of(self, task: type) -> str:
        """Return what the wheel lacks for the class of a task; empty if nothing is known to be missing."""
        module = task.__module__
        if not self.has_module(module):
            return f"the wheel does not contain the module {module} of its class"
        path = module.replace(".", "/")
        source = self.sources.get(f"{path}.py") or self.sources.get(f"{path}/__init__.py")
        if source is None:
            return ""
        try:
            compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            return f"the module {module} in the wheel is not valid Python: {error}"
        name = task.__qualname__.partition(".")[0]
        # There are many ways to create a class, but its name is hardly missing in any of them.
        is_there = name.encode() in source or not _is_written_here(task, name)
        return "" if is_there else f"the module {module} in the wheel does not contain its class {name}"


def wheel_faults(path: Path, declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield a fault for each difference between a wheel and the workflows: name, version, modules, classes, extras."""
    try:
        wheel = _Wheel.read(path)
    except (InvalidWheelFilename, OSError, ValueError, zipfile.BadZipFile) as error:
        yield Fault(where=str(path), what=f"it is not a readable wheel: {error}", remedy="Build it again")
        return
    own = []
    for declaration in declarations:
        distribution = canonicalize_name(declaration.workflow.spec.distribution)
        if distribution == wheel.name:
            own.append(declaration)
            yield from _faults(wheel, declaration)
        else:
            yield declaration.fault(
                f"its tasks are installed from {distribution}, but the wheel belongs to {wheel.name}",
                remedy="Name the wheel of the package that declares the workflow",
            )
    # The modules of tasks are checked together with their classes.
    known = {node.task.__module__ for each in own for node in each.workflow.nodes}
    for top_level in sorted({each.workflow.workflow_package.partition(".")[0] for each in own}):
        for module in _imported_modules(top_level):
            if module not in known and not wheel.has_module(module):
                what = f"it does not contain the module {module}, which the workflows import"
                yield Fault(where=str(path), what=what, remedy=FIND_ALL)


def _faults(wheel: _Wheel, declaration: Declaration) -> Iterator[Fault]:
    """Yield the faults of a wheel for one workflow."""
    version = declaration.workflow.workflow_version
    if version != DEFAULT_BUILD_VERSION and as_version(version) != wheel.version:
        yield declaration.fault(
            f"its version is {version}, but the version of the wheel is {wheel.version}",
            remedy="Set BUILD_VERSION to the version of the wheel",
        )
    for node in declaration.workflow.nodes:
        if problem := wheel.lacks_of(node.task):
            yield declaration.fault(problem, remedy=FIND_ALL, task=node.name)
        for extra in node.pip_extras:
            if canonicalize_name(extra) not in wheel.extras:
                yield declaration.fault(
                    f"the wheel has no extra {extra!r}",
                    remedy="Declare it in [project.optional-dependencies] of pyproject.toml",
                    task=node.name,
                )


def _is_written_here(task: type, name: str) -> bool:
    """Return whether the source of the imported module of a task contains the name of its class."""
    try:
        return name in inspect.getsource(sys.modules[task.__module__])
    except (KeyError, OSError, TypeError):
        return False


def _imported_modules(top_level: str) -> list[str]:
    """Return the imported modules of a package, except its tests."""
    found = [
        name
        for name, module in [*sys.modules.items()]
        if name.startswith(f"{top_level}.") and getattr(module, "__file__", None) and not hasattr(module, "__path__")
    ]
    return [each for each in sorted(found) if not TESTS.search(each)]

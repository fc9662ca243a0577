"""
Rules for the release that a workflow runs from: its versions, its extras, and the wheel of it.

Runs in: author and CI.
"""

import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from importlib.metadata import metadata
from pathlib import Path, PurePosixPath

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from dkist_processing_core.authoring.distributions import providing_distribution
from dkist_processing_core.authoring.names import as_version
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.validation.discovery import Declaration
from dkist_processing_core.validation.report import Fault

__all__ = ["extras_faults", "missing_frozen", "version_faults", "wheel_faults"]

FROZEN = "frozen"


def version_faults(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield each version whose DAG id would not be that of its release, or that is spelled in two ways."""
    spellings: dict[object, tuple[str, Declaration]] = {}
    for declaration in declarations:
        text = declaration.workflow.workflow_version
        version = as_version(text)
        if version is None:
            continue
        if text.lower().startswith("v"):
            yield declaration.fault(
                f"its version is {text!r}, and that of the release is {str(version)!r}, so their names would differ",
                remedy=f"Leave out the 'v': {text[1:]}",
            )
        known, first = spellings.setdefault(version, (text, declaration))
        if known != text:
            yield declaration.fault(
                f"its version {text!r} is the same as {known!r} of {first.workflow.workflow_name} in another spelling",
                remedy="Spell it the same in all workflows, as the release does",
            )


def extras_faults(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield each extra of a task that the installed distribution does not declare."""
    for declaration in declarations:
        name = providing_distribution(declaration.workflow.workflow_package)
        if name is None:
            continue
        declared = _extras(metadata(name).get_all("Provides-Extra"))
        for node in declaration.workflow.nodes:
            for extra in node.pip_extras:
                if extra != FROZEN and canonicalize_name(extra) not in declared:
                    yield declaration.fault(
                        f"the extra {extra!r} is not one of {name}, which has {', '.join(sorted(declared)) or 'none'}",
                        remedy="Declare it in pyproject.toml, [project.optional-dependencies], and install it anew",
                        task=node.name,
                    )


def missing_frozen(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield a warning for each distribution without the extra ``frozen``, which pins what its tasks run with."""
    seen = set()
    for declaration in declarations:
        name = providing_distribution(declaration.workflow.workflow_package)
        if name is None or name in seen:
            continue
        seen.add(name)
        if FROZEN not in _extras(metadata(name).get_all("Provides-Extra")):
            yield declaration.fault(
                f"{name} has no extra {FROZEN!r}, so its tasks run with what is newest when an environment is built",
                remedy="Add it to its pyproject.toml, with the versions of all that it needs",
            )


def wheel_faults(wheel: Path, declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield what a wheel lacks that the tasks of workflows need: its name, version, modules and extras."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            files = set(archive.namelist())
            [info] = [each for each in files if PurePosixPath(each).match("*.dist-info/METADATA")]
            content = Parser().parsestr(archive.read(info).decode())
    except (InvalidWheelFilename, OSError, ValueError, zipfile.BadZipFile) as error:
        yield Fault(where=str(wheel), what=f"it is no wheel that can be read: {error}", remedy="Build it anew")
        return
    declared = _extras(content.get_all("Provides-Extra"))
    for declaration in declarations:
        workflow = declaration.workflow
        distribution = canonicalize_name(workflow.spec.distribution)
        if distribution != name:
            yield declaration.fault(
                f"its tasks are installed from {distribution}, and the wheel is of {name}",
                remedy="Name the wheel of the package that declares the workflow",
            )
            continue
        if workflow.workflow_version != DEFAULT_BUILD_VERSION and as_version(workflow.workflow_version) != version:
            yield declaration.fault(
                f"its version is {workflow.workflow_version}, and that of the wheel is {version}",
                remedy="Set BUILD_VERSION to the version of the wheel",
            )
        for node in workflow.nodes:
            module = node.task.__module__.replace(".", "/")
            if not {f"{module}.py", f"{module}/__init__.py"} & files and not _is_extension(module, files):
                yield declaration.fault(
                    f"the wheel does not contain the module {node.task.__module__} of its class",
                    remedy="Let the build find all subpackages, for example packages.find of setuptools",
                    task=node.name,
                )
            for extra in node.pip_extras:
                if canonicalize_name(extra) not in declared:
                    yield declaration.fault(
                        f"the wheel has no extra {extra!r}",
                        remedy="Declare it in [project.optional-dependencies] of pyproject.toml",
                        task=node.name,
                    )


def _extras(names: Iterable[str] | None) -> set[str]:
    return {canonicalize_name(each) for each in names or ()}


def _is_extension(module: str, files: Iterable[str]) -> bool:
    return any(each.startswith(f"{module}.") and each.endswith((".so", ".pyd")) for each in files)

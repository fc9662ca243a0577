"""
Rules for the release that a workflow runs from: its versions and its extras.

Runs in: author and CI.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import metadata

from packaging.utils import canonicalize_name

from dkist_processing_core.authoring.distributions import providing_distribution
from dkist_processing_core.authoring.names import as_version
from dkist_processing_core.validation.discovery import Declaration
from dkist_processing_core.validation.report import Fault

__all__ = ["extras_faults", "extras_in", "missing_frozen", "version_faults"]

FROZEN = "frozen"


def version_faults(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield a fault for each version that differs in spelling from its release, or from another workflow."""
    spellings: dict[object, tuple[str, Declaration]] = {}
    for declaration in declarations:
        text = declaration.workflow.workflow_version
        version = as_version(text)
        if version is None:
            continue
        if text.lower().startswith("v"):
            yield declaration.fault(
                f"its version is {text!r}, but that of the release is {str(version)!r}, so their names would differ",
                remedy=f"Leave out the 'v': {text[1:]}",
            )
        known, first = spellings.setdefault(version, (text, declaration))
        if known != text:
            yield declaration.fault(
                f"its version {text!r} is another spelling of the version {known!r} of {first.workflow.workflow_name}",
                remedy="Spell it the same in all workflows, as the release does",
            )


def extras_faults(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield a fault for each extra of a task that the installed distribution does not declare."""
    for declaration in declarations:
        name = providing_distribution(declaration.workflow.workflow_package)
        if name is None:
            continue
        declared = extras_in(metadata(name).get_all("Provides-Extra"))
        for node in declaration.workflow.nodes:
            for extra in node.pip_extras:
                if extra != FROZEN and canonicalize_name(extra) not in declared:
                    yield declaration.fault(
                        f"the extra {extra!r} is not one of {name}, which has {', '.join(sorted(declared)) or 'none'}",
                        remedy="Declare it in pyproject.toml, [project.optional-dependencies], and install it again",
                        task=node.name,
                    )


def missing_frozen(declarations: Iterable[Declaration]) -> Iterator[Fault]:
    """Yield a warning for each distribution without the extra ``frozen``, which pins the dependencies of its tasks."""
    seen = set()
    for declaration in declarations:
        name = providing_distribution(declaration.workflow.workflow_package)
        if name is None or name in seen:
            continue
        seen.add(name)
        if FROZEN not in extras_in(metadata(name).get_all("Provides-Extra")):
            yield declaration.fault(
                f"{name} has no extra {FROZEN!r}, so its tasks run with what is newest when an environment is built",
                remedy="Add it to its pyproject.toml with pinned versions of all its dependencies: run freeze",
            )


def extras_in(names: Iterable[str] | None) -> set[str]:
    """Return names of extras in normalized form, for comparison."""
    return {canonicalize_name(each) for each in names or ()}

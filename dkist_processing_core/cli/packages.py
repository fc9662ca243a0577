"""
Find the package and the workflows that a command line names.

Runs in: author and CI.
"""

import contextlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from dkist_processing_core.cli.tables import progress, say
from dkist_processing_core.exceptions import WorkflowValidationError, did_you_mean

if TYPE_CHECKING:
    from dkist_processing_core.authoring.spec import WorkflowSpec
    from dkist_processing_core.validation.discovery import Declaration, Discovery
    from dkist_processing_core.validation.report import Report
    from dkist_processing_core.workflow import Workflow

__all__ = ["checked", "chosen_workflow", "chosen_workflows", "discovered", "imported", "validated"]


def imported(name: str) -> ModuleType:
    """
    Import a package by its dotted name: an installed one, or else one in the current folder.

    The output of its modules goes to the standard error stream. A `click.UsageError` is raised if there is no package
    of that name, and a `WorkflowValidationError`, with the last line of the package that ran, if it cannot be imported.
    """
    from dkist_processing_core.validation.discovery import import_fault
    from dkist_processing_core.validation.report import Report

    if not _is_dotted_name(name):
        raise click.UsageError(f"{name!r} is not the dotted name of a package, such as {_as_name(name)!r}.")
    if (folder := str(Path.cwd())) not in sys.path:
        # At the end, so that nothing in it shadows an installed module.
        sys.path.append(folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise click.UsageError(_not_found(name, missing)) from error
        raise WorkflowValidationError(Report(name, faults=[import_fault(name, error)])) from error


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _as_name(text: str) -> str:
    """Return the dotted name that a path probably stands for."""
    text = text.partition(":")[0]
    path = Path(text).resolve()
    if path.suffix == ".py" and path.is_file():
        path = path.parent if path.name == "__init__.py" else path.with_suffix("")
    elif not (path / "__init__.py").is_file():
        name = text.strip("./").replace(os.sep, ".").replace("-", "_")
        return name if _is_dotted_name(name) else "dkist_processing_example.workflows"
    parts = [path.name]
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            break
        parts.insert(0, folder.name)
    return ".".join(parts)


def _not_found(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", ()) if parent else None
    hint = did_you_mean(last, {each.name for each in pkgutil.iter_modules(path)})
    place = f" in {parent}" if parent else f" in the folder {Path.cwd()}, nor installed in {sys.prefix}"
    return f"there is no {last!r}{place}{hint}. PACKAGE is the dotted name of the package, here {name!r}."


def discovered(package: str) -> "Discovery":
    """Return the workflows of a package, and the faults of modules that cannot be imported; see `imported`."""
    from dkist_processing_core.validation.discovery import discover

    module = imported(package)
    with contextlib.redirect_stdout(sys.stderr):
        return discover(module)


def checked(package: str, *, wheel: Path | None = None, pools: Sequence[str] = ()) -> "Report":
    """Return the report on all workflows of a package, and on its wheel; see `imported`. Airflow has the ``pools``."""
    from dkist_processing_core.validation import rules

    found = discovered(package)
    with progress(f"Checking {package}"):
        return rules.check(found, wheel=wheel, pools=pools)


def validated(package: str) -> "list[WorkflowSpec]":
    """Return the workflows of a package and print warnings; raise `WorkflowValidationError` if there is a fault."""
    report = checked(package)
    report.raise_faults()  # the error has the warnings as well
    for warning in report.warnings:
        say(f"Warning: {warning}", err=True)
    return report.workflows


def chosen_workflows(text: str) -> "list[Workflow]":
    """
    Return the workflows that ``PACKAGE[:WORKFLOW]`` names.

    ``WORKFLOW`` is the name, the DAG id or the variable of a workflow. A module that cannot be imported does not matter
    if the workflow is found in another one; else this raises a `WorkflowValidationError`.
    """
    from dkist_processing_core.validation.report import Report

    package, _, name = text.partition(":")
    found = discovered(package)
    matches = [each for each in found.declarations if not name or name in _names(each)]
    if not matches or not name:
        Report(found.package, faults=found.faults).raise_faults()
    if not found.declarations:
        raise click.UsageError(f"there are no workflows in {package}.")
    if not matches:
        known = {each for declaration in found.declarations for each in _names(declaration)}
        hint = f'{did_you_mean(name, known)}. See "dkist-processing-core list {package}".'
        raise click.UsageError(f"there is no workflow {name!r} in {package}{hint}")
    if name and len(matches) > 1:
        exact = ", ".join(each.where for each in matches)
        raise click.UsageError(f"{name!r} matches {len(matches)} workflows in {package}; name one of them: {exact}.")
    return [each.workflow for each in matches]


def _names(declaration: "Declaration") -> tuple[str, str, str]:
    variable = declaration.where.rpartition(":")[2]
    return variable, declaration.workflow.workflow_name, declaration.workflow.dag_name


def chosen_workflow(text: str) -> "Workflow":
    """Return the one workflow that ``PACKAGE[:WORKFLOW]`` names; see `chosen_workflows`."""
    workflows = chosen_workflows(text)
    if len(workflows) != 1:
        names = ", ".join(each.workflow_name for each in workflows)
        raise click.UsageError(f"{text} has {len(workflows)} workflows; name one of them as {text}:WORKFLOW: {names}.")
    return workflows[0]

"""
Everything that can be wrong with the workflows of a package, found in one go.

Runs in: author and CI. Airflow is used if it is installed, and never required.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version as distribution_version

from packaging.version import InvalidVersion, Version

from dkist_processing_core.authoring.distributions import derived_name, providing_distribution
from dkist_processing_core.authoring.graph import graph_errors
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.node import Node
from dkist_processing_core.rendering.dag import dag_file
from dkist_processing_core.scheduling.loading import is_airflow_installed
from dkist_processing_core.validation.advice import missing_pools, traps
from dkist_processing_core.validation.airflow import AirflowUnusableError, load_by_airflow
from dkist_processing_core.validation.discovery import Declaration, Discovery
from dkist_processing_core.validation.report import Fault, Report

__all__ = ["check"]


def check(found: Discovery) -> Report:
    """
    Check every workflow that was found in a package.

    Parameters
    ----------
    found
        The workflows, and the faults that kept others from being found.
    """
    report = Report(found.package, faults=list(found.faults))
    if not found.declarations and not found.faults:
        report.faults.append(
            Fault(
                where=found.package,
                what="there is no workflow in it",
                remedy="Assign a Workflow to a variable of a module whose name does not begin with an underscore",
            )
        )
    report.faults.extend(_same_dag_id(found.declarations))
    sound = []
    for declaration in found.declarations:
        faults = list(_workflow_faults(declaration))
        report.faults += faults
        if not faults:
            sound.append(declaration)
    report.loaded_by_airflow = is_airflow_installed()
    if report.loaded_by_airflow:
        report.faults.extend(_airflow_faults(found.package, sound))
    report.workflows = [each.workflow.spec for each in sound]
    report.warnings.extend(_unknown_distributions(found.declarations))
    report.warnings.extend(_other_versions(found.declarations))
    report.warnings.extend(trap for each in sound for trap in traps(each))
    report.warnings.extend(missing_pools(sound))
    return report


def _same_dag_id(declarations: list[Declaration]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for declaration in declarations:
        dag_id = declaration.workflow.dag_name
        if dag_id in first:
            yield Fault(
                where=declaration.where,
                workflow=declaration.workflow.workflow_name,
                what=f"its dag id {dag_id!r} is also that of {first[dag_id]}",
                remedy="Give one of them another name, or another detail",
            )
        first.setdefault(dag_id, declaration.where)


def _workflow_faults(declaration: Declaration) -> Iterator[Fault]:
    workflow = declaration.workflow
    if (fault := _version_fault(declaration)) is not None:
        yield fault
    upstreams = {node.name: [each.__name__ for each in node.upstreams] for node in workflow.nodes}
    for error in graph_errors(upstreams, workflow=workflow.workflow_name):
        yield Fault.of(error, where=declaration.where)
    for node in workflow.nodes:
        if missing := sorted(getattr(node.task, "__abstractmethods__", ())):
            yield Fault(
                where=declaration.where,
                workflow=workflow.workflow_name,
                task=node.name,
                what=f"its class leaves {', '.join(missing)} abstract, so it cannot be run",
                remedy=f"Write {', '.join(missing)}, or add a subclass that does",
            )
        what = _import_problem(node)
        if what:
            yield Fault(
                where=declaration.where,
                workflow=workflow.workflow_name,
                task=node.name,
                what=what,
                remedy="Define the class at the top level of an importable module, under its own name",
            )


def _version_fault(declaration: Declaration) -> Fault | None:
    version = declaration.workflow.workflow_version
    if version == DEFAULT_BUILD_VERSION:
        return None
    try:
        Version(version)
    except InvalidVersion:
        return Fault(
            where=declaration.where,
            workflow=declaration.workflow.workflow_name,
            what=f"its version {version!r} is neither 'dev' nor a version of a release (PEP 440)",
            remedy="Set workflow_version or BUILD_VERSION to the version of the package's release, such as 1.2.3",
        )
    return None


def _import_problem(node: Node) -> str | None:
    """Say why a fresh interpreter could not import the class of a node as ``module:Class``."""
    path = node.spec.task
    module_name, _, qualified_name = path.partition(":")
    if module_name == "__main__":
        return f"its class {path!r} is defined in the program that is running, not in a module"
    if "<locals>" in qualified_name:
        return f"its class {path!r} is defined inside of a function"
    try:
        value: object = import_module(module_name)
        for name in qualified_name.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError) as error:
        return f"its class cannot be imported as {path!r}: {error}"
    if value is not node.task:
        return f"its class cannot be imported as {path!r}, which is {value!r}"
    return None


def _airflow_faults(package: str, declarations: list[Declaration]) -> Iterator[Fault]:
    """Let Airflow load the texts that would be exported."""
    # Two of the same name are a fault already, of which only one can be loaded.
    by_name = {f"{each.workflow.dag_name}.py": each for each in declarations}
    if not by_name:
        return
    try:
        loaded = load_by_airflow({name: dag_file(each.workflow.spec) for name, each in by_name.items()})
    except AirflowUnusableError as error:
        yield Fault(
            where=package,
            what=f"Airflow is installed and cannot be run: {error}",
            remedy="Mend what it says until `airflow info` succeeds, or check where Airflow is not installed",
        )
        return
    for name, declaration in by_name.items():
        workflow = declaration.workflow
        expected = tuple(sorted(node.name for node in workflow.nodes))
        if loaded[name].problem:
            yield Fault(
                where=declaration.where,
                workflow=workflow.workflow_name,
                what=f"Airflow refuses it: {loaded[name].problem}",
                remedy="Mend what Airflow names",
            )
        elif loaded[name].tasks != expected:
            yield Fault(
                where=declaration.where,
                workflow=workflow.workflow_name,
                what=f"Airflow loads the tasks {list(loaded[name].tasks)} of it, not {list(expected)}",
                remedy="Please report this; the text that is rendered is wrong",
            )


def _unknown_distributions(declarations: list[Declaration]) -> Iterator[Fault]:
    seen: set[str] = set()
    for declaration in declarations:
        package = declaration.workflow.workflow_package
        if package in seen or providing_distribution(package) is not None:
            continue
        seen.add(package)
        yield Fault(
            where=declaration.where,
            workflow=declaration.workflow.workflow_name,
            what=f"no installed distribution provides its workflow_package {package!r}, "
            f"so the workers will install {derived_name(package)!r}, which may be another name than it has",
            remedy="Install the package (pip install -e .) before validating and exporting",
        )


def _other_versions(declarations: list[Declaration]) -> Iterator[Fault]:
    """Find workflows that would run from another release than the one whose workflows are exported."""
    for declaration in declarations:
        workflow = declaration.workflow
        name = providing_distribution(workflow.workflow_package)
        if name is None or workflow.workflow_version == DEFAULT_BUILD_VERSION:
            continue
        installed = distribution_version(name)
        try:
            differs = Version(installed) != Version(workflow.workflow_version)
        except InvalidVersion:
            continue
        if differs:
            yield Fault(
                where=declaration.where,
                workflow=workflow.workflow_name,
                what=f"its version is {workflow.workflow_version}, while {name} {installed} is installed here, "
                "so the tasks will run from another release than the one that was checked",
                remedy="Set BUILD_VERSION to the version of the package that is installed and published",
            )

"""
The rules that every workflow of a package must follow, all checked in one go.

Runs in: author and CI. Airflow is used if it is installed, and never required.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import version as distribution_version
from pathlib import Path

from dkist_processing_core.authoring.airflow import is_airflow_installed
from dkist_processing_core.authoring.distributions import derived_name, providing_distribution
from dkist_processing_core.authoring.graph import graph_errors
from dkist_processing_core.authoring.names import as_version
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.node import Node
from dkist_processing_core.rendering.dag import dag_file
from dkist_processing_core.validation.advice import advice, missing_pools
from dkist_processing_core.validation.airflow import AirflowUnusableError, load_by_airflow
from dkist_processing_core.validation.discovery import Declaration, Discovery
from dkist_processing_core.validation.distribution import extras_faults, missing_frozen, version_faults
from dkist_processing_core.validation.pins import extras_without_pins
from dkist_processing_core.validation.report import Fault, Report
from dkist_processing_core.validation.task_classes import class_faults
from dkist_processing_core.validation.wheel import wheel_faults

__all__ = ["check"]


def check(found: Discovery, *, wheel: Path | None = None, pools: Iterable[str] = ()) -> Report:
    """Check every workflow that was found in a package, and its wheel; ``pools`` are names of existing pools."""
    report = Report(found.package, faults=list(found.faults))
    if not found.declarations and not found.faults:
        remedy = "Assign a Workflow to a variable of a module whose name does not begin with an underscore"
        report.faults.append(Fault(where=found.package, what="it declares no workflow", remedy=remedy))
    report.faults.extend(_same_dag_id(found.declarations))
    report.faults.extend(version_faults(found.declarations))
    report.faults.extend(extras_faults(found.declarations))
    if wheel is not None:
        report.faults.extend(wheel_faults(wheel, found.declarations))
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
    report.warnings.extend(missing_frozen(found.declarations))
    report.warnings.extend(extras_without_pins(found.declarations))
    report.warnings.extend(each for declaration in sound for each in advice(declaration))
    report.warnings.extend(missing_pools(sound, known=pools))
    return report


def _same_dag_id(declarations: list[Declaration]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for declaration in declarations:
        dag_id = declaration.workflow.dag_name
        if first.setdefault(dag_id, declaration.where) != declaration.where:
            yield declaration.fault(
                f"its DAG id {dag_id!r} is also used by {first[dag_id]}",
                remedy="Give one of them another name, or another detail",
            )


def _workflow_faults(declaration: Declaration) -> Iterator[Fault]:
    workflow = declaration.workflow
    if workflow.workflow_version != DEFAULT_BUILD_VERSION and as_version(workflow.workflow_version) is None:
        yield declaration.fault(
            f"its version {workflow.workflow_version!r} is neither 'dev' nor a version of a release (PEP 440)",
            remedy="Set workflow_version or BUILD_VERSION to the version of the package's release, such as 1.2.3",
        )
    upstreams = {node.name: [each.__name__ for each in node.upstreams] for node in workflow.nodes}
    for error in graph_errors(upstreams, workflow=workflow.workflow_name):
        yield declaration.fault(error.what, remedy=error.remedy, task=error.task)
    for node in workflow.nodes:
        if missing := ", ".join(sorted(getattr(node.task, "__abstractmethods__", ()))):
            yield declaration.fault(
                f"its class does not implement {missing}, so it cannot be run",
                remedy=f"Implement {missing}, or add a subclass that does",
                task=node.name,
            )
        for what, remedy in class_faults(node.task):
            yield declaration.fault(what, remedy=remedy, task=node.name)
        if problem := _import_problem(node):
            yield declaration.fault(
                problem,
                remedy="Define the class at the top level of an importable module, under its own name",
                task=node.name,
            )


def _import_problem(node: Node) -> str | None:
    """Return why a fresh interpreter could not import the class of a node as ``module:Class``."""
    path = node.spec.task
    module_name, _, qualified_name = path.partition(":")
    if module_name == "__main__":
        return f"its class {path!r} is defined in the program that is running, not in a module"
    if "<locals>" in qualified_name:
        return f"its class {path!r} is defined inside a function"
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
    """Load the files that would be exported with Airflow."""
    # Two files with the same name are already a fault, and only one of them can be loaded.
    by_name = {f"{each.workflow.dag_name}.py": each for each in declarations}
    if not by_name:
        return
    try:
        loaded = load_by_airflow({name: dag_file(each.workflow.spec) for name, each in by_name.items()})
    except AirflowUnusableError as error:
        remedy = "Correct what it names until `airflow info` succeeds, or validate where Airflow is not installed"
        yield Fault(where=package, what=f"Airflow is installed and cannot be run: {error}", remedy=remedy)
        return
    for name, declaration in by_name.items():
        expected = tuple(sorted(node.name for node in declaration.workflow.nodes))
        if loaded[name].problem:
            yield declaration.fault(f"Airflow refuses it: {loaded[name].problem}", remedy="Correct what Airflow names")
        elif loaded[name].tasks != expected:
            yield declaration.fault(
                f"Airflow loads the tasks {list(loaded[name].tasks)} from it, not {list(expected)}",
                remedy="Please report this: the rendered file is wrong",
            )


def _unknown_distributions(declarations: list[Declaration]) -> Iterator[Fault]:
    first = {each.workflow.workflow_package: each for each in reversed(declarations)}
    for package, declaration in reversed(first.items()):
        if providing_distribution(package) is None:
            yield declaration.fault(
                f"no installed distribution provides its workflow_package {package!r}, "
                f"so the workers will install {derived_name(package)!r}, which may not be its name",
                remedy="Install the package (pip install -e .) before validating and exporting",
            )


def _other_versions(declarations: list[Declaration]) -> Iterator[Fault]:
    """Yield a fault for each workflow that would run from a release other than the installed one."""
    for declaration in declarations:
        name = providing_distribution(declaration.workflow.workflow_package)
        wanted = as_version(declaration.workflow.workflow_version)
        installed = distribution_version(name) if name and wanted else ""
        if as_version(installed) not in {None, wanted}:
            yield declaration.fault(
                f"its version is {declaration.workflow.workflow_version}, while {name} {installed} is installed here, "
                "so the tasks will run from another release than the one that was checked",
                remedy="Set BUILD_VERSION to the version of the package that is installed and published",
            )

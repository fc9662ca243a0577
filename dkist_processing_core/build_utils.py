"""
What a team's CI calls: check the workflows of a package, export them.

Runs in: author and CI. Nothing is written unless every workflow of the package is without fault.
"""

import logging
from pathlib import Path
from types import ModuleType

from dkist_processing_core.checks import check
from dkist_processing_core.discovery import Discovery, discover
from dkist_processing_core.faults import Report
from dkist_processing_core.workflow import Workflow

__all__ = ["export", "export_dags", "extract_workflows_from_package", "validate_workflows"]

logger = logging.getLogger(__name__)

DEFAULT_EXPORT_PATH = "dags"


def validate_workflows(workflow_package: ModuleType, export_path: str | Path | None = None) -> Report:
    """
    Check every workflow of a package, and load what would be exported into Airflow if that is installed.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    export_path
        A folder to write the DAG files to once all is well; by default nothing is written.

    Returns
    -------
    Report
        What was found; it has no faults, but may have warnings, which are logged as well.

    Raises
    ------
    WorkflowValidationError
        If there is a fault, with the report of all faults of all workflows. It is also a `ValueError`.
    """
    found, report = _validated(workflow_package)
    if export_path is not None:
        _write(found, Path(export_path))
    return report


def export(workflow_package: ModuleType, export_path: str | Path | None = None) -> list[Path]:
    """
    Export the workflows of a package for deployment; the older spelling of `export_dags`.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    export_path
        The folder to write to, ``dags`` by default.
    """
    return export_dags(workflow_package, export_path or DEFAULT_EXPORT_PATH)


def export_dags(workflow_package: ModuleType, path: str | Path) -> list[Path]:
    """
    Check every workflow of a package and write the DAG file of each.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is made if it is not there.

    Returns
    -------
    list of Path
        The files that were written, one a workflow.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow. Nothing is written then.
    OSError
        If a file cannot be written.
    """
    found, _ = _validated(workflow_package)
    return _write(found, Path(path))


def extract_workflows_from_package(workflow_package: ModuleType) -> list[Workflow]:
    """
    Return the workflows that the public modules of a package declare, each once.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.

    Raises
    ------
    WorkflowValidationError
        If a module cannot be imported.
    """
    found = discover(workflow_package)
    Report(found.package, faults=found.faults).raise_faults()
    return [declaration.workflow for declaration in found.declarations]


def _validated(workflow_package: ModuleType) -> tuple[Discovery, Report]:
    found = discover(workflow_package)
    report = check(found)
    for warning in report.warnings:
        logger.warning("%s", warning)
    report.raise_faults()
    return found, report


def _write(found: Discovery, folder: Path) -> list[Path]:
    return [declaration.workflow.export_dag(folder) for declaration in found.declarations]

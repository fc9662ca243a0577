"""
What a team's CI calls: check the workflows of a package, export them.

Runs in: author and CI. Nothing is written unless every workflow of the package is without fault.
"""

import logging
from pathlib import Path
from types import ModuleType

from dkist_processing_core.export import bundle as artifacts
from dkist_processing_core.export import manual_processing
from dkist_processing_core.scheduling import loading
from dkist_processing_core.validation import rules
from dkist_processing_core.validation.discovery import discover
from dkist_processing_core.validation.report import Report
from dkist_processing_core.workflow import Workflow

__all__ = [
    "export",
    "export_archive",
    "export_dags",
    "export_notebook_dockerfile",
    "export_notebooks",
    "extract_workflows_from_package",
    "validate_workflows",
]

logger = logging.getLogger(__name__)

DEFAULT_EXPORT_PATH = "export"  # where the releases that had this function put them


def validate_workflows(
    workflow_package: ModuleType, export_path: str | Path | None = None, *, require_airflow: bool = False
) -> Report:
    """
    Check every workflow of a package, and load what would be exported into Airflow if that is installed.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    export_path
        A folder to write the DAG files to once all is well, and nothing else; by default nothing is written.
    require_airflow
        Whether it is an error if Airflow is not installed, as it should be in CI.

    Returns
    -------
    Report
        What was found; it has no faults, but may have warnings, which are logged as well.

    Raises
    ------
    WorkflowValidationError
        If there is a fault, with the report of all faults of all workflows. It is also a `ValueError`.
    MissingExtraError
        If Airflow is required and not installed.
    ReleasedFileError, OSError
        As from `export_dags`.
    """
    if require_airflow:
        loading.require_airflow("Validation by Airflow")
    report = _validated(workflow_package)
    if export_path is not None:
        artifacts.write(report.workflows, Path(export_path), has_companions=False)
    return report


def export(workflow_package: ModuleType, export_path: str | Path | None = None) -> list[Path]:
    """
    Export the workflows of a package for deployment; the older spelling of `export_dags`.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    export_path
        The folder to write to, ``export`` by default.
    """
    return export_dags(workflow_package, export_path or DEFAULT_EXPORT_PATH)


def export_dags(workflow_package: ModuleType, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """
    Check every workflow of a package and write the DAG file of each, all or nothing.

    Beside them it writes ``manifest.json``, which says of each file what it is made from and what it needs, and
    ``pools.json`` with the pools that are needed, for ``airflow pools import``.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is made if it is not there.
    overwrite
        Whether a file of a released version may be replaced by another content.

    Returns
    -------
    list of Path
        The DAG files, one a workflow.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow. Nothing is written then.
    ReleasedFileError
        If a file of a released version is there with another content. Nothing is written then either.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    return artifacts.write(_validated(workflow_package).workflows, Path(path), overwrite=overwrite)


def export_archive(workflow_package: ModuleType, path: str | Path, *, overwrite: bool = False) -> Path:
    """
    Check every workflow of a package and write one zip archive of what `export_dags` would write.

    Put into Airflow's DAGs folder it is loaded as it is. The same workflows give the same bytes, whatever the machine.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is made if it is not there.
    overwrite
        Whether the archive of a released version may be replaced by another content.

    Returns
    -------
    Path
        The archive, ``{distribution}-{version}-dags.zip``.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow. Nothing is written then.
    ReleasedFileError
        If the archive of a released version is there with another content. Nothing is written then either.
    OSError
        If the file cannot be written. What was there before is then untouched.
    """
    return artifacts.write_archive(_validated(workflow_package).workflows, Path(path), overwrite=overwrite)


def export_notebooks(
    workflow_package: ModuleType, path: str | Path = manual_processing.NOTEBOOKS, *, overwrite: bool = False
) -> list[Path]:
    """
    Check every workflow of a package and write the Jupyter notebook of each, all or nothing.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is made if it is not there.
    overwrite
        Whether a notebook that somebody has changed, by filling it in for instance, may be replaced.

    Returns
    -------
    list of Path
        The notebooks, ``{dag_name}.ipynb``, one a workflow.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow. Nothing is written then.
    ChangedFileError
        If a notebook is there and not as it was exported. Nothing is written then either.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    workflows = _validated(workflow_package).workflows
    return manual_processing.write_notebooks(workflows, Path(path), overwrite=overwrite)


def export_notebook_dockerfile(
    workflow_package: ModuleType,
    path: str | Path = manual_processing.NOTEBOOKS,
    *,
    context: str | Path = ".",
    overwrite: bool = False,
) -> Path:
    """
    Check every workflow of a package and write the Dockerfile of a manual processing worker, with the notebooks.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder for the notebooks. It is in ``context`` and made if it is not there.
    context
        The folder that the image is to be built in, and that gets the Dockerfile; the current folder by default.
    overwrite
        Whether a file that somebody has changed or written may be replaced.

    Returns
    -------
    Path
        The file, ``Dockerfile``.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow. Nothing is written then.
    WorkflowError
        If the workflows have several categories or releases, or none but ``dev``. Nothing is written then either. It
        is also a `ValueError`.
    ChangedFileError
        If a file is there and not as it was exported. Nothing is written then either.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    workflows = _validated(workflow_package).workflows
    return manual_processing.write_dockerfile(
        workflows, context=Path(context), notebooks=Path(path), overwrite=overwrite
    )


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


def _validated(workflow_package: ModuleType) -> Report:
    report = rules.check(discover(workflow_package))
    report.raise_faults()  # the error has the warnings as well
    for warning in report.warnings:
        logger.warning("%s", warning)
    return report

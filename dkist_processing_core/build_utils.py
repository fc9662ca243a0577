"""
Check and export the workflows of a package, in the CI of a team.

Runs in: author and CI. Nothing is written unless all workflows of the package are free of faults.
"""

import logging
from pathlib import Path
from types import ModuleType

from dkist_processing_core.authoring import airflow
from dkist_processing_core.export import bundle, manual_processing
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
    "export_one_file",
    "extract_workflows_from_package",
    "validate_workflows",
]

logger = logging.getLogger(__name__)


def validate_workflows(
    workflow_package: ModuleType, export_path: str | Path | None = None, *, require_airflow: bool = False
) -> Report:
    """
    Check every workflow of a package. If Airflow is installed, it loads the files that would be exported.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    export_path
        A folder for the DAG files. They are written, without manifest and pools, if there is no fault. By default
        nothing is written.
    require_airflow
        Whether to raise an error if Airflow is not installed. Set this in CI.

    Returns
    -------
    Report
        The report. It has no faults. Its warnings are also logged.

    Raises
    ------
    WorkflowValidationError
        If there is a fault. It contains all faults of all workflows. It is also a `ValueError`.
    MissingExtraError
        If Airflow is required and not installed.
    ReleasedFileError, ChangedFileError, OSError
        As from `export_dags`.
    """
    if require_airflow:
        airflow.require_airflow("Validation by Airflow")
    report = _validated(workflow_package)
    if export_path is not None:
        bundle.write(report.workflows, Path(export_path), has_companions=False)
    return report


def export(workflow_package: ModuleType, export_path: str | Path | None = None) -> list[Path]:
    """
    Export the workflows of a package for deployment. This is the older name of `export_dags`.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    export_path
        The folder to write to, ``export`` by default.

    Returns
    -------
    list of Path
        The DAG files, one per workflow.

    Raises
    ------
    WorkflowValidationError, ReleasedFileError, ChangedFileError, OSError
        As from `export_dags`.
    """
    return export_dags(workflow_package, export_path or "export")


def export_dags(workflow_package: ModuleType, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """
    Check every workflow of a package and write the DAG file of each, all or nothing.

    It also writes ``manifest.json``, which describes each file and what it needs, and ``pools.json``, which lists the
    pools for ``airflow pools import``.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is created if it does not exist.
    overwrite
        Whether to replace files of a released version, and files that no export wrote, if their content differs.

    Returns
    -------
    list of Path
        The DAG files, one per workflow.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow.
    ReleasedFileError
        If a file of a released version exists with different content.
    ChangedFileError
        If a file exists that no export wrote.
    OSError
        If a file cannot be written. After any error, existing files are unchanged.
    """
    return bundle.write(_validated(workflow_package).workflows, Path(path), overwrite=overwrite)


def export_one_file(workflow_package: ModuleType, path: str | Path, *, overwrite: bool = False) -> Path:
    """
    Check every workflow of a package and write one DAG file that contains all of them.

    Like `export_dags`, it also writes the manifest and the pools. The same workflows give the same bytes on every
    machine.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is created if it does not exist.
    overwrite
        As of `export_dags`.

    Returns
    -------
    Path
        The DAG file, ``{distribution}-{version}-dags.py``.

    Raises
    ------
    WorkflowValidationError, ReleasedFileError, ChangedFileError, OSError
        As from `export_dags`.
    """
    [file] = bundle.write(_validated(workflow_package).workflows, Path(path), overwrite=overwrite, one_file=True)
    return file


def export_archive(workflow_package: ModuleType, path: str | Path, *, overwrite: bool = False) -> Path:
    """
    Check every workflow of a package and write one zip archive of what `export_dags` would write.

    Airflow loads it from its DAGs folder without unpacking. The same workflows give the same bytes on every machine.
    Airflow 3.3 does not report killed tasks of DAGs in an archive; `export_one_file` has no such limitation.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder to write to. It is created if it does not exist.
    overwrite
        As of `export_dags`.

    Returns
    -------
    Path
        The archive, ``{distribution}-{version}-dags.zip``.

    Raises
    ------
    WorkflowValidationError, ReleasedFileError, ChangedFileError, OSError
        As from `export_dags`.
    """
    return bundle.write_archive(_validated(workflow_package).workflows, Path(path), overwrite=overwrite)


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
        The folder to write to. It is created if it does not exist.
    overwrite
        Whether to replace notebooks that were modified after export, for example filled in, or that no export wrote.

    Returns
    -------
    list of Path
        The notebooks, ``{dag_name}.ipynb``, one per workflow.

    Raises
    ------
    WorkflowValidationError
        If there is a fault in any workflow.
    ChangedFileError
        If a notebook was modified after export, or no export wrote it.
    OSError
        If a file cannot be written. After any error, existing files are unchanged.
    """
    return manual_processing.write_notebooks(_validated(workflow_package).workflows, Path(path), overwrite=overwrite)


def export_notebook_dockerfile(
    workflow_package: ModuleType,
    path: str | Path = manual_processing.NOTEBOOKS,
    *,
    context: str | Path = ".",
    overwrite: bool = False,
) -> Path:
    """
    Check every workflow of a package and write the Dockerfile of a manual processing worker and its notebooks.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.
    path
        The folder for the notebooks, inside ``context``. It is created if it does not exist.
    context
        The build context of the image, where the Dockerfile is written. The default is the current folder.
    overwrite
        Whether to replace files that were modified after export, or that no export wrote.

    Returns
    -------
    Path
        The file, ``Dockerfile``.

    Raises
    ------
    WorkflowError
        If the workflows have several categories or releases, their version is ``dev``, or the folder for the notebooks
        is not in ``context``. It is also a `ValueError`.
    WorkflowValidationError, ChangedFileError, OSError
        As from `export_notebooks`.
    """
    return manual_processing.write_dockerfile(
        _validated(workflow_package).workflows, context=Path(context), notebooks=Path(path), overwrite=overwrite
    )


def extract_workflows_from_package(workflow_package: ModuleType) -> list[Workflow]:
    """
    Return the workflows that the public modules of a package declare, without duplicates.

    Parameters
    ----------
    workflow_package
        The imported package that declares the workflows.

    Returns
    -------
    list of Workflow
        The workflows, in the order of the names of their modules.

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

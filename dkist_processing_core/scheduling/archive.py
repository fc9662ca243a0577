"""
Failure callbacks that Airflow does not call for a DAG file in a zip archive.

Runs in: scheduler, DAG processor and worker, only for files in archives.
"""

import logging

__all__ = ["missing_callbacks"]

logger = logging.getLogger(__name__)

WARNING = (
    "This Airflow does not report a task whose Airflow process is killed, since the file is in a zip archive: its DAG "
    "processor ends before the callback (NotADirectoryError). Deploy what `dkist-processing-core export --one-file` "
    "writes instead, or set AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL=off for the DAG processor."
)


def missing_callbacks(file: str) -> str:
    """
    Return and log why the installed Airflow does not call the failure callbacks of a file; empty if it does.

    Before a callback, the DAG processor of Airflow 3.3 checks whether the file gives the same DAG at each parse, and
    fails if it cannot read the file. This function runs the same check, so it works for every release of Airflow.
    """
    try:
        from airflow.utils.dag_version_inflation_checker import check_dag_file_stability

        check_dag_file_stability(file)
    except NotADirectoryError:
        logger.warning("%s: %s", file, WARNING)
        return WARNING
    except Exception as error:
        logger.debug("Airflow does not check %s in a way that could end its DAG processor: %r", file, error)
    return ""

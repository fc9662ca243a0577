"""
What Airflow cannot do with a DAG file in a zip archive.

Runs in: scheduler, DAG processor and worker, for files in archives alone.
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
    Return, and log, why the installed Airflow does not call back for a file; an empty text if it does.

    Before a callback, the DAG processor of Airflow 3.3 checks whether the file gives the same DAG at each parse, and
    does not survive that it cannot read it. Here the same check is asked, so it does not matter which releases have it.
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

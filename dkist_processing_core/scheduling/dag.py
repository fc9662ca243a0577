"""
The DAG of an exported file.

Runs in: scheduler, DAG processor and worker.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from dkist_processing_core.scheduling.workflow import (
    FileWorkflow,
    check_protocol,
    in_workflow,
    reject_unknown,
    run_failed,
)

try:  # Airflow 3
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.models.param import Param

__all__ = ["workflow_dag"]

# An id is kept as a signed integer of 64 bits by Airflow and by the services that it is sent to.
LARGEST_RECIPE_RUN_ID = 2**63 - 1
# Matches positive integers without a sign or leading zeros, in the regular expressions of Python (which Airflow's API
# uses) and of JavaScript (which its forms use). "$" would let a newline at the end pass in Python, and "\\Z" is unknown
# to JavaScript, so the end is where no character follows.
RECIPE_RUN_ID_PATTERN = r"^[1-9][0-9]{0,18}(?![\s\S])"


def workflow_dag(
    *,
    protocol: int,
    exported_by: str,
    name: str,
    version: str,
    distribution: str,
    tags: Sequence[str],
    **unknown: object,
) -> AbstractContextManager[Any]:
    """
    Make the DAG of one version of a workflow; its tasks are made in the ``with`` statement.

    Parameters
    ----------
    protocol
        The protocol of the file, see `workflow`.
    exported_by
        The release of this library that wrote the file.
    name, version
        Name and version of the workflow; ``{name}_{version}`` is Airflow's dag id.
    distribution
        Name of the distribution that the task environments install.
    tags
        Airflow's tags.

    Returns
    -------
    context manager
        It yields Airflow's DAG.

    Raises
    ------
    UnsupportedDagFileError
        If the file states a protocol or a key that this release does not know.
    """
    check_protocol(protocol, exported_by)
    workflow = FileWorkflow(name=name, version=version, distribution=distribution, exported_by=exported_by)
    reject_unknown(f"The workflow {name!r}", unknown, workflow)
    dag = DAG(
        dag_id=f"{name}_{version}",
        tags=list(tags),
        schedule=None,
        catchup=False,
        on_failure_callback=partial(run_failed, name, version),
    )
    # Airflow takes the file that calls DAG(...) for the DAG's own.
    dag.fileloc = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - documented, and all that inspect would do
    return _entered(dag, workflow)


@contextmanager
def _entered(dag: Any, workflow: FileWorkflow) -> Iterator[Any]:
    with in_workflow(workflow), dag:
        yield dag
    dag.doc_md = _doc(dag, workflow)
    # Added after the tasks: a task that inherits a required param makes dag.test() of Airflow 3.2 and later fail.
    dag.params["recipe_run_id"] = Param(  # noqa: AIR311 - in Airflow 2 it is where it is
        type=["integer", "string"],
        minimum=1,
        maximum=LARGEST_RECIPE_RUN_ID,
        pattern=RECIPE_RUN_ID_PATTERN,
        description="Id of the recipe run to process, a positive integer.",
    )


def _doc(dag: Any, workflow: FileWorkflow) -> str:
    """Return what Airflow's pages say about the DAG, Markdown: the first line about each task."""
    rows = [f"| {task.task_id} | {_cell(task.doc_md or '')} |" for task in dag.tasks]
    return "\n".join(
        [
            f"Workflow **{workflow.name}**, run from the release `{workflow.distribution}=={workflow.version}`.",
            "",
            "| task | what it does |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def _cell(doc: str) -> str:
    return doc.partition("\n")[0].replace("\\", "\\\\").replace("|", "\\|")

"""
The local runner: a workflow without Airflow, in the order and with the retries that it has there.

Runs in: author and CI. `run_workflow` runs one, `runs` keeps what is known of each run, `forkserver` is the process
whose children the tasks are.
"""

from dkist_processing_core.local.run import RunResult, run_workflow
from dkist_processing_core.local.state import TaskState, Try

__all__ = ["RunResult", "TaskState", "Try", "run_workflow"]

"""
Publish the failures of a local run on the interservice bus, as Airflow's callback does.

Runs in: author and CI, if the user requests it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.failure_callback import recipe_run_failure_message_producer_factory
from dkist_processing_core.isb.failures.failure import Failure, last_lines
from dkist_processing_core.isb.failures.message import message_of, report
from dkist_processing_core.local.scheduler import Reporter

__all__ = ["reporter"]


def reporter(spec: WorkflowSpec, recipe_run_id: int, folder: Path, stack: ExitStack) -> Reporter:
    """Return a function that publishes the failure of a task in a thread; the end of the run waits for the thread."""
    threads = stack.enter_context(ThreadPoolExecutor(1))

    def publish(name: str, number: int, outcome: Outcome) -> None:
        failure = Failure(
            workflow_name=spec.name,
            workflow_version=spec.version,
            task_name=name,
            dag_id=spec.dag_id,
            run_id=folder.name,
            try_number=number,
            recipe_run_id=recipe_run_id,
            log_url=(folder / "logs" / f"{name}.{number}.log").as_uri(),
            host=os.uname().nodename,
            exit_status=outcome.exit_status,
            error=last_lines(outcome.error or outcome.summary or ""),
            trace_id=outcome.trace_id,
            transaction_id=outcome.transaction_id,
            environment_identity=outcome.environment_identity,
        )
        report(failure, message_of(failure), recipe_run_failure_message_producer_factory)

    return lambda *arguments: threads.submit(publish, *arguments)

"""
Run in a child process: let the installed Airflow call failure callbacks, as its own processes do.

Airflow's code and objects are real; only the server behind them is missing, whose answers `Server` gives. The argument
is JSON: which process calls back (``task``, ``dag-processor``), for what (``task``, ``run``), states, XComs,
the tries that other XComs name, and how often the run was cleared.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from uuid import UUID

import structlog
from airflow.callbacks.callback_requests import DagCallbackRequest, DagRunContext, TaskCallbackRequest
from airflow.dag_processing import processor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.sdk.execution_time import comms, task_runner

from dkist_processing_core.failure_callback import chat_ops_notification, dag_run_failure_notification
from dkist_processing_core.isb.failures import context as of_context

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
INSTANCE = {
    "id": UUID(int=1),
    "task_id": "A",
    "dag_id": "w_1",
    "run_id": "r",
    "try_number": 2,
    "map_index": -1,
    "hostname": "worker-7",
    "dag_version_id": UUID(int=2),
}
RUN = {
    **dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key")),
    "dag_id": "w_1",
    "run_id": "r",
    "run_after": MOMENT,
    "start_date": MOMENT,
    "run_type": "manual",
    "state": "failed",
    "conf": {"recipe_run_id": 42},
    "consumed_asset_events": [],
}


class Server:
    """Answers what Airflow's objects ask the server."""

    def __init__(self, states, xcoms, tries):
        self.states, self.written = states, {}
        self.xcoms = {of_context.XCOM_KEY: xcoms, of_context.TRY_KEY: tries}

    def send(self, msg):
        if isinstance(msg, comms.GetTaskStates):
            return comms.TaskStatesResult(task_states={"r": self.states})
        if isinstance(msg, comms.GetXComSequenceSlice):
            found = [value for name, value in self.xcoms[msg.key].items() if name == msg.task_id]
            return comms.XComSequenceSliceResult(root=found)
        if isinstance(msg, comms.SetXCom):
            self.written[msg.task_id] = msg.value
            return comms.OKResponse(ok=True)
        raise NotImplementedError(f"{msg!r} is not answered here")


def main(process, subject, states=None, xcoms=None, tries=None, clear_number=0):
    of_context.XCOM_SECONDS = 60.0  # its bound is tested elsewhere, and a busy machine must not reach it here
    server = task_runner.SUPERVISOR_COMMS = Server(states, xcoms or {}, tries or {})
    logging.basicConfig(level=logging.INFO)
    log = structlog.get_logger()
    notify = partial(dag_run_failure_notification, workflow_name="w", workflow_version="1")
    with DAG("w_1", schedule=None, on_failure_callback=notify) as dag:
        for name in ("A", "B"):
            report = partial(chat_ops_notification, workflow_name="w", workflow_version="1", task_name=name)
            BashOperator(task_id=name, bash_command="exit 3", on_failure_callback=report)
    request = {"filepath": "w.py", "bundle_name": "b", "bundle_version": None}
    if subject == "run":
        server_context = DagRunContext(dag_run={**RUN, "clear_number": clear_number}, last_ti=INSTANCE)
        request |= {"dag_id": "w_1", "run_id": "r", "context_from_server": server_context}
        processor._execute_dag_callbacks(SimpleNamespace(dags={"w_1": dag}), DagCallbackRequest(**request), log)
    elif process == "dag-processor":
        request |= {"ti": INSTANCE, "context_from_server": {"dag_run": RUN, "max_tries": 2}}
        processor._execute_task_callbacks(SimpleNamespace(dags={"w_1": dag}), TaskCallbackRequest(**request), log)
    else:
        fail(dag.get_task("A"), log)
    print(json.dumps({"xcoms": server.written}))


def fail(task, log):
    """Run a task that fails, and what follows in its process."""
    from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext

    server_context = TIRunContext.model_construct(dag_run=DagRun(**RUN), max_tries=2)
    instance = task_runner.RuntimeTaskInstance.model_construct(
        **INSTANCE, task=task, _ti_context_from_server=server_context, max_tries=2, start_date=MOMENT
    )
    context = instance.get_template_context()
    try:
        task.execute(context)
    except Exception as error:
        context["exception"] = error  # as in task_runner.main
        task_runner.finalize(instance, task_runner.TaskInstanceState.FAILED, context, log, error)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

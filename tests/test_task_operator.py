"""What the operator makes of the worker program: the levels of its lines, its outcome, and how it is ended."""

import logging
from types import SimpleNamespace

import pytest

from dkist_processing_core import testing
from dkist_processing_core.common.outcome import Outcome
from dkist_processing_core.isb.failures import context as of_context
from dkist_processing_core.isb.failures.failure import UNKNOWN_TASK

pytest.importorskip("airflow", reason="Airflow is not installed (pip install 'dkist-processing-core[airflow]')")

from dkist_processing_core.scheduling import TaskOperator, output, workflow_dag
from dkist_processing_core.scheduling.execution import traceparent
from dkist_processing_core.scheduling.failure import TaskFailedError
from dkist_processing_core.scheduling.output import TaskOutputHook
from dkist_processing_core.scheduling.virtualenv import VirtualenvTaskOperator

pytestmark = pytest.mark.airflow

MARKED = r"""printf '\036%s:{}\n' "$DKIST_LOG_MARK"; """


def new_dag(*tasks, operator=TaskOperator, **arguments):
    """Return a DAG of tasks of which the file says no more than it must."""
    with workflow_dag(
        protocol=1, exported_by="8.0.0", name="a_to_b", version="1.0", distribution="dist", tags=["b", "a"]
    ) as dag:
        for name in tasks:
            operator(task_id=name, task=f"m:{name}", **arguments)
    return dag


def marked(kind, text):
    """Return a command that writes one line as the worker program does."""
    return MARKED.format(f"{kind}:{text}")


def outcome(state, **values):
    return marked("outcome", Outcome(state=state, **values).to_json())


@pytest.fixture
def logged(monkeypatch):
    """What reaches the log of the task: levels and texts."""
    lines = []
    monkeypatch.setattr(output, "task_logger", lambda: lambda level, text: lines.append((level, text)))
    return lines


@pytest.fixture
def run(logged, monkeypatch):
    """Run a command in place of the worker program; return the operator, and the error if there is one."""

    def start(command):
        monkeypatch.setattr(TaskOperator, "bash_command", command)
        operator = new_dag("Only").get_task("Only")
        try:
            operator.execute({"dag_run": SimpleNamespace(run_id="manual__1")})
        except TaskFailedError as error:
            return operator, error
        return operator, None

    return start


@pytest.mark.parametrize("operator", [TaskOperator, VirtualenvTaskOperator])
def test_a_dag_is_what_a_file_that_says_the_least_means(operator):
    """Neither scheduled nor caught up; a task keeps nothing in the database and is not tried again."""
    dag = new_dag("Only", operator=operator)
    task = dag.get_task("Only")
    assert (dag.dag_id, dag.catchup, sorted(dag.tags)) == ("a_to_b_1.0", False, ["a", "b"])
    assert dag.description == "a_to_b of dist 1.0"
    assert (task.queue, task.pool, task.retries, task.retry_delay.total_seconds()) == ("default", "default_pool", 0, 60)
    assert (task.do_xcom_push, task.owner, task.requirement) == (False, "dist", "dist[frozen]==1.0")
    assert task.outcome is None
    ours, of_airflow = ("constraints", "requires_python"), ("system_site_packages", "expect_airflow")
    assert not any(getattr(task, name) for name in (ours if operator is TaskOperator else of_airflow))
    param = dag.params.get_param("recipe_run_id").schema
    assert (param["minimum"], param["maximum"], param["examples"]) == (1, 2**53 - 1, [1])


def test_what_fails_is_reported_with_the_names_of_the_file(monkeypatch):
    """By the callback of the task, and by that of the DAG, which Airflow 3.0 does not tell of the task."""
    monkeypatch.setattr(of_context, "airflow_version", lambda: (3, 0))
    dag = new_dag("Only")
    with testing.recorded() as recorded:
        for run, callback in enumerate((*dag.get_task("Only").on_failure_callback, dag.on_failure_callback)):
            callback({"run_id": run, "dag": dag, "dag_run": SimpleNamespace(dag_id=dag.dag_id)})
    reported = [(each.body.workflowName, each.body.workflowVersion, each.body.taskName) for each in recorded.failures]
    assert reported == [("a_to_b", "1.0", "Only"), ("a_to_b", "1.0", UNKNOWN_TASK)]


def test_the_page_of_a_dag_has_the_first_line_about_each_task():
    """What would end a cell of the table is escaped."""
    doc = new_dag("One", "Two", doc_md="Split | and \\ join.\n\nMore.").doc_md
    assert doc == (
        "Workflow **a_to_b**, run from the release `dist==1.0`.\n\n"
        "| task | what it does |\n| --- | --- |\n"
        "| One | Split \\| and \\\\ join. |\n| Two | Split \\| and \\\\ join. |\n"
    )


def test_a_line_is_logged_at_the_level_that_it_states(run, logged):
    """Or at the next lower one that the pages of Airflow know; what was merely printed is information."""
    levels = {50: 50, 45: 40, 40: 40, 35: 30, 30: 30, 25: 20, 20: 20, 15: 10, 10: 10, 5: 10}
    command = "".join(marked(level, f"at {level}") for level in levels)
    run(f"{command} echo printed in $AIRFLOW_CTX_DAG_RUN_ID; {marked('40/1', 'torn+')} {outcome('succeeded')}")
    expected = [(level, f"at {stated}") for stated, level in levels.items()]
    assert logged == [*expected, (logging.INFO, "printed in manual__1"), (logging.ERROR, "torn")]


def test_a_task_succeeds_by_its_outcome_and_its_status(run):
    """Neither alone is enough."""
    operator, error = run(outcome("succeeded"))
    assert (error, operator.outcome) == (None, None)
    assert operator.subprocess_hook.outcome.is_success
    silent = "The worker program ended before it could say what happened to the task (exit status {})"
    for command, text in (
        ("true", silent.format(0)),
        (f"{outcome('succeeded')} exit 3", silent.format(3)),
        (f"{marked('outcome', '{')} exit 4", silent.format(4)),
        (f"{outcome('failed', summary='no flat', exit_status=1)} exit 0", "no flat (exit status 1)"),
    ):
        operator, error = run(command)
        assert operator.outcome.state == "failed"
        assert error.outcome is operator.outcome
        assert str(error) == text


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("failed", summary="no flat"), "no flat"),
        (Outcome("failed", summary="no flat", exit_status=-9), "no flat (exit status -9)"),
        (Outcome("failed"), "The worker program ended before it could say what happened to the task"),
        (
            Outcome("failed", exit_status=-9),
            "The worker program was killed by signal 9, and the task with it (exit status -9)",
        ),
        (
            Outcome("failed", exit_status=-1),
            "The worker program was killed by signal 1, and the task with it (exit status -1)",
        ),
    ],
    ids=["summary", "summary-and-status", "nothing", "signal", "lowest-signal"],
)
def test_the_error_says_what_is_known(outcome, text):
    """Its text is what Airflow logs and reports."""
    assert str(TaskFailedError(outcome)) == text


def test_airflow_ends_the_worker_program():
    """Once it runs; before, there is nothing to end."""
    operator = new_dag("Only").get_task("Only")
    operator.on_kill()
    ended = []
    operator.subprocess_hook = SimpleNamespace(send_sigterm=lambda: ended.append(True))
    operator.on_kill()
    assert ended == [True]


def test_what_the_hook_says_itself_is_no_line_of_the_task(logged):
    """It goes where Airflow logs; what Airflow calls an output is read."""
    said = []
    hook = TaskOutputHook()
    hook._output._logger = SimpleNamespace(info=lambda *arguments: said.append(arguments), name="airflow")
    hook.log.info("Output:")
    hook.log.info("%s and %s", "one", "two")
    hook.log.info("%s", "a line")
    assert said == [("Output:",), ("%s and %s", "one", "two")]
    assert logged == [(logging.INFO, "a line")]
    assert hook.log.name == "airflow"


@pytest.mark.parametrize(
    ("carrier", "expected"),
    [({"traceparent": "00-1-2-01"}, "00-1-2-01"), ({"traceparent": None}, ""), ({}, ""), (None, ""), ("text", "")],
    ids=repr,
)
def test_the_trace_of_airflow_is_handed_on(carrier, expected):
    """From Airflow 3.0 on there is one; whatever else is there counts as none."""
    assert traceparent({"ti": SimpleNamespace(context_carrier=carrier)}) == expected
    assert traceparent({}) == ""

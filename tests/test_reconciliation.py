"""``messages reconcile`` where Airflow does not answer as it should; `test_cluster` has a real one."""

import json

import pytest
from support.http_server import Response, http_server

VERSION = {"/api/v2/version": {"version": "3.3.2"}}


@pytest.fixture
def reconcile(command, monkeypatch):
    """Call the command with the answers of an API by their paths; return its exit status and what it prints."""
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", "token")

    def call(answers):
        def answer(asked):
            found = answers.get(asked.path.partition("?")[0])
            return Response(404 if found is None else 200, json.dumps(found).encode())

        with http_server(answer) as port:
            status, output, error = command("messages", "reconcile", "--airflow", f"http://127.0.0.1:{port}")
        return status, output + error

    return call


def test_dags_of_others_are_left_alone(reconcile):
    """A failed task of a DAG that this library has not made is not reported."""
    instance = {"dag_id": "other", "dag_run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
    answers = {
        **VERSION,
        "/api/v2/dags/~/dagRuns/~/taskInstances": {"task_instances": [instance], "total_entries": 1},
        "/api/v2/dags/other": {"description": "what others write", "is_paused": False},
    }
    assert reconcile(answers) == (0, "0 reported\n")


@pytest.mark.parametrize(
    "answers",
    [{"/api/v2/version": {"version": "3.0.6"}}, {"/api/v1/version": {"version": "2.11.0"}}],
    ids=["3.0", "2.11"],
)
def test_an_airflow_without_xcoms_about_reports_is_refused(reconcile, answers):
    """All of its failures would be reported once more."""
    status, text = reconcile(answers)
    assert status == 1
    assert "Use Airflow 3.1 or later" in text

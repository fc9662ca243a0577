"""``messages reconcile`` where Airflow does not answer as it should; `test_cluster` has a real one."""

import json

import pytest
from support.http_server import Response, http_server
from support.ports import free_ports


@pytest.fixture
def reconcile(command, monkeypatch):
    """Call the command; return its exit status and what it prints."""
    monkeypatch.setenv("DKIST_AIRFLOW_USER", "operator")
    monkeypatch.setenv("DKIST_AIRFLOW_PASSWORD", "secret")

    def call(address, *options):
        status, output, error = command("messages", "reconcile", "--airflow", address, *options)
        assert "secret" not in output + error
        return status, output + error

    return call


def test_an_address_that_is_no_address_is_an_error_of_usage(reconcile):
    """Nothing is opened that is not HTTP."""
    status, text = reconcile("file:///etc/passwd")
    assert status == 2
    assert "must begin with http" in text


def test_an_airflow_that_does_not_answer_is_named(reconcile):
    """With its address."""
    [port] = free_ports(1)
    status, text = reconcile(f"http://127.0.0.1:{port}")
    assert status == 1
    assert f"http://127.0.0.1:{port} does not answer as Airflow does" in text


def test_a_wrong_password_is_named(reconcile):
    """By the answer of Airflow."""
    with http_server(lambda _: Response(401)) as port:
        status, text = reconcile(f"http://127.0.0.1:{port}")
    assert status == 1
    assert "/auth/token answers 401" in text


def test_dags_of_others_are_left_alone(reconcile):
    """A failed task of a DAG that this library has not made is not reported."""
    instance = {"dag_id": "other", "dag_run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
    answers = {
        "/auth/token": {"access_token": "t"},
        "/api/v2/dags/~/dagRuns/~/taskInstances": {"task_instances": [instance], "total_entries": 1},
        "/api/v2/dags/other": {"description": "what others write"},
    }
    with http_server(lambda asked: Response(200, json.dumps(answers[asked.path.partition("?")[0]]).encode())) as port:
        assert reconcile(f"http://127.0.0.1:{port}") == (0, "0 reported\n")

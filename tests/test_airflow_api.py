"""The client of Airflow's REST API: what it does with addresses, credentials and answers that it should not get."""

import json
import socket
import time

import pytest
from support.http_server import Response, http_server
from support.peers import peer

from dkist_processing_core.deployment import airflow_api
from dkist_processing_core.deployment.activity import look
from dkist_processing_core.deployment.airflow_api import AirflowApi
from dkist_processing_core.exceptions import AirflowApiError

PASSWORD = "s3cr3t-of-a-test"
TOKEN = "t0ken-of-a-test"
VERSION = {"/api/v2/version": {"version": "3.3.2"}, "/auth/token": {"access_token": TOKEN}}
DAG = {"/api/v2/dags/x": {"is_paused": False}}


@pytest.fixture(autouse=True)
def credentials(tmp_path, monkeypatch):
    """User and password in a file."""
    file = tmp_path / "credentials"
    file.write_text(f"admin:{PASSWORD}\n")
    monkeypatch.setenv("DKIST_AIRFLOW_CREDENTIALS_FILE", str(file))
    return file


def answering(answers, requests=None):
    """Serve answers by path: data, a response, or a function of the request that returns either."""

    def answer(request):
        if requests is not None:
            requests.append(request)
        found = answers.get(request.path.partition("?")[0], Response(404, b'{"detail": "not found"}'))
        found = found(request) if callable(found) else found
        return found if isinstance(found, Response) else Response(200, json.dumps(found).encode(), "application/json")

    return http_server(answer)


def text_of(raised):
    """Return the whole text of an error, with those that it came from."""
    texts, error = [], raised.value
    while error:
        texts.append(str(error))
        error = error.__cause__
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("localhost:8080", "is not a valid address"),
        ("file:///etc/passwd", "is not a valid address"),
        ("http://", "is not a valid address"),
        ("http://[::1", "is not a valid address"),
        ("http://localhost:99999999", "is not a valid address"),
        ("http://a b/", "is not a valid address"),
        (f"http://admin:{PASSWORD}@localhost", "contains a user name or a password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address, text):
    """The error says what to give, and shows no password."""
    with pytest.raises(AirflowApiError, match=text) as raised:
        AirflowApi(address)
    assert PASSWORD not in text_of(raised)


def test_nobody_who_listens_is_one_clear_error():
    """It names the address and the reason."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(AirflowApiError, match=f"{address}.*refused"):
            AirflowApi(address)


def drip(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("behave", [lambda connection: None, drip], ids=["silent", "dripping"])
def test_a_slow_server_is_waited_for_in_bounded_time(monkeypatch, behave):
    """It says nothing, or a byte at a time."""
    monkeypatch.setattr(airflow_api, "SECONDS", 0.2)
    with peer(behave) as port, pytest.raises(AirflowApiError, match=r"no complete response within 0\.2 s"):
        AirflowApi(f"http://127.0.0.1:{port}")


def test_a_response_without_an_end_is_read_up_to_a_limit(monkeypatch):
    """The error has the limit."""
    monkeypatch.setattr(airflow_api, "MOST_BYTES", 1000)
    long = {**VERSION, "/api/v2/dags/x": Response(200, b" " * 1001)}
    with answering(long) as port, pytest.raises(AirflowApiError, match="the response has more than 1000 bytes"):
        AirflowApi(f"http://127.0.0.1:{port}").dag("x")


def test_missing_or_unreadable_credentials_are_one_clear_error(credentials, monkeypatch):
    """Nothing of the file is shown."""
    for content in ("", "a\nb", f"{PASSWORD}\N{EURO SIGN}", f"\n\nuser:{PASSWORD}\nmore\n", "user:"):
        credentials.write_text(content)
        with pytest.raises(AirflowApiError, match="must be a single line") as raised:
            AirflowApi("http://127.0.0.1:1")
        assert PASSWORD not in text_of(raised)
    monkeypatch.setenv("DKIST_AIRFLOW_CREDENTIALS_FILE", str(credentials.parent))
    with pytest.raises(AirflowApiError, match="cannot be read: Is a directory"):
        AirflowApi("http://127.0.0.1:1")
    monkeypatch.delenv("DKIST_AIRFLOW_CREDENTIALS_FILE")
    with pytest.raises(AirflowApiError, match="no credentials for Airflow's API are configured"):
        AirflowApi("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"is_paused": "no"},
        Response(200, b"<html>log in</html>"),
        Response(200, b""),
        Response(200, b"[" * 200_000),
        Response(500, b"boom"),
        Response(403, b'{"detail": "Forbidden"}'),
        Response(401, b"{}"),
        Response(302, b""),
    ],
    ids=["empty", "list", "type", "html", "nothing", "deep", "500", "403", "401", "redirect"],
)
def test_an_odd_answer_on_a_dag_is_an_error(answer):
    """It is never taken for a DAG that Airflow does not know, and shows no secret."""
    with answering({**VERSION, "/api/v2/dags/x": answer}) as port:
        api = AirflowApi(f"http://127.0.0.1:{port}/")
        with pytest.raises(AirflowApiError) as raised:
            look(api, "x")
    assert not {PASSWORD, TOKEN} & set(text_of(raised).replace("'", " ").split())


@pytest.mark.parametrize(
    "runs",
    [
        {"dag_runs": []},
        {"total_entries": 0},
        {"dag_runs": [], "total_entries": 3},
        {"dag_runs": ["x"], "total_entries": 1},
        {"dag_runs": {}, "total_entries": 0},
    ],
    ids=["no-total", "no-runs", "fewer", "text", "object"],
)
def test_an_odd_list_of_runs_is_an_error(runs):
    """An answer from which it is not clear that there is no run is never taken for one that says so."""
    with answering({**VERSION, **DAG, "/api/v2/dags/x/dagRuns": runs}) as port, pytest.raises(AirflowApiError):
        look(AirflowApi(f"http://127.0.0.1:{port}"), "x")


def test_what_an_answer_repeats_of_the_credentials_is_not_shown():
    """Neither password nor token."""

    def echo(request):
        return Response(400, f"bad: {request.headers['Authorization']} {PASSWORD}".encode())

    with answering({**VERSION, "/api/v2/dags/x": echo}) as port, pytest.raises(AirflowApiError, match="400") as raised:
        look(AirflowApi(f"http://127.0.0.1:{port}"), "x")
    assert "<redacted>" in text_of(raised)
    assert PASSWORD not in text_of(raised)
    assert TOKEN not in text_of(raised)


def test_a_redirection_is_not_followed():
    """The credentials go to the given address alone."""
    others = []
    with answering({}, others) as other:
        away = Response(302, location=f"http://127.0.0.1:{other}/api/v2/dags/x")
        expected = pytest.raises(AirflowApiError, match=f"another address, http://127.0.0.1:{other}/")
        with answering({**VERSION, "/api/v2/dags/x": away}) as port, expected:
            look(AirflowApi(f"http://127.0.0.1:{port}"), "x")
    assert others == []


def test_every_page_is_read():
    """The 101st run is not missed, whatever size of a page the server permits."""
    runs = [{"dag_run_id": f"run {number}", "state": "queued"} for number in range(101)]

    def page(request):
        query = dict(each.split("=") for each in request.path.partition("?")[2].split("&"))
        start = int(query.get("offset", 0))
        return {"dag_runs": runs[start : start + 7], "total_entries": len(runs)}

    with answering({**VERSION, **DAG, "/api/v2/dags/x/dagRuns": page}) as port:
        found = look(AirflowApi(f"http://127.0.0.1:{port}"), "x").active
    assert [each["dag_run_id"] for each in found] == [each["dag_run_id"] for each in runs]


def test_airflow_2_is_asked_by_its_own_api_with_user_and_password():
    """Version 1 of the API has no tokens."""
    requests = []
    answers = {"/api/v1/version": {"version": "2.10.5"}, "/api/v1/dags/x": {"is_paused": True}}
    with answering({**answers, "/api/v1/dags/x/dagRuns": {"dag_runs": [], "total_entries": 0}}, requests) as port:
        found = look(AirflowApi(f"http://127.0.0.1:{port}"), "x")
    assert (found.is_known, found.is_paused, found.active) == (True, True, ())
    assert requests[-1].headers["Authorization"].startswith("Basic ")

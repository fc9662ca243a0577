"""``messages reconcile`` where Airflow or the bus does not answer as it should; `test_cluster` has real ones."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from support.http_server import Response, http_server
from support.mesh import mesh_config
from support.ports import free_ports

from dkist_processing_core.failure_callback import RecipeRunFailureMessage
from dkist_processing_core.isb import pending

VERSION = {"/api/v2/version": {"version": "3.3.2"}}
DAG_ID = "a_to_b_cam_1.0"
DAG = {"description": "a_to_b_cam of dkist-processing-cam 1.0", "is_paused": False}
MOMENT = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
RUN = {"state": "failed", "start_date": MOMENT, "end_date": MOMENT, "conf": {"recipe_run_id": 1}}
INSTANCE = {"dag_id": DAG_ID, "dag_run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1, "hostname": "w"}


def failures(*instances, **run):
    """Return the answers of an API with failed tasks that nobody has reported."""
    instances = [{**INSTANCE, **each} for each in instances]
    return {
        **VERSION,
        "/api/v2/dags/~/dagRuns/~/taskInstances": {"task_instances": instances, "total_entries": len(instances)},
        f"/api/v2/dags/{DAG_ID}": DAG,
        f"/api/v2/dags/{DAG_ID}/dagRuns/r": {**RUN, **run},
    }


@pytest.fixture
def reconcile(command, monkeypatch):
    """Call the command with the answers of an API by their paths; return its exit status and what it prints."""
    monkeypatch.setenv("AIRFLOW_CLI_TOKEN", "token")

    def call(answers, *words):
        def answer(asked):
            found = answers.get(asked.path.partition("?")[0])
            return Response(404 if found is None else 200, json.dumps(found).encode())

        with http_server(answer) as port:
            status, output, error = command("messages", "reconcile", "--airflow", f"http://127.0.0.1:{port}", *words)
        return status, output + error

    return call


def test_dags_of_others_are_left_alone(reconcile):
    """A failed task of a DAG that this library has not made is not reported."""
    other = {"/api/v2/dags/other": {"description": "what others write", "is_paused": False}}
    assert reconcile({**failures({"dag_id": "other"}), **other}) == (0, "0 reported\n")


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


@pytest.fixture
def bus(monkeypatch):
    """A bus that does not answer, and the tries to send what is pending."""
    monkeypatch.setenv("MESH_CONFIG", mesh_config(free_ports(1)[0]))
    monkeypatch.setenv("DKIST_ISB_ENABLED", "true")
    monkeypatch.setattr(pending, "BATCH_SECONDS", 0.5)
    tries, send_pending = [], pending.send_pending

    def counted(**options):
        tries.append(options)
        return send_pending(**options)

    monkeypatch.setattr(pending, "send_pending", counted)
    return tries


def test_a_bus_that_is_down_is_waited_for_once(reconcile, bus, tmp_path):
    """Not for each message: all of them are in the spool folder by then, and are reported only once."""
    answers = failures(*({"task_id": name} for name in ("One", "Two", "Three")))
    status, text = reconcile(answers)
    assert status == 0
    assert "3 reported" in text
    assert "Warning: not all messages were sent" in text
    assert len(bus) == 1
    assert len(list((tmp_path / "spool").glob("*.json"))) == 3
    assert reconcile(answers) == (0, "0 reported\n")


def test_a_dry_run_reports_nothing(reconcile, bus, tmp_path):
    """Neither a message nor a record of one is left."""
    status, text = reconcile(failures({}), "--dry-run")
    assert status == 0
    assert text.endswith(" a_to_b_cam 1.0 t r\n1 would be reported\n")
    assert (bus, (tmp_path / "spool").exists()) == ([], False)


def test_a_spool_folder_that_cannot_be_written_is_an_error(reconcile, bus, monkeypatch, tmp_path):
    """Otherwise the same failures would be reported each hour."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "file" / "spool"))
    status, text = reconcile(failures({}))
    assert status == 1
    assert "see DKIST_ISB_SPOOL" in text
    assert bus == []


def test_without_a_bus_nothing_is_asked(reconcile, monkeypatch):
    """The error says why nothing is reported."""
    monkeypatch.setenv("DKIST_ISB_ENABLED", "false")
    assert reconcile({}) == (1, "Error: DKIST_ISB_ENABLED is false, so no failure is reported\n")


@pytest.mark.parametrize("hours", ["0", "169", "inf", "nan"])
def test_it_looks_back_no_further_than_records_are_kept(reconcile, hours):
    """Else what was reported would be reported again."""
    assert reconcile({}, "--hours", hours)[0] == 2


@pytest.mark.parametrize(
    ("instance", "run"),
    [
        ({"try_number": None}, {}),
        ({"map_index": None}, {}),
        ({"task_id": None}, {}),
        ({"dag_run_id": ["r"]}, {}),
        ({}, {"end_date": "yesterday"}),
        ({}, {"end_date": 5}),
        ({}, {"start_date": "yesterday"}),
        ({}, {"conf": "text"}),
    ],
)
def test_an_odd_answer_is_one_clear_error(reconcile, bus, instance, run):
    """Nothing is reported that may be another task."""
    status, text = reconcile(failures(instance, **run))
    assert status == 1
    assert "in an unknown form" in text
    assert "Traceback" not in text


def test_lost_failures_reach_the_bus_once(reconcile, broker, monkeypatch, tmp_path):
    """Each with the id that is printed, and nothing stays in the spool folder."""
    monkeypatch.setenv("DKIST_ISB_ENABLED", "true")
    answers = failures({"task_id": "One"}, {"task_id": "Two"})
    status, text = reconcile(answers)
    assert (status, text.splitlines()[-1]) == (0, "2 reported")
    assert reconcile(answers) == (0, "0 reported\n")
    ids = [properties.message_id for properties, _ in broker.take_all(RecipeRunFailureMessage.queue)]
    assert [f"reported: {each}" for each in ids] == [line[:42] for line in text.splitlines()[:-1]]
    assert list((tmp_path / "spool").glob("*.json")) == []

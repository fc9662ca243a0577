"""What a run of an exported workflow can be triggered with, over the API of a real Airflow."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from support.releases import EXPORT_ONE_FILE
from support.sources import workflows
from support.waiting import PATIENCE_SECONDS

DAG_ID = "a_to_b_trigger_1.0"
FILES = {
    "tasks.py": """
        from dkist_processing_core import TaskBase

        class Succeeds(TaskBase):
            def run(self): print(f"recipe run {self.recipe_run_id}")
    """,
    "workflows/flow.py": workflows("dkist_trigger_test", "trigger", {"": {"Succeeds": ""}}),
}
# As JSON, since Python would not write some of them; test_scheduling.py has more of them, as values.
REFUSED = {
    "number-of-65-bits": "18446744073709551616",
    "number-of-5000-digits": "1" * 5000,
    "text-of-5000-digits": f'"{"1" * 5000}"',
    "float-that-is-whole": "1.0",
    "large-exponent": "1e18",
    "infinite": "1e400",
    "NaN": "NaN",
    "zero": "0",
    "true": "true",
    "null": "null",
    "object": '{"id": 1}',
    "template": '"{{ 7 * 7 }}"',
    "missing": "",
}
# Those of which the answer names the parameter; JSON alone rules out some of the others.
NAMED = {"zero", "template", "missing"}


@pytest.fixture(scope="module")
def deployed(deploy):
    """Airflow with the exported workflow, all of the release in one file."""
    return deploy("dkist-trigger-test", FILES, export=EXPORT_ONE_FILE)


@pytest.fixture(scope="module")
def api(deployed):
    """A client of that Airflow, which runs, and which pauses what it finds unless a DAG says otherwise."""
    with deployed.serving(DAG_ID) as client:
        yield client


def post(api, text):
    """Trigger a run with a recipe run id that is written in JSON; return the status and the text of the answer."""
    connection = http.client.HTTPConnection(urlsplit(api.address).netloc, timeout=PATIENCE_SECONDS)
    given = f'"recipe_run_id": {text}' if text else ""
    body = f'{{"logical_date": null, "conf": {{{given}}}}}'
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {api.token}"}
    connection.request("POST", f"/api/v2/dags/{DAG_ID}/dagRuns", body, headers)
    answer = connection.getresponse()
    read = answer.read().decode()
    connection.close()
    return answer.status, read


@pytest.mark.parametrize(("name", "text"), REFUSED.items(), ids=REFUSED)
def test_a_recipe_run_id_that_no_task_takes_is_refused_by_the_trigger(api, name, text):
    """There is no run with it, so it reaches neither a task nor the DAG processor; the reason names the parameter."""
    runs = f"/api/v2/dags/{DAG_ID}/dagRuns"
    before = api.call("GET", runs)[1]["total_entries"]
    status, answer = post(api, text)
    assert 400 <= status < 500, answer
    assert name not in NAMED or (status, "recipe_run_id" in json.loads(answer)["detail"]) == (400, True), answer
    assert api.call("GET", runs)[1]["total_entries"] == before


@pytest.mark.parametrize("text", ["1", '"42"', str(2**53 - 1)])
def test_a_run_of_a_new_release_starts_at_once(api, deployed, text):
    """Airflow pauses a new DAG by default, in which a run would stay queued; the exported one is not paused."""
    assert "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION" not in deployed.airflow.environment
    assert api.call("GET", f"/api/v2/dags/{DAG_ID}")[1]["is_paused"] is False
    run = api.trigger(DAG_ID, {"recipe_run_id": json.loads(text)})
    assert api.wait_for_end(run)["state"] == "success"
    _, tasks = api.call("GET", f"{run}/taskInstances/Succeeds")
    assert tasks["rendered_fields"]["recipe_run_id"] == text.strip('"')
    assert tasks["rendered_fields"]["task"] == "dkist_trigger_test.tasks:Succeeds"

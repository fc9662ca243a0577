"""A client of Airflow's REST API (v2)."""

import json
import urllib.error
import urllib.request

from support.waiting import PATIENCE_SECONDS, wait_until

ENDED = {"success", "failed"}


class Api:
    """A client of Airflow's REST API (v2)."""

    def __init__(self, address, user, password):
        self.address = address
        self.token = None
        _, answer = self.call("POST", "/auth/token", {"username": user, "password": password})
        self.token = answer["access_token"]

    def call(self, method, path, body=None):
        """Return the status and the parsed body of the answer, whatever the status."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def wait_for_dag(self, dag_id):
        """Wait until Airflow has loaded a DAG."""
        wait_until(
            lambda: self.call("GET", f"/api/v2/dags/{dag_id}")[0] == 200,
            lambda: f"Airflow has not loaded {dag_id}: {self.call('GET', '/api/v2/importErrors')}",
            interval=0.5,
        )

    def trigger(self, dag_id, conf):
        """Start a run; return its address."""
        runs = f"/api/v2/dags/{dag_id}/dagRuns"
        status, run = self.call("POST", runs, {"logical_date": None, "conf": conf})
        assert status == 200, run
        return f"{runs}/{run['dag_run_id']}"

    def wait_for_end(self, address, seconds=2 * PATIENCE_SECONDS):
        """Wait until a run, or a task instance, has ended, and return it."""
        return wait_until(
            lambda: (found := self.call("GET", address)[1])["state"] in ENDED and found,
            lambda: f"not ended within {seconds:g} s: {self.call('GET', address)}",
            seconds=seconds,
            interval=0.5,
        )

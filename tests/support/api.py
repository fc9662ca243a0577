"""A client of Airflow's REST API (v2)."""

import json
import urllib.error
import urllib.request


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
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

"""
A client of Airflow's REST API: version 2 (Airflow 3) and version 1 (Airflow 2).

Runs in: terminal of the scheduler's machine. A list is read page by page, and a response of an unexpected form is an
error. User name, password and token never appear in an argument or a message.
"""

import json
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from dkist_processing_core.common.redaction import REDACTED, redact_urls
from dkist_processing_core.exceptions import AirflowApiError

__all__ = ["AirflowApi"]

SECONDS = 30.0
PAGE = 100
MOST_PAGES = 100_000
MOST_BYTES = 1 << 26
SHOWN_CHARACTERS = 300
# Without the bound, PostgreSQL returns runs without an end first.
LAST_ENDED_FIRST = {"order_by": "-end_date", "end_date_gte": "1970-01-01T00:00:00Z"}
CREDENTIALS = "Set AIRFLOW_CLI_TOKEN, or name a file with user:password in DKIST_AIRFLOW_CREDENTIALS_FILE"
NOT_AIRFLOW = "Give the address of Airflow's API server, such as http://localhost:8080"


class AirflowApi:
    """
    Airflow's REST API at an address, such as ``http://localhost:8080``.

    The credentials are ``user:password``, or a token, in ``AIRFLOW_CLI_TOKEN`` or in the file that
    ``DKIST_AIRFLOW_CREDENTIALS_FILE`` names.

    Raises
    ------
    AirflowApiError
        If the address cannot be used, or there are no credentials, or the API refuses them.
    """

    def __init__(self, address: str) -> None:
        self.address = _checked(address)
        self._opener = build_opener(_NoRedirect)
        self._secrets: tuple[str, ...] = ()
        user, secret = _credentials()
        self._secrets = (secret,)
        self.version: tuple[int, ...] = ()
        self._headers: dict[str, str] = {}
        self.base = f"{self.address}/api/v2"
        self._is_version_2 = self._has_version(self.base)
        if not self._is_version_2:
            self.base = f"{self.address}/api/v1"
            if not self._has_version(self.base):
                raise AirflowApiError(f"there is no Airflow API at {self.address}", remedy=NOT_AIRFLOW)
        self._log_in(user, secret)

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a DAG as Airflow describes it; None if Airflow has no DAG with that id."""
        status, answer = self._call("GET", f"/dags/{quote(dag_id, safe='')}", missing=True)
        if status == HTTPStatus.NOT_FOUND:
            return None
        self._expect(answer, "is_paused", bool)
        return dict(answer)

    def dags(self) -> Iterator[dict[str, Any]]:
        """Yield every DAG that Airflow lets this user see."""
        option = {"exclude_stale": "false"} if self._is_version_2 else {"only_active": "false"}
        yield from self._pages("/dags", "dags", {**option, "order_by": "dag_id"})

    def runs(self, dag_id: str, *states: str) -> Iterator[dict[str, Any]]:
        """Yield the runs of a DAG, or of all DAGs if the id is ``~``, that are in one of the states."""
        path = f"/dags/{quote(dag_id, safe='~')}/dagRuns"
        yield from self._pages(path, "dag_runs", {"state": list(states), "order_by": "id"})

    def ended(self) -> Iterator[dict[str, Any]]:
        """Yield the runs of all DAGs that have ended, the last one first."""
        yield from self._pages("/dags/~/dagRuns", "dag_runs", LAST_ENDED_FIRST)

    def last_ended(self, dag_id: str, *states: str) -> dict[str, Any] | None:
        """Return the run of a DAG that has ended last; None if there is none."""
        query = {**LAST_ENDED_FIRST, "limit": 1, "state": list(states)}
        _, answer = self._call("GET", f"/dags/{quote(dag_id, safe='')}/dagRuns?{urlencode(query, doseq=True)}")
        found = self._expect(answer, "dag_runs", list)
        return found[0] if found and isinstance(found[0], dict) else None

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run; an empty mapping if there is none with that id."""
        _, answer = self._call("GET", _run_path(dag_id, run_id), missing=True)
        return answer if isinstance(answer, dict) else {}

    def failed_tasks(self, since: datetime) -> Iterator[dict[str, Any]]:
        """Yield the failed task instances of all DAGs that have ended since a moment."""
        query = {"state": "failed", "end_date_gte": since.isoformat(), "order_by": "id"}
        yield from self._pages("/dags/~/dagRuns/~/taskInstances", "task_instances", query)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int) -> object:
        """Return the value of an XCom; None if there is none."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}/xcomEntries/{quote(key)}"
        _, answer = self._call("GET", f"{path}?map_index={map_index}", missing=True)
        return answer.get("value") if isinstance(answer, dict) else None

    def pause(self, dag_id: str, *, is_paused: bool) -> bool:
        """Pause or unpause a DAG; return whether Airflow knows it."""
        path = f"/dags/{quote(dag_id, safe='')}?update_mask=is_paused"
        status, answer = self._call("PATCH", path, {"is_paused": is_paused}, missing=True)
        if status == HTTPStatus.NOT_FOUND:
            return False
        if self._expect(answer, "is_paused", bool) is not is_paused:
            raise self._odd(f"is_paused of {dag_id} is {not is_paused} after it was set to {is_paused}")
        return True

    def _pages(self, path: str, key: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        count = 0
        for _ in range(MOST_PAGES):
            text = urlencode({**query, "limit": PAGE, "offset": count}, doseq=True)
            _, answer = self._call("GET", f"{path}?{text}")
            found = self._expect(answer, key, list)
            total = self._expect(answer, "total_entries", int)
            if any(not isinstance(each, dict) for each in found):
                raise self._odd(f"an entry of {key} is not an object")
            if not found and total > count:
                raise self._odd(f"it announces {total} {key} and returns {count}")
            yield from found
            count += len(found)
            if count >= total:
                return
        raise self._odd(f"its list of {key} does not end")

    def _has_version(self, base: str) -> bool:
        self.base = base
        status, answer = self._call("GET", "/version", missing=True)
        if status == HTTPStatus.NOT_FOUND:
            return False
        self.version = tuple(map(int, re.findall(r"\d+", self._expect(answer, "version", str))[:2]))
        return True

    def _log_in(self, user: str, secret: str) -> None:
        if user and self._is_version_2:
            request = {"username": user, "password": secret}
            base, self.base = self.base, self.address
            _, answer = self._call("POST", "/auth/token", request)
            self.base = base
            secret = self._expect(answer, "access_token", str)
            self._secrets = (*self._secrets, secret)
            user = ""
        basic = b64encode(f"{user}:{secret}".encode()).decode()
        self._secrets = (*self._secrets, basic)
        self._headers = {"Authorization": f"Basic {basic}" if user else f"Bearer {secret}"}

    def _call(self, method: str, path: str, body: object = None, *, missing: bool = False) -> tuple[int, Any]:
        """Return status and content of a response. Status 404 is an error unless the object may be ``missing``."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", **self._headers}
        data = None if body is None else json.dumps(body).encode()
        # The scheme was checked.
        request = Request(self.base + path, data=data, headers=headers, method=method)  # noqa: S310
        where = f"{method} {(self.base + path).partition('?')[0]}"
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                content, status = _read(answer), answer.status
        except HTTPError as error:
            with error:
                if error.code == HTTPStatus.NOT_FOUND and missing:
                    return error.code, None
                raise self._refused(where, error) from None
        except (HTTPException, OSError, URLError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                reason = f"no complete response within {SECONDS:g} s"
            raise AirflowApiError(
                f"Airflow's API does not answer: {where}: {self._shown(str(reason) or type(reason).__name__)}",
                remedy="Make sure that the API server is running, not overloaded, and reachable from this machine at "
                "that address, then try again",
            ) from None
        try:
            return status, json.loads(content)
        except (ValueError, RecursionError):
            text = " ".join(content[:SHOWN_CHARACTERS].decode(errors="replace").split())
            raise self._odd(f"{where} returned {text[:40]!r}, which is not JSON") from None

    def _refused(self, where: str, error: HTTPError) -> AirflowApiError:
        try:
            text = _read(error).decode(errors="replace")
        except (HTTPException, OSError):
            text = ""
        shown = f"{where}: {error.code} {error.reason}: {self._shown(text[:SHOWN_CHARACTERS])}".rstrip(": ")
        if error.code == HTTPStatus.UNAUTHORIZED:
            return AirflowApiError(f"Airflow's API refuses the credentials: {shown}", remedy=CREDENTIALS)
        if error.code == HTTPStatus.FORBIDDEN:
            remedy = "Use a valid token of a user who may read and edit the DAGs and read their runs"
            return AirflowApiError(f"Airflow's API does not permit this: {shown}", remedy=remedy)
        if error.code in range(300, 400):
            place = self._shown(error.headers.get("Location") or "")
            return AirflowApiError(f"Airflow's API redirects to another address, {place}: {where}", remedy=NOT_AIRFLOW)
        return AirflowApiError(
            f"Airflow's API answers with an error: {shown}", remedy="See the log of the API server, then try again"
        )

    def _expect(self, answer: Any, key: str, kind: type) -> Any:
        if not isinstance(answer, dict) or not isinstance(answer.get(key), kind):
            shown = json.dumps(answer)[:SHOWN_CHARACTERS]
            raise self._odd(f"{key} is missing or of the wrong type in {shown}")
        return answer[key]

    def _odd(self, what: str) -> AirflowApiError:
        return AirflowApiError(
            f"the server at {self.address} is not Airflow's API, or its version is unknown: {self._shown(what)}",
            remedy=NOT_AIRFLOW,
        )

    def _shown(self, text: str) -> str:
        for each in sorted(filter(None, self._secrets), key=len, reverse=True):
            text = text.replace(each, REDACTED)
        return redact_urls(text)


class _NoRedirect(HTTPRedirectHandler):
    """Follow no redirect: the request has credentials, and another server knows nothing of the runs."""

    def redirect_request(self, *_: object) -> None:
        """Return no request."""


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not address.isprintable() or " " in address:
        raise AirflowApiError(f"{redact_urls(address)!r} is not a valid address of Airflow's API", remedy=NOT_AIRFLOW)
    if "@" in parts.netloc:
        raise AirflowApiError("the address of Airflow's API contains a user name or a password", remedy=CREDENTIALS)
    return address.rstrip("/")


def _credentials() -> tuple[str, str]:
    """Return user and password, or an empty user and a token."""
    place, text = "AIRFLOW_CLI_TOKEN", os.environ.get("AIRFLOW_CLI_TOKEN")
    file = os.environ.get("DKIST_AIRFLOW_CREDENTIALS_FILE")
    if not (text or file):
        raise AirflowApiError("no credentials for Airflow's API are configured", remedy=CREDENTIALS)
    if not text and file:
        place = f"{file}, named by DKIST_AIRFLOW_CREDENTIALS_FILE,"
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise AirflowApiError(f"{place} cannot be read: {reason}", remedy=CREDENTIALS) from None
    text = (text or "").strip()
    user, colon, secret = text.partition(":")  # a token contains no colon
    user, secret = (user, secret) if colon else ("", text)
    if not secret or not text.isprintable() or not (user or secret.isascii()):
        raise AirflowApiError(f"{place} must be a single line with a token or user:password", remedy=CREDENTIALS)
    return user, secret


def _read(answer: Any) -> bytes:
    """Return the body of a response; one that is too slow or too large is an error."""
    deadline = time.monotonic() + SECONDS
    content = b""
    while chunk := answer.read1(1 << 20):
        content += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(content) > MOST_BYTES:
            raise HTTPException(f"the response has more than {MOST_BYTES} bytes")
    return content

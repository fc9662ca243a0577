"""
Ask a server by HTTP whether it responds, and which time it has.

Runs in: worker, the machine of the DAG processor, CI, with the standard library alone.
"""

import http.client
import socket
import time
import urllib.error
import urllib.request
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from dkist_processing_core.common.redaction import without_credentials

__all__ = ["SECONDS", "Answer", "connect", "get"]

SECONDS = 8.0  # less than a check may take, so that the check says who was silent


class Answer(NamedTuple):
    """The status of an answer, the time that it states, None if none, and ours in the middle of the exchange."""

    status: int
    date: datetime | None
    at: float

    @property
    def is_success(self) -> bool:
        """Whether the server did what it was asked for."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the statuses of success (RFC 9110)


def get(url: str, *, seconds: float = SECONDS) -> Answer:
    """Return the answer of a server, whatever its status, to a request without credentials; `OSError` without one."""
    began = time.time()
    try:
        request = urllib.request.Request(without_credentials(url), method="GET")  # noqa: S310 - the callers' own settings
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310 - likewise
            status, headers = response.status, response.headers
    except urllib.error.HTTPError as error:
        with error:
            status, headers = error.code, error.headers
    except (ValueError, http.client.HTTPException) as error:  # no address, or no HTTP
        raise OSError(str(error)) from error
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        date = None
    return Answer(status, date, (began + time.time()) / 2)


def connect(host: str, port: int, *, seconds: float = SECONDS) -> socket.socket:
    """Return a connection; `OSError` if there is none."""
    return socket.create_connection((host, port), timeout=seconds)

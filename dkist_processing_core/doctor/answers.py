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

SECONDS = 8.0  # less than a check may take, so that the check can name the server


class Answer(NamedTuple):
    """The status of a response, its ``Date`` or None, and the local time in the middle of the exchange."""

    status: int
    date: datetime | None
    at: float

    @property
    def is_success(self) -> bool:
        """Whether the status is that of a success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the statuses of success (RFC 9110)


def get(url: str, *, seconds: float = SECONDS) -> Answer:
    """Send a request without credentials; return the response, whatever its status, or raise an `OSError`."""
    began = time.time()
    try:
        request = urllib.request.Request(without_credentials(url), method="GET")  # noqa: S310 - the callers' own settings
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310 - likewise
            status, headers = response.status, response.headers
    except urllib.error.HTTPError as error:
        with error:
            status, headers = error.code, error.headers
    except (ValueError, http.client.HTTPException) as error:  # not an address, or not HTTP
        raise OSError(str(error)) from error
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        date = None
    return Answer(status, date, (began + time.time()) / 2)


def connect(host: str, port: int, *, seconds: float = SECONDS) -> socket.socket:
    """Return a connection, or raise an `OSError`."""
    return socket.create_connection((host, port), timeout=seconds)

"""
Send the buffered records to the interservice bus, in a thread of the task's process.

Runs in: task environment. pika and pydantic are imported here once a server answers at the address of the bus, and not
before: this import takes 0.15 s of processor time.
"""

import encodings.idna  # noqa: F401 - it would be imported in the thread otherwise, see `_before_fork`
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dkist_processing_core.common.settings import is_true
from dkist_processing_core.common.waits import end_seconds
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.isb.logs.buffer import Buffer
from dkist_processing_core.isb.logs.record import Encoder, event_row, seconds_of

if TYPE_CHECKING:
    from dkist_processing_core.isb.channel import Channel
    from dkist_processing_core.isb.connection import Connection
    from dkist_processing_core.isb.errors import PublishError

__all__ = ["Sender"]

QUEUE, ROUTING_KEY, MESSAGE_TYPE = "task.log.q", "task.log.m", "task.log"
CONTENT_TYPE = "application/x-ndjson"
# Limits of one message, and of the number of unconfirmed messages: while the task runs, and at its end.
MOST_RECORDS, MOST_BYTES = 200, 100_000
WINDOW, LAST_WINDOW = 20, 100
# Pause after each window, so that a task that floods its log seldom waits for the GIL.
PAUSE_SECONDS = 0.2
# Delay before anything is imported and sent, unless the task ends sooner, so that a short burst is not disturbed.
DELAY_SECONDS = 2.0
PROBE_SECONDS = 1.0
CONNECT_SECONDS = 5.0
# How long the broker may take to confirm a message, unless it blocks publishers.
CONFIRM_SECONDS = 15.0
BLOCKED_SECONDS = 3600.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.4, 5.0
# Pause after an error that a person has to correct, such as a wrong password.
CORRECTION_SECONDS = 30.0
# Shares of the time that the end of the task may take: for sending in all, and without any progress.
END_SHARE, PATIENCE_SHARE = 0.9, 0.5
# How long a fork may wait for an import in this thread.
FORK_SECONDS = 3.0


class Batch(NamedTuple):
    """A message, the number of records in it, and the number of those that it reports as missing."""

    envelope: Envelope
    records: int
    missing: int


class Sender(threading.Thread):
    """
    Sends records from a buffer until it is closed.

    ``metadata`` is the same for all records; its keys become keys of the line of JSON. ``confirmed`` is the number of
    records that the broker has confirmed.
    """

    def __init__(self, buffer: Buffer, metadata: Mapping[str, Any]) -> None:
        super().__init__(name="dkist-isb-logs", daemon=True)
        self.confirmed = 0
        self._buffer = buffer
        self._encoder = Encoder(metadata)
        self._run_id = os.urandom(16).hex()
        self._unconfirmed: list[Batch] = []
        self._connection: Connection | None = None
        self._where = self._fault = ""
        self._is_retryable = True
        self._closing = threading.Event()
        self._done = threading.Event()
        self._closed_at = self._progress_at = 0.0

    @property
    def fault(self) -> str:
        """Why records are not sent at the moment; empty if they are."""
        connection = self._connection
        blocked = connection.blocked if connection is not None else ""
        return f"{self._where}the broker blocks publishers ({blocked})" if blocked else self._fault

    def close(self) -> None:
        """Send the remaining records, within the time that the end of a task may take."""
        self._closed_at = self._closed_at or time.monotonic()
        self._closing.set()
        while not self._done.wait(PAUSE_SECONDS):
            now = time.monotonic()
            if now - self._closed_at > end_seconds(END_SHARE):
                return
            if now - max(self._closed_at, self._progress_at) > end_seconds(PATIENCE_SHARE):
                return

    def run(self) -> None:
        """Connect and send, and reconnect after a failure; once the log is closed, at most one more time."""
        self._closing.wait(DELAY_SECONDS)
        retry_seconds = FIRST_RETRY_SECONDS
        is_last = False
        while not is_last:
            before, is_last = self.confirmed, self._closing.is_set()
            try:
                self._connect_and_send()
                break
            except Exception as error:
                self._note_failure(error)
            retry_seconds = FIRST_RETRY_SECONDS if self.confirmed > before else 2 * retry_seconds
            # With jitter, so that the tasks of a site do not all reconnect to a broker at the same moment.
            pause = min(retry_seconds, LONGEST_RETRY_SECONDS) * (0.5 + os.urandom(1)[0] / 512)
            is_last |= (
                self._closing.wait(pause if self._is_retryable else CORRECTION_SECONDS) and not self._is_retryable
            )
        self._done.set()

    def _connect_and_send(self) -> None:
        """Send until the log is closed and everything is sent."""
        self._progress_at = time.monotonic()
        self._is_retryable = True
        host, port = _address()
        self._where = f"interservice bus at {host}:{port}: " if host else ""
        self._fault = f"{self._where}the broker does not answer"
        if host:
            # RabbitMQ treats a connection that is closed at once as a health check.
            socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
        self._progress_at = float("inf")  # an import always ends, but a slow disk makes it slow
        with _importing:
            from dkist_processing_core.isb.channel import Channel
            from dkist_processing_core.isb.connection import Connection, disable_pika_logs
            from dkist_processing_core.isb.settings import isb_configuration

            configuration = isb_configuration()
        self._progress_at = time.monotonic()
        disable_pika_logs()
        with closing(Connection(configuration, seconds=CONNECT_SECONDS, blocked_seconds=BLOCKED_SECONDS)) as connection:
            self._connection = connection
            channel = Channel(connection, QUEUE, ROUTING_KEY, deadline=time.monotonic() + CONNECT_SECONDS)
            self._fault = ""
            self._send(connection, channel)

    def _note_failure(self, error: Exception) -> None:
        self._connection = None
        if isinstance(error, OSError):  # which is raised before pika is imported
            self._fault = f"{self._where}{type(error).__name__}: {error}"
            return
        from dkist_processing_core.isb.errors import as_publish_error

        failure = as_publish_error(error)
        self._fault, self._is_retryable = f"{self._where}{failure}", failure.retryable

    def _send(self, connection: "Connection", channel: "Channel") -> None:
        for each in self._unconfirmed:  # from the previous connection
            self._publish(channel, each)
        while True:
            is_closing = self._closing.is_set()
            window = LAST_WINDOW if is_closing else WINDOW
            while len(self._unconfirmed) < window and (batch := self._next_batch()):
                self._unconfirmed.append(batch)
                self._publish(channel, batch)
            if is_closing and not self._unconfirmed:
                return
            while self._unconfirmed:
                channel.wait_for_answer(CONFIRM_SECONDS)
                self._progress_at = time.monotonic()
            connection.serve()
            self._closing.wait(PAUSE_SECONDS)

    def _next_batch(self) -> Batch | None:
        first, missing, rows = self._buffer.take(MOST_RECORDS, MOST_BYTES)
        if not rows:
            return None
        lines = [self._encoder.line(sequence, row) for sequence, row in enumerate(rows, start=first)]
        if missing:
            first -= 1
            reason = self.fault or "more were logged than could be sent"
            note = event_row(f"{missing} log records of the task were dropped: {reason}")
            lines.insert(0, self._encoder.line(first, note, missing))
        envelope = Envelope(
            queue=QUEUE,
            routing_key=ROUTING_KEY,
            body="".join(lines),
            message_id=f"{self._run_id}-{first}",
            type=MESSAGE_TYPE,
            timestamp=int(seconds_of(rows[0])),
        )
        return Batch(envelope, len(rows), missing)

    def _publish(self, channel: "Channel", batch: Batch) -> None:
        channel.publish(batch.envelope, partial(self._settle, channel, batch), CONTENT_TYPE)

    def _settle(self, channel: "Channel", batch: Batch, refusal: "PublishError | None") -> None:
        if channel.is_closed:
            return  # the batch is sent again
        self._unconfirmed.remove(batch)
        if refusal is None:
            self.confirmed += batch.records
            self._fault = ""
        else:
            self._buffer.count_as_missing(batch.records + batch.missing)
            self._fault = f"{self._where}{refusal}"


def _address() -> tuple[str, int]:
    """Return host and port of the bus without pydantic; no host if MESH_CONFIG is invalid, which pydantic reports."""
    port = 5671 if is_true(os.environ.get("DKIST_ISB_TLS", "")) else 5672
    try:
        service = json.loads(os.environ.get("MESH_CONFIG") or "{}").get("interservice-bus")
        return ("localhost", port) if service is None else (str(service["mesh_address"]), int(service["mesh_port"]))
    except Exception:
        return "", port


_importing = threading.RLock()
_acquired: list[bool] = []


def _before_fork() -> None:
    # A child process that is forked while another thread imports a module would wait for that module forever.
    _acquired.append(_importing.acquire(timeout=FORK_SECONDS))


def _after_fork() -> None:
    if _acquired.pop():
        _importing.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)

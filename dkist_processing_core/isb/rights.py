"""
Find out what a user may do on the interservice bus, without publishing or leaving anything there.

Runs in: worker, the machine of the DAG processor, when ``doctor`` checks it. A client cannot ask RabbitMQ for its
permissions; RabbitMQ refuses what is not permitted. So each operation is tried. To find out whether the user may
declare something that does not exist, it is deleted: this needs the same permission and changes nothing.
"""

import time
import uuid
from contextlib import closing
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from dkist_processing_core.isb.connection import Connection, disable_pika_logs
from dkist_processing_core.isb.errors import PublishError, as_publish_error
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["missing_rights"]

ACCESS_REFUSED = 403
# This exchange exists on every broker. For a moment it is bound to ours, with a key that no message has.
SOURCE = "amq.direct"


def missing_rights(configuration: InterserviceBusConfiguration, queues: list[str], *, seconds: float) -> list[str]:
    """
    Return the missing permissions: to declare the exchange and the queues that do not exist, and to publish.

    What exists need not be declared. Without a connection, a `PublishError` is raised.
    """
    disable_pika_logs()
    deadline = time.monotonic() + seconds
    exchange = configuration.isb_exchange
    with closing(Connection(configuration, seconds=seconds)) as connection:
        broker = _Broker(connection, deadline)
        needed = [("exchange", exchange), *(("queue", queue) for queue in queues)]
        found = [str(error) for kind, name in needed if (error := broker.may_declare(kind, name))]
        if not found and (error := broker.may_publish(exchange)):
            found.append(str(error))
    return found


class _Broker:
    """Tries operations on a broker, each in a channel of its own, since a refusal closes the channel."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def may_declare(self, kind: str, name: str) -> PublishError | None:
        """Return why the user may not declare an exchange or a queue; None if this is permitted, or if it exists."""
        if not self._refusal(f"{kind}_declare", name, passive=True):
            return None
        # If it was declared by another client in the meantime, it is deleted only if it is unused, and a queue if it is
        # empty.
        is_unused = {"if_unused": True} if kind == "exchange" else {"if_unused": True, "if_empty": True}
        refusal = self._refusal(f"{kind}_delete", name, **is_unused)
        return as_publish_error(refusal) if refusal and refusal.reply_code == ACCESS_REFUSED else None

    def may_publish(self, exchange: str) -> PublishError | None:
        """Return why the user may not publish to an exchange; None if this is permitted, or if it does not exist."""
        # Binding an exchange to another one requires write permission on the former, which RabbitMQ checks first.
        key = f"dkist-processing-core.rights.{uuid.uuid4().hex}"
        refusal = self._refusal("exchange_bind", exchange, SOURCE, routing_key=key)
        if refusal is None:
            self._refusal("exchange_unbind", exchange, SOURCE, routing_key=key)
            return None
        is_right_missing = refusal.reply_code == ACCESS_REFUSED and f"exchange '{exchange}'" in refusal.reply_text
        return as_publish_error(refusal) if is_right_missing else None

    def _refusal(self, method: str, *arguments: Any, **options: Any) -> ChannelClosedByBroker | None:
        closures: list[BaseException] = []
        done: list[object] = []
        channel = self._connection.transport.channel(on_open_callback=lambda _: None)
        channel.add_on_close_callback(lambda _, reason: closures.append(reason))
        self._connection.require(lambda: channel.is_open, self._deadline)
        getattr(channel, method)(*arguments, callback=done.append, **options)
        self._connection.require(lambda: done or closures, self._deadline)
        if not closures:
            channel.close()
            self._connection.require(lambda: channel.is_closed, self._deadline)
        return next((each for each in closures if isinstance(each, ChannelClosedByBroker)), None)

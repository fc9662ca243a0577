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

from dkist_processing_core.isb.amqp import Connection, disable_pika_logs
from dkist_processing_core.isb.errors import PublishError, as_publish_error
from dkist_processing_core.isb.settings import InterserviceBusConfiguration

__all__ = ["missing_rights"]

ACCESS_REFUSED = 403
# Every broker has it. A message that is published there reaches ours only with the key of a binding for a moment.
SOURCE = "amq.direct"


def missing_rights(configuration: InterserviceBusConfiguration, queues: list[str], *, seconds: float) -> list[str]:
    """
    Return what the user may not do and would have to: declare what does not exist, and publish.

    What exists needs no right to declare it. `PublishError` if there is no connection.
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
    """A broker, asked for one thing after the other, each in a channel of its own, since a refusal closes that."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def may_declare(self, kind: str, name: str) -> PublishError | None:
        """Return why an exchange or a queue that does not exist cannot be declared; nothing is declared."""
        if not self._refusal(f"{kind}_declare", name, passive=True):
            return None
        # Should somebody else declare it meanwhile, it is not removed unless it is good for nothing yet.
        is_unused = {"if_unused": True} if kind == "exchange" else {"if_unused": True, "if_empty": True}
        refusal = self._refusal(f"{kind}_delete", name, **is_unused)
        return as_publish_error(refusal) if refusal and refusal.reply_code == ACCESS_REFUSED else None

    def may_publish(self, exchange: str) -> PublishError | None:
        """Return why nothing can be published to an exchange; nothing is known of one that does not exist."""
        # Whoever binds an exchange to another one needs the right to write to it, which is looked at first.
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

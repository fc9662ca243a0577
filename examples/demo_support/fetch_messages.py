"""
Take the failure messages of some runs from the interservice bus, and leave all others in the queue.

Run it with a Python that has the library. The arguments are Airflow's ids of the runs. It prints JSON: the address of
the broker, whether it answers, and the messages.
"""

import json
import sys
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from dkist_processing_core.config import DKISTProcessingCoreConfiguration
from dkist_processing_core.failure_callback import RecipeRunFailureMessage

SECONDS = 3.0


def main() -> None:
    """Connect, fetch the messages, and print them."""
    configuration = DKISTProcessingCoreConfiguration()
    broker = configuration.isb_mesh_service
    report: dict[str, Any] = {"broker": f"{broker.host}:{broker.port}", "answers": False, "messages": []}
    try:
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                host=broker.host,
                port=broker.port,
                credentials=pika.PlainCredentials(configuration.isb_username, configuration.isb_password),
                socket_timeout=SECONDS,
                stack_timeout=SECONDS,
                blocked_connection_timeout=SECONDS,
            )
        )
        report["answers"] = True
        with connection:
            report["messages"] = fetched(connection.channel(), wanted=set(sys.argv[1:]))
    except (AMQPError, OSError) as error:
        report["error"] = f"{type(error).__name__}: {error}".rstrip(": ")
    print(json.dumps(report))


def fetched(channel: Any, *, wanted: set[str]) -> list[dict[str, Any]]:
    """Return the messages of the runs; closing the connection puts all others back into the queue."""
    queue = RecipeRunFailureMessage.queue
    messages = []
    try:
        count = channel.queue_declare(queue, passive=True).method.message_count
    except ChannelClosedByBroker:  # nothing was ever published, so there is no queue yet
        return []
    for _ in range(count):
        method, properties, body = channel.basic_get(queue)
        if method is None:
            break
        content = content_of(body)
        if content.get("dagRunId") in wanted:
            channel.basic_ack(method.delivery_tag)
            messages.append(
                {
                    "body": content,
                    "routing_key": method.routing_key,
                    "queue": queue,
                    "message_id": properties.message_id,
                }
            )
    return messages


def content_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a message; empty if it is a message of another kind."""
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


if __name__ == "__main__":
    main()

"""
Take the failure messages of some runs from the interservice bus, and leave all others where they are.

A program for an environment that has the library. The arguments are Airflow's ids of the runs. It prints JSON: whether
a broker answers, where, and the messages.
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
    """Connect, fetch, and print what has been found."""
    configuration = DKISTProcessingCoreConfiguration()
    broker = configuration.isb_mesh_service
    found: dict[str, Any] = {"broker": f"{broker.host}:{broker.port}", "answers": False, "messages": []}
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
        found["answers"] = True
        with connection:
            found["messages"] = fetched(connection.channel(), wanted=set(sys.argv[1:]))
    except (AMQPError, OSError) as error:
        found["error"] = f"{type(error).__name__}: {error}".rstrip(": ")
    print(json.dumps(found))


def fetched(channel: Any, *, wanted: set[str]) -> list[dict[str, Any]]:
    """Return the messages of the runs; closing the connection puts all others back into the queue."""
    queue = RecipeRunFailureMessage.queue
    messages = []
    try:
        waiting = channel.queue_declare(queue, passive=True).method.message_count
    except ChannelClosedByBroker:  # nothing was ever published, so there is no queue yet
        return []
    for _ in range(waiting):
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
    """Return the object that a message holds, an empty one if it is somebody else's and holds something else."""
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


if __name__ == "__main__":
    main()

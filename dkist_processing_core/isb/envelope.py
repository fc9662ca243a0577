"""
A message with all that is needed to publish it, now or later.

Runs in: worker. It needs only the standard library, so that a message can be kept even where pika cannot be imported.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["Envelope"]


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """
    One message and where it goes.

    Attributes
    ----------
    exchange
        Name of the exchange, of type direct and durable.
    routing_key
        Routing key of the message, and of the binding of the queue.
    queue
        Name of the durable queue that it must reach.
    body
        The body as text, JSON.
    message_id
        Same for the same event, however often it is told, so that a consumer can drop a repetition.
    queue_arguments
        Arguments with which the queue is declared, such as ``{"x-queue-type": "quorum"}``.
    """

    exchange: str
    routing_key: str
    queue: str
    body: str
    message_id: str
    queue_arguments: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the envelope as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Envelope":
        """
        Return the envelope that `to_json` made the text from.

        Raises
        ------
        ValueError
            If the text is no such thing.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"this is no message: {error}") from error

"""
A message with all that is needed to publish it, now or later.

Runs in: worker, DAG processor. It needs only the standard library, so that a message can be kept even where pika
cannot be imported.
"""

import json
from dataclasses import asdict, dataclass, fields

__all__ = ["Envelope"]

# The limits of AMQP 0-9-1 for a short string and for an unsigned integer of 64 bits.
SHORT_STRING = 255
LONG_LONG = 2**64


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """
    One message and where it goes.

    The exchange and the type of the queue are not in it: they are settings, and those at the time of sending count. So
    a message that was kept because a setting was wrong can be sent once it is right.

    Attributes
    ----------
    routing_key
        Routing key of the message, and of the binding of the queue.
    queue
        Name of the durable queue that it must reach.
    body
        The body as text, JSON.
    message_id
        Same for the same event, however often it is told, so that a consumer can drop a repetition.
    type
        Kind of the message, for who looks at the queue.
    timestamp
        When it happened, in seconds since 1970 (UTC); 0 if that is not known.
    """

    routing_key: str
    queue: str
    body: str
    message_id: str
    type: str = ""
    timestamp: int = 0

    def to_json(self) -> str:
        """Return the envelope as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Envelope":
        """
        Return the envelope that `to_json` made the text from.

        What another release has written into it beyond the attributes is passed over.

        Raises
        ------
        ValueError
            If the text is no such thing.
        """
        try:
            facts = json.loads(text)
            envelope = cls(**{each.name: facts[each.name] for each in fields(cls) if each.name in facts})
        except (AttributeError, RecursionError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        envelope._check()
        return envelope

    def _check(self) -> None:
        """Raise a `ValueError` for what AMQP has no place for."""
        for name in ("routing_key", "queue", "message_id", "type"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value.encode(errors="replace")) > SHORT_STRING:
                raise ValueError(f"{name} is no text of at most {SHORT_STRING} bytes: {value!r:.80}")
        if not self.routing_key or not self.queue:
            raise ValueError("routing_key or queue is empty")
        if not isinstance(self.timestamp, int) or not 0 <= self.timestamp < LONG_LONG:
            raise ValueError(f"timestamp is no number of seconds: {self.timestamp!r:.80}")
        if not isinstance(self.body, str):
            raise ValueError(f"body is no text: {self.body!r:.80}")  # noqa: TRY004 - the file is at fault, not a type
        self.body.encode()

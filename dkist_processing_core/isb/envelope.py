"""
A message with everything that is needed to publish it, now or later.

Runs in: worker, DAG processor, with the standard library alone, so that a message can be spooled without pika.
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
    One message and its destination.

    The exchange and the type of the queue are settings, which are read when the message is sent. So a message that was
    spooled because of a wrong setting can be sent once the setting is correct.
    """

    routing_key: str  # of the message, and of the binding of the queue
    queue: str  # the durable queue that it must reach
    body: str  # JSON
    message_id: str  # duplicates carry the same id
    type: str = ""  # for people who look at the queue
    timestamp: int = 0  # time of the event, in seconds since 1970 (UTC); 0 if unknown

    def to_json(self) -> str:
        """Return the envelope as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Envelope":
        """
        Return the envelope from the text that `to_json` returned; keys that another release added are ignored.

        A text that is not an envelope, or one that AMQP cannot carry, raises a `ValueError`.
        """
        try:
            values = json.loads(text)
            envelope = cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})
        except (AttributeError, RecursionError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        for name in ("routing_key", "queue", "message_id", "type"):
            value = getattr(envelope, name)
            # A text that UTF-8 cannot encode also raises a ValueError.
            if not isinstance(value, str) or len(value.encode()) > SHORT_STRING:
                raise ValueError(f"{name} is not a string of at most {SHORT_STRING} bytes: {value!r:.80}")
        if not envelope.routing_key or not envelope.queue:
            raise ValueError("routing_key or queue is empty")
        # RabbitMQ removes line breaks, so its answer to the declaration has another name, and pika would wait in vain.
        if {"\r", "\n"} & {*envelope.queue}:
            raise ValueError(f"queue contains a line break: {envelope.queue!r:.80}")
        if not isinstance(envelope.timestamp, int) or not 0 <= envelope.timestamp < LONG_LONG:
            raise ValueError(f"timestamp is not a number of seconds: {envelope.timestamp!r:.80}")
        if not isinstance(envelope.body, str):
            raise ValueError(f"body is not a string: {envelope.body!r:.80}")  # noqa: TRY004 - the file is at fault
        envelope.body.encode()
        return envelope

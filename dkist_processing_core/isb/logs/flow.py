"""
How many log records go out at once and in a second, and which of them the broker has not confirmed yet.

Runs in: task environment, in the log shipper.
"""

import time

from dkist_processing_core.isb.logs.outbox import Message

__all__ = ["PACE_SECONDS", "Flow"]

# How many messages may be on the way without being confirmed: more as long as the broker is quick, fewer if it is not,
# so that what has to be said at the end does not wait behind others for long.
LEAST_WINDOW, FIRST_WINDOW, WIDEST_WINDOW = 20, 200, 1_000
QUICK_SECONDS = 0.2
WINDOW_BYTES = 2 << 20
# A task that floods its log shall have its processor, and the broker shall have time for others; so as long as there is
# room to hold records, no more than so many go out per second.
PACE = 2_000
PACE_SECONDS = 0.05


class Flow:
    """What goes out over one channel, whose delivery tags begin at 1."""

    def __init__(self) -> None:
        self._tag = 0
        self._sent: dict[int, tuple[Message, float]] = {}
        self._bytes = 0
        self._window = FIRST_WINDOW
        self._allowed: float = PACE
        self._allowed_at = self._heard_at = time.monotonic()

    def allow(self, *, hurries: bool) -> None:
        """Let the time that has passed count; in a hurry the pace does not matter."""
        now = time.monotonic()
        self._allowed = PACE if hurries else min(PACE, self._allowed + PACE * (now - self._allowed_at))
        self._allowed_at = now
        if not self._sent:
            self._heard_at = now

    @property
    def may_send(self) -> bool:
        """Whether one more message may go out."""
        return self._allowed >= 1 and len(self._sent) < self._window and self._bytes < WINDOW_BYTES

    @property
    def is_held_back(self) -> bool:
        """Whether it is the pace that does not let a message go out."""
        return self._allowed < 1

    @property
    def has_room(self) -> bool:
        """Whether it is worth while to send more."""
        return len(self._sent) <= self._window // 2

    @property
    def unconfirmed(self) -> list[Message]:
        """What is on the way, the oldest first."""
        return [message for message, _ in self._sent.values()]

    @property
    def silent_seconds(self) -> float:
        """For how long the broker has not confirmed anything although something is on the way."""
        return time.monotonic() - self._heard_at if self._sent else 0.0

    def wait(self) -> None:
        """Let the broker have as much time again, since it has said why it confirms nothing."""
        self._heard_at = time.monotonic()

    def sent(self, message: Message) -> None:
        """Note that a message is on the way."""
        self._tag += 1
        self._allowed -= 1
        self._sent[self._tag] = message, time.monotonic()
        self._bytes += len(message.body)

    def answered(self, tag: int, *, multiple: bool) -> list[Message]:
        """Note an answer of the broker; return the messages that it is about."""
        self._heard_at = time.monotonic()
        settled = []
        for each in [each for each in self._sent if each <= tag] if multiple else [tag]:
            message, sent_at = self._sent.pop(each, (None, 0.0))
            if message is None:
                continue
            settled.append(message)
            self._bytes -= len(message.body)
            if self._heard_at - sent_at < QUICK_SECONDS:
                self._window = min(self._window + 1, WIDEST_WINDOW)
            else:
                self._window = max(self._window - 1, LEAST_WINDOW)
        return settled

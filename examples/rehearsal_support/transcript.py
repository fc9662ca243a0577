"""The transcript of the rehearsal: what was done and found, without what differs from run to run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from demo_support.console import Console

__all__ = ["STEPS", "RehearsalError", "Transcript"]

STEPS = (
    "A site with 7.5.0, and its history",
    "Stop, back up, install release 8, start",
    "The history is there, and old DAGs run",
    "New releases run beside the old ones",
    "What is deployed, and whether each machine is in order",
    "Back to 7.5.0",
    "Release 8 again",
)
# What differs from run to run.
VARYING = (
    (r"-\d{8}T\d{6}-\w+", "-TIME"),
    (r"manual__\d{4}-\d\d-\d\dT[^ ]+", "manual__TIME"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d)?", "TIME"),
)


class RehearsalError(Exception):
    """Something is not as expected. The message says what was found."""


class Transcript:
    """
    Lines that are shown at once, and kept.

    Parameters
    ----------
    console
        Where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: list[str] = []
        self.names: dict[str, str] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Begin a step."""
        self.lines += ["", f"[{STEPS.index(title) + 1}/{len(STEPS)}] {title}"]
        with self.console.step(title):
            yield

    def say(self, text: str) -> None:
        """Write a line."""
        line = self.stable(text)
        self.lines.append(f"    {line}")
        self.console.say(f"      {line}", *(["green"] if line.startswith("ok  ") else []))

    def command(self, text: str, output: str = "") -> None:
        """Write a command as an operator types it, and what of its output is worth showing."""
        for line in [f"$ {text}", *output.strip().splitlines()]:
            self.say(line.rstrip())

    def expect(self, claim: str, found: object, expected: object) -> None:
        """Write that something is as expected, or raise `RehearsalError`."""
        if found != expected:
            raise RehearsalError(f"not so: {claim}\n  expected: {expected!r}\n  found:    {found!r}")
        self.say(f"ok  {claim}")

    def stable(self, text: str) -> str:
        """Return a text with the names of a site in the place of those of this machine, and without times."""
        for name, shown in sorted(self.names.items(), key=lambda item: -len(item[0])):
            text = text.replace(name, shown)
        for pattern, replacement in VARYING:
            text = re.sub(pattern, replacement, text)
        return text

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines).strip("\n") + "\n"

"""Replay the console blocks of a page of the documentation in one shell."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.command_line import run_command

ELIDED = "..."
BLOCK = re.compile(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", re.MULTILINE)
MARK = "@@@ end of a command @@@"
# What differs from run to run, and what it is replaced by.
VARYING = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d)?", "TIME"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"-\d{8}T\d{6}-\d{6}\b", "-RUN"),
    (r"\b\d+(\.\d+)?( min \d+)? (ms|s|s ago|min|min ago)\b", "DURATION"),
    (r"\b\d+ M\b", "SIZE"),
    (r"-[0-9a-f]{12,}\b", "-KEY"),
    (r"\b(?<![\w.-])\d+(\.\w+)+(?= added)", "VERSION"),
    (r" +", " "),
)


@dataclass(frozen=True)
class Command:
    """A command of a transcript, and its output there, or as it was."""

    text: str
    output: tuple[str, ...]


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of the console blocks of a page, in order."""
    for block in BLOCK.findall(page):
        lines = [line[3:].rstrip() for line in block.rstrip().splitlines()]
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            text, output = lines[start][2:], lines[start + 1 : end]
            while text.endswith("\\"):
                text = f"{text[:-1]}{output.pop(0).removeprefix('>').strip()}"
            yield Command(text, tuple(output))


def replay(texts: list[str], home: Path, environment: Mapping[str, str]) -> list[Command]:
    """Run commands in one shell that begins in a home folder; return each with its output."""
    script = "".join(f"{text}\nprintf '\\n%s\\n' '{MARK}'\n" for text in texts)
    environment = {**environment, "HOME": str(home)}
    done = run_command("bash", "--norc", "-s", text=script, cwd=home, env=environment, merge=True)
    *outputs, _ = done.stdout.split(f"\n{MARK}\n")
    shown = [output.replace(str(home), "~").strip("\n").splitlines() for output in outputs]
    return [Command(text, tuple(lines)) for text, lines in zip(texts, shown, strict=True)]


def normalized(line: str) -> str:
    """Return a line without what differs from run to run."""
    for pattern, replacement in VARYING:
        line = re.sub(pattern, replacement, line)
    return line.strip()


def agrees(expected: Sequence[str], actual: Sequence[str]) -> bool:
    """Return whether an output is what a transcript shows, where ``...`` stands for any text, or any lines."""
    if not expected:
        return not actual
    first, *rest = expected
    if first.strip() == ELIDED:
        return any(agrees(rest, actual[number:]) for number in range(len(actual) + 1))
    pattern = ".*".join(re.escape(normalized(part)) for part in first.split(ELIDED))
    return bool(actual) and bool(re.fullmatch(pattern, normalized(actual[0]))) and agrees(rest, actual[1:])

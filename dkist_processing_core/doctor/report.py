"""
The results of the checks of a machine.

Runs in: worker, the machine of the DAG processor, CI.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

__all__ = ["CheckError", "Finding", "Line", "Report", "Status"]


class Status(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_NEEDED = "not needed"
    NOT_CHECKED = "not checked"


class Finding(NamedTuple):
    """The result of one check, and the remedy if something is wrong: a command or a setting."""

    status: Status
    found: str
    remedy: str = ""

    @classmethod
    def ok(cls, found: str) -> Self:
        """Return the finding that everything is correct."""
        return cls(Status.OK, found)

    @classmethod
    def warning(cls, found: str, remedy: str) -> Self:
        """Return the finding that something costs time or safety."""
        return cls(Status.WARNING, found, remedy)

    @classmethod
    def failed(cls, found: str, remedy: str) -> Self:
        """Return the finding that something will not work."""
        return cls(Status.FAILED, found, remedy)

    @classmethod
    def not_needed(cls, why: str) -> Self:
        """Return the finding that this machine does not need the check."""
        return cls(Status.NOT_NEEDED, why)

    @classmethod
    def not_checked(cls, why: str) -> Self:
        """Return the finding that this check could not be run, for a reason that another check reports."""
        return cls(Status.NOT_CHECKED, why)


class CheckError(Exception):
    """A check has failed, with what was found and the remedy."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.finding = Finding.failed(found, remedy)


@dataclass(frozen=True)
class Line:
    """The finding of a check, with the name of the check."""

    check: str
    status: Status
    found: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """The lines of all checks of a machine."""

    place: str
    lines: tuple[Line, ...]

    @property
    def is_sound(self) -> bool:
        """Whether no check has failed."""
        return all(line.status is not Status.FAILED for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        return {"place": self.place, "is_sound": self.is_sound, "checks": list(map(asdict, self.lines))}

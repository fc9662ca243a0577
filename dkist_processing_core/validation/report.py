"""
What the checks have to say: faults and warnings, gathered into one report.

Runs in: author and CI.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dkist_processing_core.exceptions import WorkflowError, WorkflowValidationError

if TYPE_CHECKING:
    from dkist_processing_core.authoring.spec import WorkflowSpec

__all__ = ["Fault", "Report"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """
    One thing that is wrong with a workflow package.

    Attributes
    ----------
    where
        The place in the package, as ``module`` or ``module:variable``.
    what
        What is wrong, with the value.
    remedy
        What to do about it.
    workflow, task
        Names of the workflow and the task at fault, where there are such.
    """

    where: str
    what: str
    remedy: str
    workflow: str | None = None
    task: str | None = None

    @classmethod
    def of(cls, error: WorkflowError, *, where: str, workflow: str | None = None) -> "Fault":
        """Take the facts over from an error."""
        return cls(
            where=where,
            what=error.what,
            remedy=error.remedy,
            workflow=error.workflow or workflow,
            task=error.task,
        )

    def __str__(self) -> str:
        subject = ", ".join(
            [f"{kind} {name}" for kind, name in (("workflow", self.workflow), ("task", self.task)) if name]
        )
        what = self.what.replace("\n", "\n    ")
        return f"{self.where}{f' ({subject})' if subject else ''}\n    {what}\n    -> {self.remedy}."


@dataclass
class Report:
    """
    The outcome of checking a package: all faults and warnings of all workflows.

    Attributes
    ----------
    package
        Name of the package that was checked.
    faults
        What must be mended before anything is exported.
    warnings
        What is legal and probably not meant.
    loaded_by_airflow
        Whether Airflow was there to load each rendered file as well.
    workflows
        The workflows without fault of their own.
    """

    package: str
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    loaded_by_airflow: bool = False
    workflows: "list[WorkflowSpec]" = field(default_factory=list)

    def raise_faults(self) -> None:
        """
        Do nothing if there is no fault.

        Raises
        ------
        WorkflowValidationError
            If there is one.
        """
        if self.faults:
            raise WorkflowValidationError(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data that `json.dumps` takes."""
        return {
            "package": self.package,
            "loaded_by_airflow": self.loaded_by_airflow,
            "workflows": [each.dag_id for each in self.workflows],
            "faults": [asdict(each) for each in self.faults],
            "warnings": [asdict(each) for each in self.warnings],
        }

    def __str__(self) -> str:
        lines = [f"{self.package}: {_count(self.faults, 'fault')}, {_count(self.warnings, 'warning')}"]
        lines += _numbered("fault", self.faults)
        lines += _numbered("warning", self.warnings)
        return "\n".join(lines)


def _count(things: list[Fault], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _numbered(noun: str, faults: Iterable[Fault]) -> list[str]:
    return [f"{noun} {number}: {fault}" for number, fault in enumerate(faults, start=1)]

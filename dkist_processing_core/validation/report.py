"""
The report of a validation: faults and warnings of all workflows of a package.

Runs in: author and CI.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dkist_processing_core.exceptions import WorkflowValidationError

if TYPE_CHECKING:
    from dkist_processing_core.authoring.spec import WorkflowSpec

__all__ = ["Fault", "Report"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of a workflow package, or a warning about it."""

    where: str  # module or module:variable
    what: str
    remedy: str
    workflow: str | None = None  # its name, if the fault concerns one workflow
    task: str | None = None

    def __str__(self) -> str:
        subject = ", ".join(
            [f"{kind} {name}" for kind, name in (("workflow", self.workflow), ("task", self.task)) if name]
        )
        what = self.what.replace("\n", "\n    ")
        return f"{self.where}{f' ({subject})' if subject else ''}\n    {what}\n    -> {self.remedy}."


@dataclass
class Report:
    """
    The result of checking a package: all faults and warnings of all workflows.

    Attributes
    ----------
    package
        Name of the package that was checked.
    faults
        The faults, which prevent an export.
    warnings
        The warnings about what is legal but probably not intended.
    loaded_by_airflow
        Whether Airflow was installed, so that it also loaded the files. Files that it refused are in ``faults``.
    workflows
        The workflows without a fault of their own.
    """

    package: str
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    loaded_by_airflow: bool = False
    workflows: "list[WorkflowSpec]" = field(default_factory=list)

    def raise_faults(self) -> None:
        """
        Raise an error if there is a fault.

        Raises
        ------
        WorkflowValidationError
            If there is at least one fault.
        """
        if self.faults:
            raise WorkflowValidationError(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for `json.dumps`."""
        return {
            "package": self.package,
            "loaded_by_airflow": self.loaded_by_airflow,
            "workflows": [each.dag_id for each in self.workflows],
            "faults": [asdict(each) for each in self.faults],
            "warnings": [asdict(each) for each in self.warnings],
        }

    def __str__(self) -> str:
        kinds = (("fault", self.faults), ("warning", self.warnings))
        counts = ", ".join(f"{len(found)} {kind}{'' if len(found) == 1 else 's'}" for kind, found in kinds)
        numbered = (f"{kind} {number}: {each}" for kind, found in kinds for number, each in enumerate(found, start=1))
        return "\n".join([f"{self.package}: {counts}", *numbered])

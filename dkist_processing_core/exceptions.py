"""
Every error that this library raises, under one root.

Runs in: all four interpreters. Errors that are the fault of an input are also a `ValueError` or a `TypeError`,
so that a caller need not know this module to handle them. Each error carries the values it was made of and builds
its own message from them: what is wrong, with which value, and what to do.
"""

from collections.abc import Iterable
from typing import Any

from dkist_processing_core._version import __version__

__all__ = [
    "AirflowApiError",
    "ChangedFileError",
    "ConfigurationError",
    "CycleError",
    "DKISTProcessingCoreError",
    "DamagedRunError",
    "DuplicateTaskError",
    "EmptyWorkflowError",
    "EnvironmentDescriptionError",
    "EnvironmentLockError",
    "FreezeError",
    "IllegalNameError",
    "LocalRunError",
    "MissingDistributionError",
    "MissingExtraError",
    "NamingSchemeError",
    "NeededEnvironmentsError",
    "NewPackageFolderError",
    "NewPackageNameError",
    "NotATaskError",
    "RecipeRunIdError",
    "ReleasedFileError",
    "RemediableError",
    "ResumeError",
    "RetirementError",
    "RunActiveError",
    "SelectionError",
    "TaskImportError",
    "TaskNotRunError",
    "TaskSettingError",
    "UnknownExtraError",
    "UnknownUpstreamError",
    "UnsupportedDagFileError",
    "WorkflowError",
    "WorkflowValidationError",
]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest of the known names, or an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class DKISTProcessingCoreError(Exception):
    """Root of everything that this library raises."""


class ConfigurationError(DKISTProcessingCoreError, ValueError):
    """A setting from the environment cannot be used."""


class RecipeRunIdError(DKISTProcessingCoreError, ValueError):
    """
    The recipe run id is not an integer.

    Parameters
    ----------
    value
        What was given instead.
    """

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(
            f"recipe_run_id must be an integer, not {value!r}. "
            'Trigger the run with the conf {"recipe_run_id": <integer>}, or set DKIST_RECIPE_RUN_ID=<integer> '
            "when running the script by hand."
        )


class ReleasedFileError(DKISTProcessingCoreError, FileExistsError):
    """
    An export would change the file of a released version.

    Parameters
    ----------
    files
        The files that exist with different content.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(files)
        listed = "".join(f"\n    {each}" for each in self.files)
        super().__init__(
            f"These files of a released version exist with different content, and nothing was written:{listed}\n"
            "    -> Export a new version. To replace them, use overwrite=True, or --overwrite on the command line."
        )


class ChangedFileError(DKISTProcessingCoreError, FileExistsError):
    """
    An export would replace a file that was modified after it was exported, or was not exported at all.

    Parameters
    ----------
    files
        The files.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(files)
        listed = "".join(f"\n    {each}" for each in self.files)
        super().__init__(
            f"These files were modified after export, or no export wrote them; nothing was written:{listed}\n"
            "    -> Move them away. To replace them, use overwrite=True, or --overwrite on the command line."
        )


class RemediableError(DKISTProcessingCoreError, ValueError):
    """
    Something that was asked for at a terminal cannot be done.

    Parameters
    ----------
    what
        Why not, with the thing and the value.
    remedy
        What to do.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n    -> {remedy}.")


class LocalRunError(DKISTProcessingCoreError, ValueError):
    """A workflow cannot be run on this machine, or not in the way that was asked for."""


class SelectionError(LocalRunError):
    """There is no task of a name that was given, or none is left to run."""


class ResumeError(RemediableError, LocalRunError):
    """A local run cannot be taken up again."""


class DamagedRunError(LocalRunError):
    """
    The journal of a run cannot be understood.

    Parameters
    ----------
    run_id
        The run.
    file
        Its journal.
    what
        What is wrong with it.
    """

    def __init__(self, run_id: str, file: str, what: str) -> None:
        self.run_id = run_id
        super().__init__(f"the journal {file} is damaged: {what}\n    -> Remove the run: runs remove {run_id}.")


class RunActiveError(LocalRunError):
    """
    A run has not ended yet.

    Parameters
    ----------
    run_id
        The run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"the run {run_id} is still active\n    -> Wait for its end, or stop it with Ctrl-C where it runs."
        )


class EnvironmentDescriptionError(RemediableError):
    """What an environment contains is not known, or not in a form that this release knows."""


class EnvironmentLockError(RemediableError):
    """An environment has no lock file that would rebuild it."""


class NeededEnvironmentsError(RemediableError):
    """Which environments a deployment needs cannot be read."""


class AirflowApiError(RemediableError):
    """Airflow's REST API cannot be reached, refuses a request, or gives an answer that is none of its own."""


class RetirementError(RemediableError):
    """A release cannot be taken out of a DAG folder, or be put back."""


class FreezeError(RemediableError):
    """The dependencies of a package cannot be frozen."""


class UnknownExtraError(FreezeError):
    """
    A package does not declare an extra that is to be frozen.

    Parameters
    ----------
    extra
        The extra.
    path
        The file in which it is not declared.
    known
        The extras that are.
    """

    def __init__(self, extra: str, *, path: str, known: Iterable[str]) -> None:
        self.extra = extra
        super().__init__(
            f"{path} declares no extra {extra!r}{did_you_mean(extra, known)}",
            remedy="Name one that it declares, or declare it in [project.optional-dependencies]",
        )


class NewPackageNameError(RemediableError):
    """A new package cannot have a name, or another text, that was given."""


class NewPackageFolderError(DKISTProcessingCoreError, FileExistsError):
    """
    A new package cannot be written to a folder.

    Parameters
    ----------
    folder
        The folder.
    what
        Why not.
    """

    def __init__(self, folder: object, what: str) -> None:
        self.folder = folder
        super().__init__(f"{folder} {what}, and nothing was written\n    -> Name a folder that does not exist yet.")


class UnsupportedDagFileError(DKISTProcessingCoreError, ValueError):
    """
    An exported DAG file says something that this release of the library does not know.

    Parameters
    ----------
    what
        What it says.
    exported_by
        The release that wrote the file; empty if that is not known.
    """

    def __init__(self, what: str, exported_by: str = "") -> None:
        self.exported_by = exported_by
        remedy = (
            f"The file was exported by dkist-processing-core {exported_by} and {__version__} is installed: install "
            f"dkist-processing-core {exported_by} or later where Airflow runs."
            if exported_by
            else "Export the workflow again."
        )
        super().__init__(f"{what}. {remedy}")


class TaskImportError(DKISTProcessingCoreError, ImportError):
    """A task class cannot be imported from its path ``module:Class``."""


class MissingExtraError(DKISTProcessingCoreError, ImportError):
    """
    A feature needs distributions that one of the extras brings.

    Parameters
    ----------
    feature
        What was asked for.
    extra
        Name of the extra that brings what it needs.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(
            f"{feature} needs the extra {extra!r}. Install it with: pip install 'dkist-processing-core[{extra}]'"
        )


class MissingDistributionError(DKISTProcessingCoreError, ImportError):
    """
    A feature for client packages needs a distribution that those bring.

    Parameters
    ----------
    feature
        What was asked for.
    distribution
        Name of the distribution.
    """

    def __init__(self, feature: str, distribution: str) -> None:
        self.feature = feature
        self.distribution = distribution
        super().__init__(f"{feature} needs {distribution}. Install it with: pip install {distribution}")


class WorkflowError(DKISTProcessingCoreError, ValueError):
    """
    A workflow cannot be rendered as it stands.

    Parameters
    ----------
    what
        What is wrong, with the value.
    remedy
        What to do about it.
    workflow
        Name of the workflow, once it has one.
    task
        Name of the task at fault, where it is one task's fault.
    """

    def __init__(self, what: str, *, remedy: str, workflow: str | None = None, task: str | None = None) -> None:
        self.what = what
        self.remedy = remedy
        self.workflow = workflow
        self.task = task
        place = f"Workflow {workflow!r}: " if workflow else ""
        super().__init__(f"{place}{what}. {remedy}.")


class IllegalNameError(WorkflowError):
    """A name cannot be used as, or in, an Airflow DAG id or task id."""


class DuplicateTaskError(WorkflowError):
    """A task was added to a workflow twice; the class name is Airflow's task id, which is unique in a DAG."""


class EmptyWorkflowError(WorkflowError):
    """A workflow has no nodes."""


class TaskNotRunError(DKISTProcessingCoreError, TypeError):
    """
    A method of a task is a coroutine or a generator, so calling it has run nothing.

    Parameters
    ----------
    name
        Name of the method.
    kind
        What it has returned.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        super().__init__(
            f"{name} returned a {kind.replace('_', ' ')}, which was not run\n"
            f"    -> Write {name} without async and yield. To run a coroutine in it, call asyncio.run()."
        )


class TaskSettingError(WorkflowError):
    """A class attribute of a task, such as ``retries``, has a value that Airflow cannot use."""


class UnknownUpstreamError(WorkflowError):
    """
    An upstream of a node was never added to the workflow.

    Parameters
    ----------
    workflow, task, upstream
        Names of the workflow, the task, and the upstream that is missing.
    known
        Names of the tasks that the workflow has.
    """

    def __init__(self, *, workflow: str, task: str, upstream: str, known: Iterable[str]) -> None:
        self.upstream = upstream
        super().__init__(
            f"task {task!r} waits for {upstream!r}, which is not in the workflow{did_you_mean(upstream, known)}",
            remedy=f"Add it with add_node({upstream}), or remove it from the upstreams of {task}",
            workflow=workflow,
            task=task,
        )


class CycleError(WorkflowError):
    """
    Tasks depend on each other in a cycle.

    Parameters
    ----------
    workflow
        Name of the workflow.
    path
        Names of the tasks in the order in which they run after one another, the first repeated at the end.
    """

    def __init__(self, *, workflow: str, path: Iterable[str]) -> None:
        self.path = tuple(path)
        super().__init__(
            f"the tasks depend on each other in a cycle: {' -> '.join(self.path)}",
            remedy="Remove one of these edges from the upstreams",
            workflow=workflow,
            task=self.path[0],
        )


class NotATaskError(DKISTProcessingCoreError, TypeError):
    """Something that is no subclass of `TaskBase` was given where a task class is needed."""

    def __init__(self, value: object, *, argument: str) -> None:
        self.value = value
        hint = ""
        if not isinstance(value, type) and hasattr(type(value), "task_name"):
            hint = " Pass the class itself, not an instance of it."
        super().__init__(f"{argument} must be a subclass of dkist_processing_core.TaskBase, not {value!r}.{hint}")


class NamingSchemeError(DKISTProcessingCoreError, TypeError):
    """The arguments of `Workflow` belong to neither naming scheme, or to both."""


class WorkflowValidationError(DKISTProcessingCoreError, ValueError):
    """
    At least one workflow of a package has a fault.

    Parameters
    ----------
    report
        All faults of all workflows, a `validation.report.Report`; untyped here, below all that it is made of.
    """

    def __init__(self, report: Any) -> None:
        self.report = report
        super().__init__(str(report))

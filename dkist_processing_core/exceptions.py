"""
The errors that a caller can handle, with one base class.

Runs in: all four interpreters. An error that is caused by an input is also a `ValueError` or a `TypeError`, so that a
caller can handle it without this module. An error builds its own message from its arguments: what is wrong, with which
value, and what to do.
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
    """Base class of the errors of this library."""


class ConfigurationError(DKISTProcessingCoreError, ValueError):
    """A setting from the environment cannot be used."""


class RecipeRunIdError(DKISTProcessingCoreError, ValueError):
    """
    The recipe run id is not an integer.

    Parameters
    ----------
    value
        The value that was given.
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
    An export would replace a file that was modified after export, or that no export wrote.

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
    A command cannot do what it was asked for.

    Parameters
    ----------
    what
        What is wrong, with the value.
    remedy
        What to do about it.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n    -> {remedy}.")


class LocalRunError(DKISTProcessingCoreError, ValueError):
    """A workflow cannot be run locally, or not with the given options."""


class SelectionError(LocalRunError):
    """A given name is not that of a task, or no task is left to run."""


class ResumeError(RemediableError, LocalRunError):
    """A local run cannot be resumed."""


class DamagedRunError(LocalRunError):
    """
    The journal of a local run is damaged.

    Parameters
    ----------
    run_id
        Id of the run.
    file
        Path of the journal.
    what
        What is wrong with the journal.
    """

    def __init__(self, run_id: str, file: str, what: str) -> None:
        self.run_id = run_id
        super().__init__(f"the journal {file} is damaged: {what}\n    -> Remove the run: runs remove {run_id}.")


class RunActiveError(LocalRunError):
    """
    A local run has not ended yet.

    Parameters
    ----------
    run_id
        Id of the run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"the run {run_id} is still active\n    -> Wait for its end, or stop it with Ctrl-C where it runs."
        )


class EnvironmentDescriptionError(RemediableError):
    """An environment has no usable ``environment.json``: the file is missing, damaged, or of another schema version."""


class EnvironmentLockError(RemediableError):
    """No lock file can be made that rebuilds an environment."""


class NeededEnvironmentsError(RemediableError):
    """A DAG file, archive or manifest does not say which environments a deployment needs."""


class AirflowApiError(RemediableError):
    """Airflow's REST API cannot be reached, refuses a request, or sends an unexpected response."""


class RetirementError(RemediableError):
    """A release cannot be retired from a DAG folder, or restored."""


class FreezeError(RemediableError):
    """The dependencies of a package cannot be frozen."""


class UnknownExtraError(FreezeError):
    """
    A package does not declare the extra that should be frozen.

    Parameters
    ----------
    extra
        Name of the extra.
    path
        The file that should declare it.
    known
        Names of the extras that the file declares.
    """

    def __init__(self, extra: str, *, path: str, known: Iterable[str]) -> None:
        self.extra = extra
        super().__init__(
            f"{path} declares no extra {extra!r}{did_you_mean(extra, known)}",
            remedy="Name one that it declares, or declare it in [project.optional-dependencies]",
        )


class NewPackageNameError(RemediableError):
    """The name of a new package, or another text about it, cannot be used."""


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
    An exported DAG file has a protocol or a key that this release of the library does not support.

    Parameters
    ----------
    what
        What is not supported.
    exported_by
        The release that exported the file. Empty if it is not known.
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
    A feature needs an extra that is not installed.

    Parameters
    ----------
    feature
        The feature.
    extra
        Name of the extra.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(
            f"{feature} needs the extra {extra!r}. Install it with: pip install 'dkist-processing-core[{extra}]'"
        )


class MissingDistributionError(DKISTProcessingCoreError, ImportError):
    """
    A feature for client packages needs a distribution that is not installed.

    Parameters
    ----------
    feature
        The feature.
    distribution
        Name of the distribution.
    """

    def __init__(self, feature: str, distribution: str) -> None:
        self.feature = feature
        self.distribution = distribution
        super().__init__(f"{feature} needs {distribution}. Install it with: pip install {distribution}")


class WorkflowError(DKISTProcessingCoreError, ValueError):
    """
    A workflow, or one of its tasks, cannot be used as it is declared.

    Parameters
    ----------
    what
        What is wrong, with the value.
    remedy
        What to do about it.
    workflow
        Name of the workflow, if it already has one.
    task
        Name of the task at fault, if there is one.
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
    A method of a task is a coroutine function or a generator function, so its body did not run.

    Parameters
    ----------
    name
        Name of the method.
    kind
        Type of the object that the method returned.
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
    """
    An argument must be a task class and is not a subclass of `TaskBase`.

    Parameters
    ----------
    value
        The value that was given.
    argument
        Name of the argument.
    """

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
        The `Report`, which has all faults of all workflows.
    """

    # The class of the report is in a layer above this module.
    def __init__(self, report: Any) -> None:
        self.report = report
        super().__init__(str(report))

"""
What manual processing needs: the notebooks of a package, and the image of a worker that serves them.

Runs in: author and CI. All of it is made in memory first, so nothing is written unless all of it can be made.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.exceptions import WorkflowError
from dkist_processing_core.export import overwrite as guard
from dkist_processing_core.rendering.dockerfile import dockerfile
from dkist_processing_core.rendering.notebook import notebook

__all__ = ["DOCKERFILE", "NOTEBOOKS", "write_dockerfile", "write_notebooks"]

DOCKERFILE = "Dockerfile"
NOTEBOOKS = "notebooks"
# Means nothing to the shell, in the patterns of COPY, or as an option.
PLAIN = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")


def write_notebooks(workflows: Iterable[WorkflowSpec], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """
    Write the notebook of each workflow to a folder, all or nothing.

    Parameters
    ----------
    workflows
        The workflows.
    folder
        Where to write to. It is made if it is not there.
    overwrite
        Whether a notebook that somebody has changed may be replaced.

    Returns
    -------
    list of Path
        The notebooks.

    Raises
    ------
    WorkflowError
        If a task cannot be named in a notebook. Nothing is written then.
    ChangedFileError
        If a notebook is there and not as it was exported. Nothing is written then.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    texts = {f"{each.dag_id}.ipynb": notebook(each) for each in workflows}
    guard.write(folder, texts, overwrite=overwrite)
    return [folder / name for name in texts]


def write_dockerfile(
    workflows: Sequence[WorkflowSpec],
    *,
    context: Path,
    notebooks: Path,
    overwrite: bool = False,
) -> Path:
    """
    Write the Dockerfile of a manual processing worker and the notebooks that it copies, all or nothing.

    Parameters
    ----------
    workflows
        The workflows, at least one, all of the same category.
    context
        The folder that the image is to be built in.
    notebooks
        The folder for the notebooks, absolute or relative to ``context``, and in that.
    overwrite
        Whether files that somebody has changed may be replaced.

    Returns
    -------
    Path
        The Dockerfile.

    Raises
    ------
    WorkflowError
        If the workflows are not all of one category and one release, or the folder cannot be copied from. Nothing is
        written then.
    ChangedFileError
        If a file is there and not as it was exported. Nothing is written then.
    OSError
        If a file cannot be written. What was there before is then untouched.
    """
    category = _the_one(
        "categories",
        (each.category for each in workflows),
        remedy="Keep those of each in a package of their own, and name that",
    )
    _the_one(
        "releases",
        (f"{each.distribution}=={each.version}" for each in workflows),
        remedy="Leave the version to BUILD_VERSION, and give all of them the same workflow_package",
    )
    if workflows[0].version == DEFAULT_BUILD_VERSION:
        raise WorkflowError(
            f"the version of the workflows is {DEFAULT_BUILD_VERSION!r}, no release that an image could install",
            remedy="Set BUILD_VERSION to the version of the release; notebooks alone can be exported without one",
        )
    folder = _in_context(notebooks, context)
    texts = {f"{folder}/{each.dag_id}.ipynb": notebook(each) for each in workflows}
    texts[DOCKERFILE] = dockerfile(workflows, category=category, notebooks=texts)
    guard.write(context, texts, overwrite=overwrite)
    return context / DOCKERFILE


def _the_one(what: str, values: Iterable[str], *, remedy: str) -> str:
    different = sorted(set(values))
    if len(different) > 1:
        raise WorkflowError(
            f"the workflows have {len(different)} {what}, {', '.join(different)}; a manual processing worker has one",
            remedy=remedy,
        )
    return different[0]


def _in_context(notebooks: Path, context: Path) -> str:
    """Return the path of the folder as a Dockerfile in the context names it."""
    try:
        relative = (context / notebooks).resolve().relative_to(context.resolve())
    except ValueError:
        raise WorkflowError(
            f"the folder of the notebooks, {notebooks}, is not in {context.resolve()}, where the image is built",
            remedy="Give a folder in it, such as 'notebooks'",
        ) from None
    for part in relative.parts:
        if not PLAIN.fullmatch(part):
            raise WorkflowError(
                f"the folder of the notebooks, {notebooks}, has a name that a Dockerfile cannot copy from: {part!r}",
                remedy="Use ASCII letters, digits, '-', '.' and '_', not beginning with '-'",
            )
    return relative.as_posix()

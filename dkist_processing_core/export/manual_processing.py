"""
The files for manual processing: the notebooks of a package, and the Dockerfile of a worker that serves them.

Runs in: author and CI. All texts are made in memory first, so nothing is written unless all of them can be made.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.exceptions import WorkflowError
from dkist_processing_core.export import overwrite as guard
from dkist_processing_core.rendering.checksum import is_unmodified
from dkist_processing_core.rendering.dockerfile import dockerfile
from dkist_processing_core.rendering.notebook import notebook

__all__ = ["DOCKERFILE", "NOTEBOOKS", "write_dockerfile", "write_notebooks"]

DOCKERFILE = "Dockerfile"
NOTEBOOKS = "notebooks"
# Without special meaning in a shell, in the patterns of COPY, or as an option.
PLAIN = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")


def write_notebooks(workflows: Iterable[WorkflowSpec], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the notebook of each workflow to a folder, all or nothing; the errors are those of `overwrite.write`."""
    contents = {f"{each.dag_id}.ipynb": notebook(each).encode() for each in workflows}
    guard.write(folder, contents, recognized=dict.fromkeys(contents, is_unmodified), overwrite=overwrite)
    return [folder / name for name in contents]


def write_dockerfile(
    workflows: Sequence[WorkflowSpec], *, context: Path, notebooks: Path = Path(NOTEBOOKS), overwrite: bool = False
) -> Path:
    """
    Write the Dockerfile of a manual processing worker and the notebooks that it copies, all or nothing.

    The image is built in the folder ``context``. The folder for the notebooks is inside of it, and is absolute or
    relative to it. A `WorkflowError` is raised if the workflows do not have the same category and the same release, or
    the folder cannot be copied from; the other errors are those of `overwrite.write`.
    """
    remedy = "Keep the workflows of each category in a package of their own, and name that"
    category = _only("categories", (each.category for each in workflows), remedy=remedy)
    remedy = "Leave the version to BUILD_VERSION, and use the same workflow_package for all workflows"
    _only("releases", (f"{each.distribution}=={each.version}" for each in workflows), remedy=remedy)
    if workflows[0].version == DEFAULT_BUILD_VERSION:
        raise WorkflowError(
            f"the version of the workflows is {DEFAULT_BUILD_VERSION!r}, which is not a release that can be installed",
            remedy="Set BUILD_VERSION to the version of the release; notebooks alone can be exported without one",
        )
    folder = _relative(notebooks, context)
    texts = {f"{folder}/{each.dag_id}.ipynb": notebook(each) for each in workflows}
    texts[DOCKERFILE] = dockerfile(workflows, category=category, notebooks=texts)
    contents = {name: text.encode() for name, text in texts.items()}
    guard.write(context, contents, recognized=dict.fromkeys(contents, is_unmodified), overwrite=overwrite)
    return context / DOCKERFILE


def _only(what: str, values: Iterable[str], *, remedy: str) -> str:
    different = sorted(set(values))
    if len(different) > 1:
        raise WorkflowError(
            f"the workflows have {len(different)} {what}, {', '.join(different)}; a manual processing worker has one",
            remedy=remedy,
        )
    return different[0]


def _relative(notebooks: Path, context: Path) -> str:
    """Return the path of the folder relative to the context, as the Dockerfile names it."""
    try:
        relative = (context / notebooks).resolve().relative_to(context.resolve())
    except ValueError:
        raise WorkflowError(
            f"the folder of the notebooks, {notebooks}, is not in {context.resolve()}, where the image is built",
            remedy="Choose a folder in it, such as 'notebooks'",
        ) from None
    for part in relative.parts:
        if not PLAIN.fullmatch(part):
            raise WorkflowError(
                f"the folder of the notebooks, {notebooks}, has a name that a Dockerfile cannot copy from: {part!r}",
                remedy="Use ASCII letters, digits, '-', '.' and '_', not beginning with '-'",
            )
    return relative.as_posix()

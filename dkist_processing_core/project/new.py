"""
Create a package of tasks and workflows that is ready to work in, from the template in this folder.

Runs in: author and CI. The template is such a package itself: its placeholders are identifiers, so that ruff checks it
where it is, with the settings that the new package gets.
"""

import json
import keyword
import re
import string
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from dkist_processing_core._version import __version__
from dkist_processing_core.authoring.names import check_name, workflow_name_from_details
from dkist_processing_core.common import atomic
from dkist_processing_core.exceptions import NewPackageFolderError, NewPackageNameError

__all__ = ["NewPackage", "make_package"]

TEMPLATE = Path(__file__).parent / "template"
LEGAL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")  # of a distribution (PEP 508)
LONGEST_NAME = 50  # with longer names, lines of the new package would exceed the limit of its linter
PREFIX = "dkist-processing-"  # beginning of the usual name of a package, which ends with the name of an instrument
# Names of folders beside the module, of the template or of a tool. Git ignores most of them.
OTHER_FOLDERS = {"build", "dags", "dist", "tests"}


@dataclass(frozen=True)
class NewPackage:
    """
    A new package.

    Attributes
    ----------
    folder
        Its folder.
    module
        Name to import.
    files
        Paths of its files, relative to the folder.
    """

    folder: Path
    module: str
    files: tuple[str, ...]


class _Text(string.Template):
    """A text with placeholders such as ``placeholder_module``. An unknown placeholder raises a `KeyError`."""

    delimiter = "placeholder_"
    idpattern = "[a-z]+"
    flags = re.NOFLAG


def make_package(
    name: str,
    folder: Path | None = None,
    *,
    category: str | None = None,
    description: str | None = None,
    author: str | None = None,
) -> NewPackage:
    """
    Write a package into a new folder, completely or not at all.

    Parameters
    ----------
    name
        Name of the distribution.
    folder
        The folder of the package, by default a folder with this name in the current one. It may exist if it is empty.
    category
        Category of the workflows, by default the end of the name.
    description, author
        One line of the metadata each.

    Raises
    ------
    NewPackageNameError
        If the name is not valid for a distribution and a module, or is already in use, or a text has several lines.
    IllegalNameError
        If the category is not valid in the name of a workflow.
    NewPackageFolderError
        If the folder is not empty, or is the current one.
    """
    module = _checked_module(name)
    if category is None:
        category = canonicalize_name(name).removeprefix(PREFIX)
    check_name("category", category)
    workflow_name_from_details("l0", "calibration", category)  # the longest one
    description = _one_line("description", description or f"Processing tasks and workflows of {category}.")
    author = _one_line("author", author or f"The {name} developers")
    values = {
        "name": name,
        "underline": "=" * len(name),
        "module": module,
        "variable": f"{module.upper()}_SCRATCH",
        "category": category,
        "requirement": f"dkist-processing-core>={__version__},<{Version(__version__).major + 1}",
        "pin": f"dkist-processing-core=={__version__}",
        # TOML quotes texts without control characters as JSON does.
        "description": json.dumps(description, ensure_ascii=False)[1:-1],
        "author": json.dumps(author, ensure_ascii=False)[1:-1],
        "summary": re.sub(r"([\\*`|_<])", r"\\\1", description),
    }
    contents = {_Text(path).substitute(values): _Text(text).substitute(values).encode() for path, text in _template()}
    target = Path(folder or name).resolve()
    _write(target, contents)
    return NewPackage(target, module, tuple(contents))


def _checked_module(name: str) -> str:
    """Return the import name of a distribution, if both names can be used here."""
    if not LEGAL_NAME.fullmatch(name):
        raise NewPackageNameError(
            f"the name {name!r} is not that of a distribution",
            remedy="Use ASCII letters and digits, and between them '-', '_' and '.', such as dkist-processing-cam",
        )
    if len(name) > LONGEST_NAME:
        raise NewPackageNameError(
            f"the name {name!r} is {len(name)} characters long", remedy=f"Use at most {LONGEST_NAME}"
        )
    module = canonicalize_name(name).replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise NewPackageNameError(
            f"the module of {name!r} would be {module!r}, which Python cannot import",
            remedy="Choose a name that begins with a letter and is no keyword, such as dkist-processing-cam",
        )
    if module in OTHER_FOLDERS:
        raise NewPackageNameError(
            f"the module of {name!r} would be in a folder of another purpose, {module!r}", remedy="Choose another name"
        )
    if taken := _taken_by(name, module):
        raise NewPackageNameError(
            f"the name {name!r} is taken: {taken}",
            remedy="Choose another name, or run the command in an environment without it",
        )
    return module


def _taken_by(name: str, module: str) -> str:
    """Return what already uses the name in this Python; empty if the name is free."""
    if module in sys.stdlib_module_names:
        return f"{module!r} is a module of the standard library"
    try:
        return f"{name} {installed_version(name)} is installed"
    except PackageNotFoundError:
        found = find_spec(module)
    if found is None:
        return ""
    return f"the module {module!r} is {found.origin or ', '.join(found.submodule_search_locations or ())}"


def _one_line(what: str, text: str) -> str:
    if not text.isprintable():
        raise NewPackageNameError(
            f"the {what} {text!r} contains a non-printable character", remedy="Write it on one line"
        )
    return text


def _template() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file of the template."""
    for file in sorted(TEMPLATE.rglob("*")):
        path = file.relative_to(TEMPLATE)
        # Python and tools that read the template leave files behind in such folders.
        if file.is_file() and not any(each.startswith((".", "__")) for each in path.parts[:-1]):
            yield str(path), file.read_text(encoding="utf-8")


def _write(target: Path, contents: dict[str, bytes]) -> None:
    if target == Path.cwd():
        # It would be replaced, and the shell would remain in a folder that no longer exists.
        raise NewPackageFolderError(target, "is the current folder")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise NewPackageFolderError(target, "exists and is not an empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = Path(temporary) / target.name
        for path in contents:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_files(folder, contents)
        folder.rename(target)

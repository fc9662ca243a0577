"""
The dependencies and extras in the ``pyproject.toml`` of a package, and the pins in them.

Runs in: author and CI.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dkist_processing_core.common import atomic
from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.exceptions import FreezeError, UnknownExtraError
from dkist_processing_core.project.arrays import author_entries, editor, is_marked, with_pins

__all__ = ["FROZEN", "Pyproject"]

FROZEN = "frozen"
TABLE = "[project.optional-dependencies]"
HEADER = re.compile(
    r"""^[ \t]*\[[ \t]*["']?project["']?[ \t]*\.[ \t]*["']?optional-dependencies["']?[ \t]*\][^\r\n]*""", re.MULTILINE
)


@dataclass(frozen=True)
class Pyproject:
    """
    The contents of a ``pyproject.toml``.

    Parameters
    ----------
    path
        The file.
    text
        Its text, with unchanged line ends.
    data
        The parsed text.
    """

    path: Path
    text: str
    data: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """
        Read the file of a package.

        Raises
        ------
        FreezeError
            If it does not exist, or does not declare the dependencies of the package.
        """
        path = folder / "pyproject.toml"
        try:
            text = path.read_bytes().decode()
            data = tomllib.loads(text)
        except FileNotFoundError:
            raise FreezeError(
                f"there is no {path}", remedy="Name the folder of a package: dkist-processing-core freeze FOLDER"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FreezeError(f"{path} is not valid TOML: {error}", remedy="Correct it") from error
        _check(path, data.get("project"))
        return cls(path, text, data)

    @property
    def project(self) -> Mapping[str, Any]:
        """The table ``[project]``."""
        table: Mapping[str, Any] = self.data["project"]
        return table

    @property
    def extras(self) -> Mapping[str, list[str]]:
        """All entries of each extra, by its name in the file."""
        table: Mapping[str, list[str]] = self.project.get("optional-dependencies", {})
        return table

    @cached_property
    def ranges(self) -> dict[str, list[str]]:
        """The entries of the author in each extra. An extra ``frozen`` without the mark is entirely generated."""
        return {
            name: [] if name == FROZEN and name not in self.marked else author_entries(self._array(name))
            for name in self.extras
        }

    @cached_property
    def marked(self) -> list[str]:
        """The extras that contain the mark of generated pins."""
        return [name for name in self.extras if is_marked(self._array(name))]

    @property
    def pins(self) -> dict[str, list[str]]:
        """The pins in ``frozen`` and in the extras that have the mark."""
        names = [name for name in self.extras if name == FROZEN or name in self.marked]
        return {name: self.extras[name][len(self.ranges[name]) :] for name in names}

    def name_of(self, extra: str) -> str:
        """
        Return the name of an extra as the file spells it.

        Raises
        ------
        UnknownExtraError
            If it is not declared.
        """
        names = {canonicalize_name(each): each for each in (FROZEN, *self.extras)}
        if (name := names.get(canonicalize_name(extra))) is None:
            raise UnknownExtraError(extra, path=str(self.path), known=self.extras)
        return name

    def with_pins(self, pins: Mapping[str, Sequence[str]]) -> str:
        """Return the text of the file with these pins in their extras, and otherwise unchanged."""
        newline = "\r\n" if "\r\n" in self.text else "\n"
        expected = dict(self.extras)
        document = editor().parse(self.text)
        for name, new in pins.items():
            if name in self.marked and _same(self.pins[name], new):
                continue  # a formatter may have changed their form
            expected[name] = [*self.ranges.get(name, []), *new]
            if name in self.extras:
                array = "[]" if name == FROZEN and name not in self.marked else self._array(name)
                item = editor().parse(f"x = {with_pins(array, new, newline)}")["x"]
                document["project"]["optional-dependencies"][name] = item
        text: str = editor().dumps(document)
        if FROZEN not in self.extras:
            text = self._with_frozen(text, with_pins("[]", pins[FROZEN], newline), newline)
        if tomllib.loads(text) != {**self.data, "project": {**self.project, "optional-dependencies": expected}}:
            # The file determines the contents of a release, so the result of the editor is checked.
            raise FreezeError(
                f"the extras in {self.path} cannot be edited", remedy=f"Declare each as a list in the table {TABLE}"
            )
        return text

    def write(self, text: str) -> None:
        """
        Write another text to the file, completely or not at all.

        Raises
        ------
        FreezeError
            If the file is read-only, or has changed since it was read.
        OSError
            If it cannot be written.
        """
        path = self.path.resolve()  # a link remains a link
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & stat.S_IWUSR or not os.access(path, os.W_OK):
            raise FreezeError(f"{self.path} is read-only", remedy="Make it writable, such as with chmod u+w")
        if atomic.read(path) != self.text.encode():
            raise FreezeError(f"{self.path} was changed during the resolution", remedy="Run the command again")
        atomic.write_text(path, text)
        path.chmod(mode)

    def _array(self, name: str) -> str:
        """Return the text of an extra."""
        return str(self._document["project"]["optional-dependencies"][name].as_string())

    @cached_property
    def _document(self) -> Any:
        return editor().parse(self.text)

    def _with_frozen(self, text: str, array: str, newline: str) -> str:
        """Return the text with a new extra, the first in its table: a comment at the end may be on the next table."""
        if HEADER.search(text):
            return HEADER.sub(lambda header: f"{header[0]}{newline}{FROZEN} = {array}", text, count=1)
        if self.extras:
            raise FreezeError(
                f"{self.path} has extras and no table {TABLE}, so {FROZEN!r} cannot be added",
                remedy=f"Declare it once, as an empty list: {FROZEN} = []",
            )
        return f"{text.rstrip()}{newline}{newline}{TABLE}{newline}{FROZEN} = {array}{newline}"


def _same(old: Sequence[str], new: Sequence[str]) -> bool:
    return sorted(str(Requirement(each)) for each in old) == sorted(str(Requirement(each)) for each in new)


def _check(path: Path, project: object) -> None:
    """Raise an error unless the dependencies in a file can be frozen."""
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        raise FreezeError(
            f"{path} has no table [project] with a name", remedy="Declare the package and its dependencies there"
        )
    dynamic = [each for each in ("dependencies", "optional-dependencies") if each in project.get("dynamic", [])]
    if dynamic:
        raise FreezeError(
            f"{path} declares {' and '.join(dynamic)} as dynamic, so only a build knows them",
            remedy='List them in the table [project], and remove them from "dynamic"',
        )
    optional = project.get("optional-dependencies", {})
    if not isinstance(optional, dict):
        raise FreezeError(f"{path}: optional-dependencies is not a table", remedy=f"Declare the extras in {TABLE}")
    for place, entries in [("dependencies", project.get("dependencies", [])), *optional.items()]:
        if not isinstance(entries, list):
            raise FreezeError(f"{path}: {place} is not a list", remedy=f'Write {place} = ["..."]')
        for entry in entries:
            _check_requirement(path, place, entry)


def _check_requirement(path: Path, place: str, entry: object) -> None:
    try:
        Requirement(entry if isinstance(entry, str) else "")
    except InvalidRequirement as error:
        raise FreezeError(
            redact_urls(f"{path}: {entry!r} in {place} is not a requirement: {str(error).partition(chr(10))[0]}"),
            remedy="Correct it; a requirement reads like 'numpy>=2'",
        ) from error

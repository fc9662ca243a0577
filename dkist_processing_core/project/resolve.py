"""
Resolve the dependencies of a package to exact versions, with uv, for every Python and platform at once.

Runs in: author and CI. The settings of pip and uv on this machine apply, as for the environments on a worker. The
settings of uv in the package do not.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dkist_processing_core.common.programs import run_program
from dkist_processing_core.common.redaction import redactor
from dkist_processing_core.exceptions import FreezeError, MissingExtraError
from dkist_processing_core.project.arrays import editor
from dkist_processing_core.project.pyproject import FROZEN, Pyproject
from dkist_processing_core.project.pythons import Pythons
from dkist_processing_core.worker.pip_settings import for_uv, installer_variables
from dkist_processing_core.worker.uv import find_uv

__all__ = ["Resolver", "resolver"]

RESOLUTION_SECONDS = 3600  # distributions without a wheel are built to get their dependencies
SHOWN_LINES = 30
# Whatever uv's settings on this machine are, the result must be pins with markers, and nothing else.
OPTIONS = (
    *("--quiet", "--color=never", "--universal", "--strip-extras", "--no-strip-markers", "--no-all-extras"),
    *("--no-annotate", "--no-header", "--no-generate-hashes", "--no-emit-index-url", "--no-emit-find-links"),
    *("--no-emit-build-options", "--no-emit-index-annotation", "--no-emit-marker-expression"),
)


@contextmanager
def resolver(
    project: Pyproject, *, find_links: Sequence[str] = (), constraints: Sequence[str] = ()
) -> Iterator["Resolver"]:
    """
    Prepare resolutions of the dependencies that the author of a package declares, without the pins in the file.

    ``find_links`` and ``constraints`` are added to those in the settings, as pip's options of these names are.
    """
    variables = installer_variables(os.environ, sys.prefix)
    program = find_uv(variables)
    if program is None:
        raise MissingExtraError("To freeze dependencies", extra="build")
    pythons = Pythons.of(project.data, str(project.path))
    declared = {
        "name": project.project["name"],
        "version": "0",
        "requires-python": project.project["requires-python"],
        "dependencies": project.project.get("dependencies", []),
        "optional-dependencies": {FROZEN: [], **project.ranges},
    }
    # A requirements file may contain paths with white space; uv's options and variables may not.
    settings = [*(f"-f {_absolute(each)}" for each in find_links), *(f"-c {_absolute(each)}" for each in constraints)]
    with tempfile.TemporaryDirectory(prefix="dkist-freeze-") as folder:
        text = editor().dumps({"project": declared, "tool": {"uv": {"environments": pythons.environments}}})
        (Path(folder) / "pyproject.toml").write_text(text, encoding="utf-8")
        yield Resolver(project, program, variables, Path(folder), pythons, settings)


@dataclass(frozen=True)
class Resolver:
    """Runs uv on a copy of the dependencies that the author of a package declares; see `resolver`."""

    project: Pyproject
    program: Path
    variables: Mapping[str, str]
    folder: Path
    pythons: Pythons
    settings: Sequence[str]

    def all_of(self, extras: Iterable[str], *, preferred: Iterable[str], options: Sequence[str]) -> list[str]:
        """Return pins for the base and extras together: the preferred ones as far as the ranges and options allow."""
        extras, preferred = list(extras), list(preferred)
        try:
            return self._compile(extras, self.settings, preferred, options)
        except FreezeError:
            if options or not preferred:
                raise
            # If the first of several indexes has a preferred version only for another Python, uv does not try the
            # others. With the version as a constraint, it does. If that also fails, the first error is raised.
            with suppress(FreezeError):
                return self.needed_by(extras, pins=preferred)
            raise

    def needed_by(self, extras: Iterable[str], *, pins: Iterable[str]) -> list[str]:
        """Return those of the pins that the base and the extras need."""
        pinned = [Requirement(each) for each in pins]
        versions = Counter(each.name for each in pinned)
        for each in pinned:
            if versions[each.name] == 1:
                each.marker = None  # uv would resolve again for each marker, even an unused one
        (self.folder / "pins.txt").write_text("\n".join(map(str, pinned)), encoding="utf-8")
        return self._compile(extras, [*self.settings, f"-c {self.folder / 'pins.txt'}"])

    def _compile(
        self, extras: Iterable[str], settings: Sequence[str], preferred: Iterable[str] = (), options: Sequence[str] = ()
    ) -> list[str]:
        (self.folder / "settings.in").write_text("\n".join(settings), encoding="utf-8")
        result = self.folder / "result.txt"
        result.write_text("\n".join(preferred), encoding="utf-8")  # uv prefers the versions in its output file
        command: list[str | Path] = [self.program, "pip", "compile", *OPTIONS, *options]
        # A setting such as no-deps would leave nothing to freeze.
        command += for_uv(self.variables, decided={"no-deps"})[0]
        command += ["--python", sys.executable, "--python-version", self.pythons.lowest, "--output-file", result]
        command += [f"--extra={each}" for each in (FROZEN, *extras)]  # with the author's own entries in "frozen"
        command += [self.folder / "pyproject.toml", self.folder / "settings.in"]
        try:
            status, output = run_program(
                command, environment=self.variables, seconds=RESOLUTION_SECONDS, folder=self.folder
            )
        except TimeoutExpired:
            status, output = 1, f"it took more than {RESOLUTION_SECONDS} s"
        if status:
            raise FreezeError(
                f"uv cannot resolve the dependencies in {self.project.path}:\n{self._shown(output)}",
                remedy="Correct the ranges or the settings that this names; nothing was changed",
            )
        lines = result.read_text(encoding="utf-8").splitlines()
        return [self.pythons.simplified(each) for each in lines if self._is_pin(each)]

    def _is_pin(self, line: str) -> bool:
        """Return whether a line of the result is a pin of another distribution."""
        if line.startswith("#"):
            return False
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # such as a path
            requirement = None
        if requirement is None or requirement.url:
            raise FreezeError(
                f"{self._shown(line).strip()} is needed, which is not a release, so it cannot be frozen",
                remedy="Require a release of it, from a package index or --find-links",
            )
        return canonicalize_name(requirement.name) != canonicalize_name(self.project.project["name"])

    def _shown(self, output: str) -> str:
        lines = [line for line in redactor(self.variables)(output).splitlines() if line.strip()]
        lines[SHOWN_LINES:] = ["..."] if len(lines) > SHOWN_LINES else []
        return "\n".join(f"    {line}" for line in lines)


def _absolute(place: str) -> str:
    """Return a path as an absolute one; a URL stays unchanged."""
    if "://" in place:
        return place
    if not Path(place).exists():
        raise FreezeError(f"there is no file or folder {place}", remedy="Name one that exists")
    return str(Path(place).absolute())

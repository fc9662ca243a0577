"""
Pin everything that a package depends on, in its extra ``frozen`` and in its other extras.

Runs in: author and CI. Everything is resolved together, so that the base and any of these extras can be installed
together. Then it is resolved again within these versions, for the base and for each extra, to know which pins each
needs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dkist_processing_core.exceptions import FreezeError, did_you_mean
from dkist_processing_core.project.pyproject import FROZEN, Pyproject
from dkist_processing_core.project.resolve import resolver

__all__ = ["Freeze", "freeze"]

Pins = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Freeze:
    """
    The pins that a package should have.

    Parameters
    ----------
    project
        The package in its present state.
    pins
        The pins of each extra.
    text
        The text of ``pyproject.toml`` with these pins.
    """

    project: Pyproject
    pins: Pins
    text: str

    @property
    def is_change(self) -> bool:
        """Whether the pins differ from those in the file."""
        return self.text != self.project.text

    @property
    def changes(self) -> list[str]:
        """The changes, one line per distribution, such as ``numpy 2.4.5 -> 2.4.6``."""
        return list(_changes(self.project.pins, self.pins))

    @property
    def diff(self) -> str:
        """The changes of the file, as a unified diff."""
        name = self.project.path.name
        before, after = self.project.text.splitlines(), self.text.splitlines()
        return "\n".join(unified_diff(before, after, name, f"{name} (frozen)", lineterm="", n=1))

    def write(self) -> None:
        """Write the file."""
        if self.is_change:
            self.project.write(self.text)


def freeze(  # noqa: PLR0913 - one for each option
    folder: Path,
    *,
    extras: Sequence[str] = (),
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    find_links: Sequence[str] = (),
    constraints: Sequence[str] = (),
) -> Freeze:
    """
    Compute the pins of a package, without writing them.

    Parameters
    ----------
    folder
        The folder with ``pyproject.toml``.
    extras
        Extras to pin in addition to ``frozen`` and those that are already pinned.
    upgrade
        Whether to upgrade to the newest releases that the ranges allow; otherwise pins within the ranges stay.
    upgrade_packages
        Distributions to upgrade to the newest release.
    find_links, constraints
        Folders or pages with wheels, and files with constraints, in addition to those in the settings of pip and uv.

    Raises
    ------
    FreezeError
        If the dependencies cannot be frozen.
    MissingExtraError
        If uv or tomlkit is not installed.
    """
    project = Pyproject.read(folder)
    chosen = {*project.pins, *map(project.name_of, extras)} - {FROZEN}
    names = [each for each in project.extras if each in chosen]
    options = ["--upgrade"] if upgrade else [f"--upgrade-package={each}" for each in upgrade_packages]
    upgraded = {_name(each): each for each in upgrade_packages}
    preferred = [pin for pins in project.pins.values() for pin in pins]
    with resolver(project, find_links=find_links, constraints=constraints) as resolve:
        everything = resolve.all_of(names, preferred=preferred, options=options)
        known = {_name(each) for each in everything}
        for unknown in upgraded.keys() - known:
            raise FreezeError(
                f"{upgraded[unknown]!r} is not frozen{did_you_mean(unknown, known)}",
                remedy="Name a distribution that is",
            )
        base = resolve.needed_by([], pins=everything) if names else everything
        pins = {FROZEN: base}
        for name in names:
            pins[name] = [each for each in resolve.needed_by([name], pins=everything) if each not in base]
    return Freeze(project, pins, project.with_pins(pins))


def _name(requirement: str) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        raise FreezeError(f"{requirement!r} is not the name of a distribution", remedy="Correct it") from None


def _changes(before: Pins, after: Pins) -> list[str]:
    old, new = _places(before), _places(after)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        then, now = _versions(old.get(name, ())), _versions(new.get(name, ()))
        if not then:
            lines.append(f"{name} {now} added")
        elif not now:
            lines.append(f"{name} {then} removed")
        elif then != now:
            lines.append(f"{name} {then} -> {now}")
        elif old[name] != new[name]:
            lines.append(f"{name} {now}: other markers or extras")
    return lines


def _places(pins: Pins) -> dict[str, set[tuple[str, str]]]:
    """Return the pins of each distribution, with their extras."""
    places: dict[str, set[tuple[str, str]]] = {}
    for extra, its in pins.items():
        for pin in its:
            places.setdefault(_name(pin), set()).add((extra, str(Requirement(pin))))
    return places


def _versions(places: Collection[tuple[str, str]]) -> str:
    return ", ".join(sorted({str(Requirement(pin).specifier).removeprefix("==") for _, pin in places}))

"""
The versions of Python and the platforms for which a package is resolved.

Runs in: author and CI. uv resolves for all versions from the lowest on and for all platforms, and demands wheels for
everything that some dependency names in a marker. So the rest must be excluded: versions that ``requires-python``
excludes, and Python in a browser.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

from packaging.markers import Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from dkist_processing_core.exceptions import FreezeError

__all__ = ["Pythons"]

# All releases of Python 3 that a marker might name, and more.
RELEASES = [Version(f"3.{minor}.{patch}") for minor, patch in product(range(50), range(50))]
VARIABLE = re.compile(r"[a-z]\w+(?=\s*(?:[<>=!~]|not in|in\b))")
PYTHON_VARIABLES = {"python_full_version", "python_version"}
NO_BROWSER = "sys_platform != 'emscripten'"


@dataclass(frozen=True)
class Pythons:
    """
    The versions of Python and the platforms that a package supports.

    Parameters
    ----------
    lowest
        The lowest version of Python.
    allowed
        Specifier of all supported versions.
    environments
        Markers, at least one of which holds on each supported platform.
    """

    lowest: str
    allowed: SpecifierSet
    environments: list[str]

    @classmethod
    def of(cls, data: Mapping[str, Any], path: str) -> Self:
        """Read a ``pyproject.toml``. The platforms are ``environments`` of ``[tool.uv]``, if this is declared."""
        declared = data["project"].get("requires-python", "")
        try:
            allowed = SpecifierSet(declared if isinstance(declared, str) else "")
            named = [Version(each.version.removesuffix(".*")) for each in allowed]
        except (InvalidSpecifier, InvalidVersion):
            named = []
        minors = [each for each in RELEASES if not each.micro]
        if not named or not (possible := list(allowed.filter([*named, *minors]))):
            raise FreezeError(
                f"{path} has requires-python = {declared!r}, which does not say for which Python to freeze",
                remedy='Declare the lowest version in [project], such as requires-python = ">=3.11"',
            )
        others = sorted(f"python_full_version {each.operator} '{each.version}'" for each in allowed)
        limits = [each for each in others if " >= " not in each]
        platforms = data.get("tool", {}).get("uv", {}).get("environments", NO_BROWSER)
        platforms = [platforms] if isinstance(platforms, str) else platforms
        return cls(str(min(possible)), allowed, [" and ".join([f"({each})", *limits]) for each in platforms])

    def simplified(self, pin: str) -> str:
        """Return a pin without the parts of its marker that hold for every supported Python."""
        what, _, marker = pin.partition(" ; ")
        parts = [marker] if " or " in marker else marker.split(" and ")
        needed = " and ".join(each for each in parts if each not in {"", NO_BROWSER} and not self._is_always_true(each))
        return f"{what} ; {needed}" if needed else what

    def _is_always_true(self, text: str) -> bool:
        """Return whether a marker holds on every allowed Python, whatever the platform."""
        if not set(VARIABLE.findall(text)) <= PYTHON_VARIABLES:
            return False
        marker = Marker(text)
        return all(
            marker.evaluate({"python_full_version": each, "python_version": each.rpartition(".")[0]})
            for each in map(str, self.allowed.filter(RELEASES))
        )

"""
The description of the environment of a task, for the task itself.

Runs in: task environment, and wherever else a task runs, such as a notebook or a test.
"""

import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dkist_processing_core.common.environment import identity_now, read_description

__all__ = ["TaskEnvironment"]


class TaskEnvironment:
    """
    The environment that a task runs in. Each value is read when it is first used.

    Parameters
    ----------
    folder
        Folder of the environment. The default is the one of the running Python (``sys.prefix``).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(sys.prefix)

    @cached_property
    def identity(self) -> str | None:
        """
        SHA-256 of everything that determines the code in the environment, as 64 hexadecimal digits.

        It is the same wherever the same files are installed. It is None if the worker program did not build the
        environment, or an earlier version of it did.
        """
        return identity_now(self._description)

    @property
    def requirement(self) -> str | None:
        """Requirement that the environment was built from (:pep:`508`); None where `identity` is None."""
        return self._description.get("requirement")

    @cached_property
    def distributions(self) -> Mapping[str, str]:
        """Version of each installed distribution, by normalized name (:pep:`503`), sorted by name."""
        if described := self._description.get("distributions"):
            return {each["name"]: each["version"] for each in described}
        import re
        from importlib.metadata import distributions

        # Of two with the same name, Python imports the first one. A half-uninstalled distribution has no name.
        found: dict[str, str] = {}
        for each in distributions():
            if name := each.metadata["Name"]:
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each.version)
        return dict(sorted(found.items()))

    @cached_property
    def _description(self) -> dict[str, Any]:
        return read_description(self._folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identity={self.identity!r}, requirement={self.requirement!r})"

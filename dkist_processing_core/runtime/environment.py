"""
What a task can learn about the environment that it runs in.

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
    The environment that a task runs in; what is asked for is read when it is asked for first.

    Parameters
    ----------
    folder
        The folder of the environment; by default that of the Python that runs this.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(sys.prefix)

    @cached_property
    def identity(self) -> str | None:
        """
        SHA-256 over all that decides the code in the environment, as 64 hexadecimal digits.

        It is the same wherever the same files are installed. None if the worker program did not build the environment.
        """
        return identity_now(self._description)

    @property
    def requirement(self) -> str | None:
        """What the environment was built from; None if the worker program did not build it."""
        return self._description.get("requirement")

    @cached_property
    def distributions(self) -> Mapping[str, str]:
        """The version of each distribution in the environment by its name, normalized (:pep:`503`) and sorted."""
        if described := self._description.get("distributions"):
            return {each["name"]: each["version"] for each in described}
        import re
        from importlib.metadata import distributions

        # Of two with the same name, Python imports the first one; one that an uninstallation has left half has no name.
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

"""
The queues that workers listen on.

Runs in: author and CI.
"""

from enum import EnumMeta, StrEnum
from typing import TYPE_CHECKING

__all__ = ["ResourceQueue"]


class _Meta(EnumMeta):
    if not TYPE_CHECKING:  # else a type checker would believe that every name is one of a member

        def __getattr__(cls, name: str) -> object:
            """Name the member that was probably meant."""
            if name.startswith("_"):
                raise AttributeError(name)
            from dkist_processing_core.exceptions import did_you_mean

            known = ", ".join(cls.__members__)
            hint = did_you_mean(name, cls.__members__)
            raise AttributeError(f"there is no {cls.__name__}.{name}{hint}; there are {known}")


class ResourceQueue(StrEnum, metaclass=_Meta):
    """
    Airflow queue of a task, which selects the kind of worker that runs it.

    Each queue has an Airflow pool, ``{queue}_pool``, that limits how many of its tasks run at the same time.
    """

    DEFAULT = "default"
    HIGH_MEMORY = "high_memory"
    MULTI_CORE = "multi_core"
    GPU = "gpu"

    @property
    def pool(self) -> str:
        """Name of the Airflow pool that limits this queue."""
        return f"{self.value}_pool"

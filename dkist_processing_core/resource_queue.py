"""
The queues that workers listen on.

Runs in: author and CI.
"""

from enum import StrEnum

__all__ = ["ResourceQueue"]


class ResourceQueue(StrEnum):
    """
    Kind of worker that a node needs, by the name of the Airflow queue that such workers listen on.

    Each queue has an Airflow pool of the name ``{queue}_pool`` that bounds how many of its tasks run at once.
    """

    DEFAULT = "default"
    HIGH_MEMORY = "high_memory"
    MULTI_CORE = "multi_core"
    GPU = "gpu"

    @property
    def pool(self) -> str:
        """Name of the Airflow pool that bounds this queue."""
        return f"{self.value}_pool"

"""
What keeps the worker program from running a task, with the exit status that says so.

Runs in: worker.
"""

__all__ = ["INVALID_RECIPE_RUN_ID", "MISCONFIGURED", "UNAVAILABLE", "InstallerError", "WorkerError"]

# The numbers of sysexits.h.
INVALID_RECIPE_RUN_ID = 65  # EX_DATAERR
UNAVAILABLE = 69  # EX_UNAVAILABLE: the environment cannot be built
MISCONFIGURED = 78  # EX_CONFIG


class WorkerError(Exception):
    """The task cannot be run, and the worker program ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class InstallerError(WorkerError):
    """An installer has failed; ``may_be_its_cache`` unless its messages name a cause that its cache has no part in."""

    def __init__(self, message: str, *, may_be_its_cache: bool) -> None:
        super().__init__(UNAVAILABLE, message)
        self.may_be_its_cache = may_be_its_cache

"""Task classes at the top level of an importable module, as workflows need them."""

from dkist_processing_core import TaskBase


class First(TaskBase):
    """Do the first thing.

    With | a second paragraph.
    """

    def run(self) -> None:
        print("first")


class Second(TaskBase):
    """Do the second thing."""

    retries = 2
    retry_delay_seconds = 5

    def run(self) -> None:
        print("second")


class Third(TaskBase):
    def run(self) -> None:
        print("third")


class Fourth(First):
    """Do the fourth thing."""

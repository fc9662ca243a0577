"""
The base class of tasks.

Runs in: task environment, and author and CI, where workflows refer to the classes.
"""

from dkist_processing_core.runtime.task import TaskBase

__all__ = ["TaskBase"]

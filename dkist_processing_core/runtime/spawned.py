"""
Show the log records of a process that multiprocessing spawns for a task like those of the task.

Runs in: task environment. A spawned process shares nothing with its parent, but first runs the main module of the
parent under the name ``__mp_main__``. `runtime.__main__` makes this module the main module.
"""

from dkist_processing_core.runtime.logging import show_log_records

if __name__ == "__mp_main__":
    show_log_records()

"""
What a process runs first that multiprocessing spawns for a task: its log records are shown like those of the task.

Runs in: task environment. Such a process knows nothing of the one that started it. It runs the module that this one
calls its main module, by the name ``__mp_main__``; `runtime.__main__` lets that be this module.
"""

from dkist_processing_core.runtime.logging import show_log_records

if __name__ == "__mp_main__":
    show_log_records()

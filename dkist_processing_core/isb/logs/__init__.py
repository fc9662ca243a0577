"""
The log of a task on the interservice bus.

Runs in: task environment, if ``DKIST_ISB_LOGGING`` is set.
"""

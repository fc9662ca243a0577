"""
The log of a task on its way to the interservice bus.

Runs in: task environment, if ``DKIST_ISB_LOGGING`` says so.
"""

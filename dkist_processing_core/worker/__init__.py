"""
The worker program: it finds or builds the environment of a task and runs the task in it, supervised.

Runs in: worker, with the standard library alone.
"""

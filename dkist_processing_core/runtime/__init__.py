"""
What runs inside a task environment: the base class of tasks, and the program that starts one.

Runs in: task environment.
"""

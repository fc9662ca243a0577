"""
An instrument package: what a team writes around dkist-processing-core.

``tasks`` are the steps, ``workflows`` say in which order they run, and the other modules are the science, which knows
nothing of workflows. Nothing is imported here: the workflows are looked at in places where a fast import counts.
"""

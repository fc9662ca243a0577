"""
An instrument package: what a team writes around dkist-processing-core.

``tasks`` are the steps, and ``workflows`` declare their order. The other modules are the science, which is independent
of workflows. Nothing is imported here, so that a task loads only the modules that it needs.
"""

"""
The tasks and workflows of ``placeholder_name``.

Nothing is imported here, so that a task loads only the modules that it needs.
"""

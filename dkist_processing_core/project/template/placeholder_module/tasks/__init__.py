"""The tasks, one per module."""

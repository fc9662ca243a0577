"""A package with one task and one workflow."""

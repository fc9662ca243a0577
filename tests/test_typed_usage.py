"""That ``typed_usage.py``, which the type checker reads, uses every public name."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

USAGE = ast.parse(Path(__file__).with_name("typed_usage.py").read_text())
MODULES = (
    "build_utils",
    "config",
    "failure_callback",
    "local",
    "node",
    "notebook_utils",
    "resource_queue",
    "task",
    "testing",
    "workflow",
)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_used(module):
    """A name that is added to ``__all__`` of a public module is used there, not only imported."""
    used = {each.id for each in ast.walk(USAGE) if isinstance(each, ast.Name)}
    used |= {each.attr for each in ast.walk(USAGE) if isinstance(each, ast.Attribute)}
    assert set(import_module(f"dkist_processing_core.{module}").__all__) - used == set()

"""Fixtures of all tests."""

import pytest
from dkist_processing_core import testing

from placeholder_module.settings import SCRATCH


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Give each test a scratch folder of its own, so that it sees no files of another test or of a person."""
    monkeypatch.setenv(SCRATCH, str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(autouse=True)
def _settings(tmp_path, monkeypatch):
    """Use the settings of this package's CI, whatever the variables of the shell are."""
    monkeypatch.delenv("BUILD_VERSION", raising=False)
    monkeypatch.setenv("DKIST_EXPECTED_POOLS", "high_memory_pool")
    monkeypatch.setenv("DKIST_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def recorded():
    """Record the telemetry and the messages of the tasks in a test instead of sending them."""
    with testing.recorded() as recorded:
        yield recorded

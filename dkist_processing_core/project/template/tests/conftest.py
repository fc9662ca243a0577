"""What every test gets."""

import pytest
from dkist_processing_core import testing

from placeholder_module.settings import SCRATCH


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Give each test a scratch folder of its own, so that none sees what another one, or a person, has left."""
    monkeypatch.setenv(SCRATCH, str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(autouse=True)
def _settings(tmp_path, monkeypatch):
    """Use the settings of this package's CI, whatever the shell that runs the tests has set."""
    monkeypatch.delenv("BUILD_VERSION", raising=False)
    monkeypatch.setenv("DKIST_EXPECTED_POOLS", "high_memory_pool")
    monkeypatch.setenv("DKIST_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def recorded():
    """Record what the tasks of a test report, instead of sending it anywhere."""
    with testing.recorded() as recorded:
        yield recorded

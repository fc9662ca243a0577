"""What every test gets."""

import pytest


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """A scratch folder of each test's own, so that no test sees what another one, or a person, has left behind."""
    monkeypatch.setenv("DKIST_EXAMPLE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    """No telemetry and no version but what a test asks for, whatever the shell that runs the tests has set."""
    for name in ("BUILD_VERSION", "ELASTIC_APM_ENABLED"):
        monkeypatch.delenv(name, raising=False)

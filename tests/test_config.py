"""Settings from the environment."""

import json
import logging
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from dkist_processing_core import config
from dkist_processing_core.config import (
    DKISTProcessingCoreConfiguration,
    InterserviceBusConfiguration,
    MeshService,
)

MESH = """{
    "interservice-bus": {"mesh_address": "bus", "mesh_port": 5673},
    "system-monitoring-log-apm": {"mesh_address": "apm", "mesh_port": 8200}
}"""


def test_the_defaults_are_those_of_the_contract():
    """Without any variable set, the settings are these."""
    settings = DKISTProcessingCoreConfiguration()
    assert settings.build_version == "dev"
    assert (settings.isb_username, settings.isb_password) == ("guest", "guest")
    assert (settings.isb_exchange, settings.isb_queue_type) == ("master.direct.x", "classic")
    assert settings.isb_queue_arguments == {"x-queue-type": "classic"}
    assert settings.isb_mesh_service == MeshService(mesh_address="localhost", mesh_port=5672)
    assert (settings.isb_virtual_host, settings.isb_tls, settings.isb_ca_file) == ("/", False, None)
    assert settings.isb_connection_name == f"dkist-processing-core@{socket.gethostname()}"
    assert (settings.elastic_apm_enabled, settings.elastic_apm_other_options) == (False, {})
    assert (settings.pip_timeout, settings.pip_retries) == (15, 5)
    assert settings.is_notebook_execution_environment is False
    assert settings.cpu_count >= 1
    assert settings.service_mesh_detail("unknown") == config.DEFAULT_MESH_SERVICE
    assert settings.retry_config.retry_tries == -1


def test_the_environment_sets_them(monkeypatch):
    """Each variable reaches its setting."""
    for name, value in {
        "MESH_CONFIG": MESH,
        "ISB_USERNAME": "u",
        "ISB_QUEUE_TYPE": "quorum",
        "DKIST_ISB_VIRTUAL_HOST": "processing",
        "DKIST_ISB_CONNECTION_NAME": "worker 7",
        "DKIST_ISB_TLS": "yes",
        "DKIST_ISB_CA_FILE": "/etc/ca.pem",
        "ELASTIC_APM_ENABLED": "true",
        "ELASTIC_APM_OTHER_OPTIONS": '{"TRANSACTION_MAX_SPANS": 7}',
        "NOMAD_ALLOC_ID": "id",
        "NOMAD_ALLOC_NAME": "name",
        "NOMAD_GROUP_NAME": "group",
        "OTEL_SERVICE_NAME": "service",
    }.items():
        monkeypatch.setenv(name, value)
    settings = DKISTProcessingCoreConfiguration()
    assert settings.isb_username == "u"
    assert settings.isb_queue_arguments == {"x-queue-type": "quorum"}
    assert (settings.isb_mesh_service.host, settings.isb_mesh_service.port) == ("bus", 5673)
    assert (settings.isb_virtual_host, settings.isb_connection_name) == ("processing", "worker 7")
    assert (settings.isb_tls, settings.isb_ca_file) == (True, Path("/etc/ca.pem"))
    assert settings.apm_config == {
        "SERVICE_NAME": "dkist-processing-core",
        "SERVER_URL": "http://apm:8200/",
        "ENVIRONMENT": "Workflows",
        "TRANSACTION_MAX_SPANS": 7,
    }
    assert (settings.allocation_id, settings.allocation_name, settings.allocation_group) == ("id", "name", "group")
    assert settings.service_name == "service"


def test_by_tls_the_bus_is_at_the_port_for_tls(monkeypatch):
    """Unless MESH_CONFIG says where it is."""
    monkeypatch.setenv("DKIST_ISB_TLS", "true")
    assert InterserviceBusConfiguration().isb_mesh_service == MeshService(mesh_address="localhost", mesh_port=5671)
    monkeypatch.setenv("MESH_CONFIG", MESH)
    assert InterserviceBusConfiguration().isb_mesh_service == MeshService(mesh_address="bus", mesh_port=5673)


@pytest.mark.parametrize("configuration", [InterserviceBusConfiguration, DKISTProcessingCoreConfiguration])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("{", "is not JSON (Expecting property name"),
        ("localhost:5672", "is not JSON (Expecting value"),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ('{"interservice-bus": 3}', "has no valid address for 'interservice-bus' (it: Input should be"),
        ('{"interservice-bus": {}}', "(mesh_address: Field required; mesh_port: Field required)"),
        ('{"interservice-bus": {"mesh_address": "bus"}}', "(mesh_port: Field required)"),
        (
            '{"apm": {"mesh_address": "a", "mesh_port": "x"}}',
            "has no valid address for 'apm' (mesh_port: Input should be",
        ),
    ],
    ids=["syntax", "no-json", "list", "null", "number", "empty", "no-port", "another-service"],
)
def test_a_malformed_mesh_config_is_one_clear_error(monkeypatch, configuration, value, fault):
    """It names the variable, says what is wrong, shows the value, and what it must look like."""
    monkeypatch.setenv("MESH_CONFIG", value)
    with pytest.raises(ValidationError) as caught:
        configuration()
    [error] = caught.value.errors()
    text = str(error["ctx"]["error"])
    assert text.startswith("MESH_CONFIG ")
    assert fault in text
    assert f"It is {value!r}, and must look like " in text
    example = json.loads(text.partition("must look like ")[2])
    assert InterserviceBusConfiguration(service_mesh=example).isb_mesh_service.port == 5672


def test_a_malformed_mesh_config_is_not_shown_with_what_is_secret(monkeypatch):
    """Neither with the user and password of an address, nor whole if it is long."""
    monkeypatch.setenv("MESH_CONFIG", f"amqp://user:s3cret@bus:5672/{'x' * 1000}")
    with pytest.raises(ValueError, match="MESH_CONFIG is not JSON") as caught:
        InterserviceBusConfiguration()
    assert "amqp://<redacted>@bus:5672/" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "x" * 300 not in str(caught.value)


def test_settings_are_read_when_they_are_asked_for(monkeypatch):
    """A variable that is set after the import counts."""
    monkeypatch.setenv("BUILD_VERSION", "1.2.3")
    assert config.core_configurations.build_version == "1.2.3"
    monkeypatch.delenv("BUILD_VERSION")
    assert config.core_configurations.build_version == "dev"
    with pytest.raises(AttributeError, match="nonsense"):
        config.nonsense  # noqa: B018 - looking is the point


def test_a_mesh_service_equals_any_object_of_the_same_host_and_port():
    """Client packages compare it with the one of another library."""

    @dataclass
    class Other:
        host: str
        port: int

    assert MeshService(mesh_address="a", mesh_port=1) == Other("a", 1)
    assert Other("a", 1) == MeshService(mesh_address="a", mesh_port=1)
    assert MeshService(mesh_address="a", mesh_port=1) != Other("a", 2)
    assert MeshService(mesh_address="a", mesh_port=1) != "a:1"
    assert len({MeshService(mesh_address="a", mesh_port=1), MeshService(mesh_address="a", mesh_port=1)}) == 1


class ClientConfiguration(DKISTProcessingCoreConfiguration):
    scratch_base_path: str = Field(default="scratch/")
    gql_auth_token: str | None = "abc"


def test_client_packages_add_fields(monkeypatch):
    """A subclass reads its own fields from the environment, beside ours."""
    monkeypatch.setenv("SCRATCH_BASE_PATH", "/data")
    monkeypatch.setenv("ISB_EXCHANGE", "x")
    settings = ClientConfiguration()
    assert (settings.scratch_base_path, settings.isb_exchange) == ("/data", "x")


@pytest.mark.parametrize("with_parents", [True, False], ids=["all", "own"])
def test_logged_settings_hold_no_secret(monkeypatch, caplog, with_parents):
    """Passwords, tokens, and what an address carries are redacted, however deep."""
    monkeypatch.setenv("ISB_PASSWORD", "s3cret")
    monkeypatch.setenv("GQL_AUTH_TOKEN", "s3cret")
    monkeypatch.setenv("SCRATCH_BASE_PATH", "https://user:p@s3cret@host/path")
    monkeypatch.setenv("ELASTIC_APM_OTHER_OPTIONS", '{"SECRET_TOKEN": "s3cret", "A": [{"api_key": "s3cret"}]}')
    with caplog.at_level(logging.INFO):
        ClientConfiguration().log_configurations(log_parent_configurations=with_parents)
    assert "s3cret" not in caplog.text
    assert "scratch_base_path: https://<redacted>@host/path" in caplog.text
    assert ("isb_exchange: master.direct.x" in caplog.text) == with_parents
    assert "gql_auth_token: <redacted>" in caplog.text


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    """As in most deployments that pass variables on."""
    for name in ("MESH_CONFIG", "PIP_TIMEOUT", "RETRY_CONFIG", "BUILD_VERSION", "ISB_EXCHANGE"):
        monkeypatch.setenv(name, "")
    assert DKISTProcessingCoreConfiguration() == DKISTProcessingCoreConfiguration.model_construct()


def test_a_refused_value_is_not_shown(monkeypatch):
    """It may be a secret."""
    monkeypatch.setenv("ELASTIC_APM_OTHER_OPTIONS", '["SECRET_TOKEN", "s3cret"]')
    with pytest.raises(ValueError, match="ELASTIC_APM_OTHER_OPTIONS|elastic_apm_other_options") as caught:
        DKISTProcessingCoreConfiguration()
    assert "s3cret" not in str(caught.value)


def test_the_password_is_not_in_the_text_form(monkeypatch):
    """Neither is it shown when the object itself is."""
    monkeypatch.setenv("ISB_PASSWORD", "s3cret")
    assert "s3cret" not in repr(DKISTProcessingCoreConfiguration())


@pytest.mark.parametrize(
    "name", ["isb_publish_exchange", "isb_producer_connection_parameters", "isb_connection_retryer"]
)
def test_what_is_made_with_talus_says_what_is_missing(monkeypatch, name):
    """Only client packages install it; that it works there is what make client shows."""
    monkeypatch.setitem(sys.modules, "talus", None)
    with pytest.raises(ImportError, match=f"The setting {name} needs talus. Install it with: pip install talus"):
        getattr(DKISTProcessingCoreConfiguration(), name)

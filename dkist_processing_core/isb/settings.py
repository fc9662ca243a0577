"""
The settings that publishing to the interservice bus needs, and nothing else.

Runs in: worker and DAG processor once a task has failed, task environment, author and CI. The module `config` extends
them. The module loads pydantic, so nothing imports it before there is something to publish.
"""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.exceptions import ConfigurationError, MissingDistributionError

__all__ = ["DEFAULT_MESH_SERVICE", "InterserviceBusConfiguration", "MeshService", "isb_configuration"]


class MeshService(BaseModel):
    """
    Address at which this machine reaches a service of the data centre's service mesh.

    It is equal to any object with the same ``host`` and ``port``, of whatever class.
    """

    model_config = ConfigDict(populate_by_name=True, frozen=True)

    host: str = Field(alias="mesh_address", description="Host name or address.")
    port: int = Field(alias="mesh_port", description="TCP port.")

    def __eq__(self, other: object) -> bool:
        try:
            return (self.host, self.port) == (other.host, other.port)  # type: ignore[attr-defined]
        except AttributeError:
            return NotImplemented

    def __hash__(self) -> int:
        return hash((self.host, self.port))


DEFAULT_MESH_SERVICE = MeshService(host="127.0.0.1", port=0)
MESH_CONFIG_EXAMPLE = '{"interservice-bus": {"mesh_address": "localhost", "mesh_port": 5672}}'
SHOWN_CHARACTERS = 200


class InterserviceBusConfiguration(BaseSettings):
    """
    The settings for publishing on the interservice bus.

    They have a class of their own, so that an invalid value of another setting cannot prevent a message.

    Raises
    ------
    pydantic.ValidationError
        If the value of a variable has the wrong type. It is also a `ValueError`.
    """

    # An invalid value may be a secret, so no error shows it.
    model_config = SettingsConfigDict(
        extra="ignore", populate_by_name=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    # Not decoded by pydantic-settings: its error about malformed JSON names neither the variable nor the expected form.
    service_mesh: Annotated[dict[str, MeshService], NoDecode] = Field(
        default_factory=dict,
        validation_alias="MESH_CONFIG",
        description="Addresses of the services of the mesh (MESH_CONFIG, JSON).",
        examples=[json.loads(MESH_CONFIG_EXAMPLE)],
    )
    isb_username: str = Field(default="guest", description="User name on the interservice bus.")
    isb_password: str = Field(default="guest", description="Password on the interservice bus.", repr=False)
    isb_exchange: str = Field(default="master.direct.x", description="Exchange that messages are published to.")
    isb_queue_type: str = Field(
        default="classic", description="Type of the queues that are declared.", examples=["classic", "quorum"]
    )
    isb_virtual_host: str = Field(
        default="/",
        validation_alias="DKIST_ISB_VIRTUAL_HOST",
        description="Virtual host on the interservice bus (DKIST_ISB_VIRTUAL_HOST).",
    )
    isb_connection_name: str = Field(
        default_factory=lambda: f"dkist-processing-core@{socket.gethostname()}",
        validation_alias="DKIST_ISB_CONNECTION_NAME",
        description="Name of our connections in the broker's own tools (DKIST_ISB_CONNECTION_NAME).",
    )
    isb_tls: bool = Field(
        default=False,
        validation_alias="DKIST_ISB_TLS",
        description="Whether to connect to the interservice bus with TLS (DKIST_ISB_TLS).",
    )
    isb_ca_file: Path | None = Field(
        default=None,
        validation_alias="DKIST_ISB_CA_FILE",
        description="File with the trusted certificates; by default the system's (DKIST_ISB_CA_FILE, PEM).",
    )

    @field_validator("service_mesh", mode="before")
    @classmethod
    def _parse_service_mesh(cls, value: object) -> object:
        """Parse MESH_CONFIG; an error shows the expected form."""
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise _mesh_config_error(value, f"is not JSON ({error})") from None
        if not isinstance(parsed, Mapping):
            raise _mesh_config_error(value, "is not a JSON object")
        services = {}
        for name, service in parsed.items():
            try:
                services[name] = MeshService.model_validate(service)
            except ValidationError as error:
                faults = "; ".join(
                    f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()
                )
                raise _mesh_config_error(value, f"has no valid address for {name!r} ({faults})") from None
        return services

    def service_mesh_detail(self, service_name: str, default_mesh_service: Any = DEFAULT_MESH_SERVICE) -> Any:
        """
        Return the address of a service of the mesh.

        Parameters
        ----------
        service_name
            Name of the service in ``MESH_CONFIG``.
        default_mesh_service
            What to return if ``MESH_CONFIG`` does not contain the service. The default has the port 0.

        Returns
        -------
        MeshService
            An object with ``host`` and ``port``.
        """
        return self.service_mesh.get(service_name, default_mesh_service)

    @property
    def isb_mesh_service(self) -> Any:
        """
        Address of the interservice bus, the service ``interservice-bus`` of ``MESH_CONFIG``.

        The default is ``localhost`` with port 5672, or 5671 with TLS.
        """
        default = MeshService(host="localhost", port=5671 if self.isb_tls else 5672)
        return self.service_mesh_detail("interservice-bus", default_mesh_service=default)

    @property
    def isb_queue_arguments(self) -> dict[str, str]:
        """Arguments of ``queue.declare`` (AMQP 0-9-1)."""
        return {"x-queue-type": self.isb_queue_type}

    @property
    def isb_publish_exchange(self) -> Any:
        """Exchange of talus, for client packages that publish their own messages. It needs talus."""
        return _talus("isb_publish_exchange").Exchange(name=self.isb_exchange)

    @property
    def isb_producer_connection_parameters(self) -> Any:
        """Factory of talus for a producer's connection parameters, without TLS and virtual host. It needs talus."""
        broker = self.isb_mesh_service
        return _talus("isb_producer_connection_parameters").ProducerConnectionParameterFactory(
            rabbitmq_host=broker.host,
            rabbitmq_port=broker.port,
            rabbitmq_user=self.isb_username,
            rabbitmq_pass=self.isb_password,
            connection_name=self.isb_connection_name,
        )

    @property
    def isb_connection_retryer(self) -> Any:
        """Factory of talus for the retries of a connection: three tries, some seconds apart. It needs talus."""
        return _talus("isb_connection_retryer").ConnectionRetryerFactory(
            delay_min=1, delay_max=5, backoff=1, jitter_min=1, jitter_max=3, attempts=3
        )


def isb_configuration() -> InterserviceBusConfiguration:
    """Return the settings, or raise a `ConfigurationError` if one of them cannot be used."""
    try:
        return InterserviceBusConfiguration()
    except ValidationError as error:
        # pydantic's text has several lines and ends with a URL of its documentation.
        raise ConfigurationError("; ".join(_fault(each) for each in error.errors())) from None


def _fault(error: Mapping[str, Any]) -> str:
    own = error.get("ctx", {}).get("error")
    return str(own) if own else f"{'.'.join(map(str, error['loc'])).upper()}: {error['msg']}"


def _talus(setting: str) -> Any:
    """Import talus, which this library neither requires nor installs."""
    try:
        import talus
    except ImportError as error:
        raise MissingDistributionError(f"The setting {setting}", distribution="talus") from error
    return talus


def _mesh_config_error(value: object, fault: str) -> ValueError:
    shown = redact_urls(str(value))
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[:SHOWN_CHARACTERS]}..."
    return ValueError(f"MESH_CONFIG {fault}. It is {shown!r}, and must look like {MESH_CONFIG_EXAMPLE}")

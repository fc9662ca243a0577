"""
Every setting from the environment, with its type, default and description.

Runs in: task environment, author and CI, and the worker once a task has failed. Client packages subclass
`DKISTProcessingCoreConfiguration` and add fields. The module loads pydantic, so nothing imports it before it needs a
setting that `common.settings` does not have.
"""

import logging
import os
from collections.abc import Mapping
from inspect import get_annotations
from typing import Any

from pydantic import BaseModel, Field

from dkist_processing_core.common.redaction import REDACTED, is_secret_name, redact_urls
from dkist_processing_core.common.settings import DEFAULT_BUILD_VERSION
from dkist_processing_core.isb.settings import DEFAULT_MESH_SERVICE, InterserviceBusConfiguration, MeshService

__all__ = [
    "DEFAULT_MESH_SERVICE",
    "DKISTProcessingCoreConfiguration",
    "InterserviceBusConfiguration",
    "MeshService",
    "RetryConfig",
    "core_configurations",
]

logger = logging.getLogger(__name__)


class RetryConfig(BaseModel):
    """How client packages retry a call to a service that failed. Times are in seconds."""

    retry_delay: int = Field(default=1, description="Time before the second try.")
    retry_backoff: int = Field(default=2, description="Factor by which the time grows at each try.")
    retry_jitter: tuple[int, int] = Field(default=(1, 10), description="Shortest and longest time added at random.")
    retry_max_delay: int = Field(default=300, description="Longest time between two tries.")
    retry_tries: int = Field(default=-1, description="Number of tries; -1 for no limit.")


class DKISTProcessingCoreConfiguration(InterserviceBusConfiguration):
    """
    Settings that this library reads from environment variables.

    Each field is read from the variable of the same name in upper case, or from the one that its description names. An
    empty variable counts as not set.

    Raises
    ------
    ValueError
        As from `InterserviceBusConfiguration`.
    """

    build_version: str = Field(
        default=DEFAULT_BUILD_VERSION, description="Version of the workflows that do not state one."
    )
    elastic_apm_enabled: bool = Field(default=False, description="Whether tasks report to Elastic APM.")
    elastic_apm_service_name: str = Field(
        default="dkist-processing-core", description="Service name for telemetry that belongs to no workflow."
    )
    elastic_apm_other_options: dict[str, Any] = Field(
        default_factory=dict, description="Further options of the Elastic APM agent (JSON)."
    )
    pip_timeout: float = Field(default=15, description="Time for one request to the package index, in seconds.")
    pip_retries: int = Field(default=5, description="Number of retries of a request to the package index.")
    is_notebook_execution_environment: bool = Field(
        default=False, description="Whether tasks run in a notebook instead of a workflow."
    )
    retry_config: RetryConfig = Field(
        default_factory=RetryConfig, description="How client packages retry calls to services (JSON)."
    )
    service_name: str = Field(
        default="unknown-service-name",
        validation_alias="OTEL_SERVICE_NAME",
        description="Service name in OpenTelemetry (OTEL_SERVICE_NAME).",
    )
    allocation_id: str = Field(
        default="unknown-allocation-id",
        validation_alias="NOMAD_ALLOC_ID",
        description="Id of the allocation that the worker runs in (NOMAD_ALLOC_ID).",
    )
    allocation_name: str = Field(
        default="unknown-allocation-name",
        validation_alias="NOMAD_ALLOC_NAME",
        description="Name of the allocation that the worker runs in (NOMAD_ALLOC_NAME).",
    )
    allocation_group: str = Field(
        default="unknown-allocation-group",
        validation_alias="NOMAD_GROUP_NAME",
        description="Group of the allocation that the worker runs in (NOMAD_GROUP_NAME).",
    )

    @property
    def cpu_count(self) -> int:
        """Number of processors that this process may use."""
        if hasattr(os, "process_cpu_count"):  # since Python 3.13; it also respects PYTHON_CPU_COUNT
            return os.process_cpu_count() or 1
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0)) or 1
        return os.cpu_count() or 1

    @property
    def elastic_apm_server_url(self) -> str:
        """URL of the Elastic APM server, the service ``system-monitoring-log-apm`` of ``MESH_CONFIG``."""
        server = self.service_mesh_detail("system-monitoring-log-apm")
        return f"http://{server.host}:{server.port}/"

    @property
    def apm_config(self) -> dict[str, Any]:
        """Options of the Elastic APM agent. Those of ``ELASTIC_APM_OTHER_OPTIONS`` take precedence."""
        return {
            "SERVICE_NAME": self.elastic_apm_service_name,
            "SERVER_URL": self.elastic_apm_server_url,
            "ENVIRONMENT": "Workflows",
            **self.elastic_apm_other_options,
        }

    def log_configurations(self, log_parent_configurations: bool = True) -> None:
        """
        Log every setting, with secrets redacted.

        Parameters
        ----------
        log_parent_configurations
            Whether to log the settings of the parent classes as well.
        """
        own = get_annotations(type(self))
        for name in type(self).model_fields:
            if log_parent_configurations or name in own:
                logger.info("%s: %s", name, redacted(name, getattr(self, name)))


def redacted(name: str, value: object) -> object:
    """Return the value with its secrets replaced: whatever has the name of a secret, and passwords in URLs."""
    if is_secret_name(name) and value not in (None, ""):
        return REDACTED
    if isinstance(value, BaseModel):
        return redacted(name, value.model_dump())
    if isinstance(value, Mapping):
        return {key: redacted(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redacted(name, each) for each in value)
    if isinstance(value, str):
        return redact_urls(value)
    return value


def __getattr__(name: str) -> DKISTProcessingCoreConfiguration:
    """Build ``core_configurations`` from the environment at each access."""
    if name == "core_configurations":
        return DKISTProcessingCoreConfiguration()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


core_configurations: DKISTProcessingCoreConfiguration

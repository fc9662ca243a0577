"""
Check the settings of this library, and the interservice bus: TLS, credentials, permissions.

Runs in: worker, the machine of the DAG processor, and CI for the settings.
"""

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta

from dkist_processing_core.common.settings import isb_enabled, isb_logging
from dkist_processing_core.doctor import answers
from dkist_processing_core.doctor.machine import Machine
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.exceptions import ConfigurationError
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.limits import max_age, max_size
from dkist_processing_core.worker.request import build_wait_seconds, grace_seconds

__all__ = ["check_bus", "check_settings", "check_tls"]

SECONDS = 8.0
DISABLED = "DKIST_ISB_ENABLED is false"
SOON = timedelta(days=14)


def check_settings(machine: Machine) -> Finding:
    """Check that each setting of this library can be read."""
    from pydantic import ValidationError

    from dkist_processing_core.config import DKISTProcessingCoreConfiguration
    from dkist_processing_core.isb.settings import isb_configuration

    remedy = "Correct the variable that this names."
    try:
        isb_configuration()
        DKISTProcessingCoreConfiguration()
        grace_seconds(machine.variables)
        build_wait_seconds(machine.variables)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors())
        raise CheckError(faults, remedy) from error
    except (ConfigurationError, WorkerError) as error:
        raise CheckError(str(error), remedy) from error
    for name, read in (("MAX_SIZE", max_size), ("MAX_AGE", max_age)):
        try:
            read(machine.variables)
        except ConfigurationError as error:
            raise CheckError(f"DKIST_ENVIRONMENT_{name}: {error}", remedy) from error
    return Finding.ok("all variables are valid")


def check_tls(machine: Machine) -> Finding:  # noqa: ARG001 - like each check
    """Check that the certificate of the bus is trusted, and that it does not expire soon."""
    from dkist_processing_core.isb.connection import tls_context
    from dkist_processing_core.isb.settings import isb_configuration

    configuration = isb_configuration()
    if not isb_enabled():
        return Finding.not_needed(DISABLED)
    if not configuration.isb_tls:
        return Finding.not_needed("DKIST_ISB_TLS is false")
    bus = configuration.isb_mesh_service
    try:
        context = tls_context(configuration)
    except ConfigurationError as error:
        found, _, remedy = str(error).rpartition(". ")
        raise CheckError(found, f"{remedy} Set DKIST_ISB_CA_FILE to one.") from error
    try:
        connection = answers.connect(bus.host, bus.port, seconds=SECONDS)
    except OSError:
        return Finding.not_checked("see bus")  # which says that the server cannot be reached
    with connection:
        return _certificate(context, connection, bus.host)


def _certificate(context: ssl.SSLContext, connection: socket.socket, host: str) -> Finding:
    try:
        with context.wrap_socket(connection, server_hostname=host) as wrapped:
            certificate = wrapped.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        remedy = "Set DKIST_ISB_CA_FILE to the certificates of the authority that signed the certificate of the bus."
        if error.verify_code == 10:  # noqa: PLR2004 - X509_V_ERR_CERT_HAS_EXPIRED
            remedy = "Renew the certificate of the bus: ssl_options.certfile in rabbitmq.conf."
        elif "not valid for" in error.verify_message or "mismatch" in error.verify_message:
            remedy = "Use the host name of the certificate as the address of interservice-bus in MESH_CONFIG."
        raise CheckError(f"{host}: {error.verify_message}", remedy) from error
    except TimeoutError:
        return Finding.not_checked("see bus")  # which says that the server does not answer
    except OSError as error:
        remedy = "Set the port of the bus for TLS in MESH_CONFIG; only if the bus has no TLS, set DKIST_ISB_TLS=false."
        raise CheckError(f"{host}: no TLS at this port: {error}", remedy) from error
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    found = f"the certificate of {host} is valid until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) < SOON:
        return Finding.warning(found, "Renew the certificate of the bus: ssl_options.certfile in rabbitmq.conf.")
    return Finding.ok(found)


def check_bus(machine: Machine) -> Finding:  # noqa: ARG001 - like each check
    """Connect with the credentials of the messages, and find out whether the user may declare and publish."""
    from dkist_processing_core.isb.errors import as_publish_error
    from dkist_processing_core.isb.failures.message import RecipeRunFailureMessage
    from dkist_processing_core.isb.logs.sender import QUEUE
    from dkist_processing_core.isb.rights import missing_rights
    from dkist_processing_core.isb.settings import isb_configuration

    if not isb_enabled():
        return Finding.not_needed(DISABLED)
    configuration = isb_configuration()
    bus, user, host = configuration.isb_mesh_service, configuration.isb_username, configuration.isb_virtual_host
    queues = [RecipeRunFailureMessage.queue, *([QUEUE] if isb_logging() else [])]
    began = time.monotonic()
    try:
        missing = missing_rights(configuration, queues, seconds=SECONDS)
    except Exception as error:
        why = as_publish_error(error)
        remedy = "Start RabbitMQ, or correct the address of interservice-bus in MESH_CONFIG"
        remedy += "." if configuration.isb_tls else "; if the bus requires TLS, set DKIST_ISB_TLS=true."
        if not why.retryable:
            remedy = (
                f"Set ISB_USERNAME ({user}) and ISB_PASSWORD to those of a user of the bus, and DKIST_ISB_VIRTUAL_HOST "
                f"({host}) to a virtual host that exists and that this user may use."
            )
        raise CheckError(f"{bus.host}:{bus.port}: {why}", remedy) from error
    if missing:
        remedy = f"On the broker: rabbitmqctl set_permissions -p {host} {user} '.*' '.*' '.*'"
        raise CheckError(f"{bus.host}:{bus.port}: {'; '.join(missing)}", remedy)
    seconds = time.monotonic() - began
    return Finding.ok(f"{user} may publish to {configuration.isb_exchange} at {bus.host}:{bus.port} ({seconds:.1f} s)")

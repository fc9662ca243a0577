"""
Find out cheaply whether the interservice bus can be reached at all.

Runs in: task environment, in the log shipper, before it imports pika and pydantic. That import is half a second of a
processor, which a short task would feel while it runs and which is in vain if nothing answers.
"""

import json
import os
import socket

from dkist_processing_core.common.settings import is_true

__all__ = ["address", "trouble"]

CONNECT_SECONDS = 1.0


def address() -> tuple[str, int] | None:
    """Return host and port of the bus, or None if the settings are not as they should be; pydantic will say how."""
    port = 5671 if is_true(os.environ.get("DKIST_ISB_TLS", "")) else 5672
    try:
        service = json.loads(os.environ.get("MESH_CONFIG") or "{}").get("interservice-bus")
        if service is None:
            return "localhost", port
        return str(service["mesh_address"]), int(service["mesh_port"])
    except Exception:
        return None


def trouble(host: str, port: int) -> str | None:
    """
    Return why nothing answers there, or None if something does.

    The connection is closed without a word, which RabbitMQ takes for somebody who looks whether it is alive.
    """
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return f"interservice bus at {host}:{port}: {type(error).__name__}: {error}"
    return None

"""The service mesh of the tests: every service is on this machine."""

import json
from collections.abc import Mapping

BUS = "interservice-bus"


def mesh_config(ports: int | Mapping[str, int], host: str = "127.0.0.1") -> str:
    """Return a value of MESH_CONFIG with the port of the broker, or with the port of each service by its name."""
    ports = {BUS: ports} if isinstance(ports, int) else ports
    return json.dumps({name: {"mesh_address": host, "mesh_port": port} for name, port in ports.items()})

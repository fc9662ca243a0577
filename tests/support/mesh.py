"""The service mesh of the tests: everything is on this machine."""

import json
from collections.abc import Mapping

BUS = "interservice-bus"


def mesh_config(port: int, host: str = "127.0.0.1") -> str:
    """Return the value of MESH_CONFIG that puts the broker at a port."""
    return mesh_config_of({BUS: port}, host)


def mesh_config_of(ports: Mapping[str, int], host: str = "127.0.0.1") -> str:
    """Return the value of MESH_CONFIG that puts each service, by its name, at a port."""
    return json.dumps({name: {"mesh_address": host, "mesh_port": port} for name, port in ports.items()})

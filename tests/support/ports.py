"""Free TCP ports on the loopback address."""

import random
import socket

# Below those that Linux gives to outgoing connections (net.ipv4.ip_local_port_range begins at 32768), so that no other
# program's connection takes the port of a server of ours while it restarts.
LOWEST, HIGHEST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listened on a moment ago, all different."""
    # Not the seeded generator, which would give the tests that run beside this one the same ports.
    candidates = random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
    found: list[int] = []
    while len(found) < count:
        port = candidates.pop()
        with socket.socket() as each:
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found

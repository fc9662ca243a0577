"""A port that speaks TLS in front of a server that does not, with any certificate."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from support.peers import peer


@contextlib.contextmanager
def tls_front(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """Take connections by TLS and hand their bytes to another port of the loopback address, and back."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sockets: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def behave(connection: socket.socket) -> None:
        try:
            wrapped = context.wrap_socket(connection, server_side=True)
        except OSError:  # the client does not trust the certificate
            return
        upstream = socket.create_connection(("127.0.0.1", port))
        sockets.extend([wrapped, upstream])
        for source, target in ((wrapped, upstream), (upstream, wrapped)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()

    try:
        with peer(behave) as own_port:
            yield own_port
    finally:
        for each in sockets:
            each.close()

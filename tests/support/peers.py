"""Peers that misbehave on the loopback address, for a client of the broker."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

BASIC_PUBLISH = b"\x00\x3c\x00\x28"  # class 60, method 40 of AMQP 0-9-1, as a method frame begins


@contextlib.contextmanager
def peer(behave: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that does one odd thing with every connection; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                behave(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()
        thread.join(5)


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """A port whose packets are dropped: its queue of connections is full, and nobody takes one out."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    try:
        while True:
            filler = socket.socket()
            filler.settimeout(0.5)
            fillers.append(filler)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]
    finally:
        for each in [*fillers, listener]:
            each.close()


@contextlib.contextmanager
def relay(
    port: int,
    *,
    to_broker: Callable[[bytes], bytes | None] = lambda data: data,
    to_client: Callable[[bytes], bytes | None] = lambda data: data,
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """
    A port that hands bytes on to another one and back; what returns None instead of bytes ends the connection.

    With ``tls`` its clients speak TLS, and the other port does not.
    """
    sockets = []

    def pump(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes | None]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                changed = change(data)
                if changed is None:
                    break
                target.sendall(changed)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def behave(connection: socket.socket) -> None:
        if tls:
            try:
                connection = tls.wrap_socket(connection, server_side=True)
            except OSError:  # the client does not trust the certificate
                return
        upstream = socket.create_connection(("127.0.0.1", port))
        sockets.extend([connection, upstream])
        for source, target, change in ((connection, upstream, to_broker), (upstream, connection, to_client)):
            threading.Thread(target=pump, args=(source, target, change), daemon=True).start()

    try:
        with peer(behave) as own_port:
            yield own_port
    finally:
        for each in sockets:
            each.close()

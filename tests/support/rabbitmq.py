"""A real RabbitMQ of our own, on free ports of the loopback address."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pika
import pika.exceptions

from dkist_processing_core.common.programs import send_signal
from support.command_line import run_command
from support.mesh import mesh_config
from support.ports import free_ports
from support.waiting import PATIENCE_SECONDS, wait_until

DEBIAN_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
OTHER_ADDRESS = "127.0.0.2"  # which no certificate names


class UnavailableError(Exception):
    """RabbitMQ is not installed, or does not start."""


def server_program() -> Path:
    """
    Find the server.

    Raises
    ------
    UnavailableError
        If it is not installed.
    """
    # Debian's program on PATH changes to another user; the one behind it runs as the current user.
    found = DEBIAN_SERVER if DEBIAN_SERVER.exists() else shutil.which("rabbitmq-server")
    if not found:
        raise UnavailableError("rabbitmq-server is not installed (make rabbitmq, or apt-get install rabbitmq-server)")
    return Path(found)


@dataclass
class RabbitMQ:
    """A server that is started, stopped and started again at will."""

    folder: Path
    program: Path
    port: int
    distribution_port: int
    epmd_port: int
    configuration: str = ""
    tls_port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    epmd: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def new(cls, folder: Path, configuration: str = "") -> "RabbitMQ":
        """Prepare a server that keeps everything in one folder; its own configuration says what we do not."""
        return cls(folder, server_program(), *free_ports(3), configuration=configuration)

    @property
    def environment(self) -> dict[str, str]:
        """What the server and its tools need to find each other, and nothing else."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
        }

    @property
    def mesh_config(self) -> str:
        """The value of MESH_CONFIG that points at this server."""
        return mesh_config(self.port)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        (self.folder / "rabbitmq.conf").write_text(self.configuration)
        with (self.folder / "server.log").open("ab") as log:
            options = {"env": self.environment, "stdout": log, "stderr": log}
            if self.epmd is None:
                self.epmd = subprocess.Popen(["epmd", "-port", str(self.epmd_port)], **options)
            self.process = subprocess.Popen([str(self.program)], start_new_session=True, **options)
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # it writes a page about each attempt before the last
        wait_until(self._answers, self._last_lines, interval=0.2, error=UnavailableError)

    def _answers(self) -> bool:
        with contextlib.suppress(pika.exceptions.AMQPError):
            self.connect().close()
            return True
        if self.process is None or self.process.poll() is not None:
            raise UnavailableError(self._last_lines())
        return False

    def _last_lines(self) -> str:
        return f"RabbitMQ does not run:\n{(self.folder / 'server.log').read_text()[-2000:]}"

    def check(self) -> None:
        """
        Do nothing if the server runs; otherwise start it for the tests that follow.

        Raises
        ------
        UnavailableError
            If it did not run, with its last lines.
        """
        if self.process is None or self.process.poll() is not None:
            found = self._last_lines()
            self.stop()
            self.start()
            raise UnavailableError(found)

    def stop(self) -> None:
        """Stop the server; what is durable stays."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself, see its log
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """Kill the server and all its processes, as a crash does; what is durable stays."""
        if self.process is not None:
            send_signal(signal.SIGKILL, self.process.pid)
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server, and start it again at the end of the ``with`` statement."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def low_on_disk(self) -> Iterator[None]:
        """Let the alarm for free disk space be raised, so that no message is taken until the end of the ``with``."""
        self.control("set_disk_free_limit", "900000GB")
        try:
            yield
        finally:
            self.control("set_disk_free_limit", "1MB")

    @contextlib.contextmanager
    def no_right_to_declare(self, queue: str) -> Iterator[None]:
        """Let the user guest do everything but declare one queue, until the end of the ``with`` statement."""
        self.control("set_permissions", "guest", f"^(?!{queue}$).*", ".*", ".*")
        try:
            yield
        finally:
            self.control("set_permissions", "guest", ".*", ".*", ".*")

    def close(self) -> None:
        """Stop everything that was started."""
        self.stop()
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None

    def connect(self, virtual_host: str = "/") -> pika.BlockingConnection:
        """Return a connection as the user guest."""
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                "127.0.0.1", self.port, virtual_host, socket_timeout=5, stack_timeout=5, connection_attempts=1
            )
        )

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it prints."""
        command = (self.program.with_name("rabbitmqctl"), "--quiet", *arguments)
        return run_command(*command, env=self.environment, seconds=PATIENCE_SECONDS).check().stdout

    def count(self, queue: str) -> int:
        """Return how many messages wait in a queue, 0 if it is not there."""
        with contextlib.closing(self.connect()) as connection:
            try:
                return connection.channel().queue_declare(queue, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker:
                return 0

    def take_all(self, queue: str, virtual_host: str = "/") -> list[tuple[pika.BasicProperties, bytes]]:
        """Take every message out of a queue."""
        taken = []
        with contextlib.closing(self.connect(virtual_host)) as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue, auto_ack=True))[0]:
                taken.append(got[1:])
        return taken

    def forget(self, *queues: str, exchange: str = "master.direct.x") -> None:
        """Delete queues and the exchange, so that the next test declares its own."""
        connection = self.connect()
        channel = connection.channel()
        for queue in queues:
            channel.queue_delete(queue)
        channel.exchange_delete(exchange)
        connection.close()


@contextlib.contextmanager
def running(folder: Path, configuration: str = "", **changes: int) -> Iterator[RabbitMQ]:
    """Run a server, of which attributes may be changed before; skip the test where it is not installed."""
    import pytest

    try:
        server = replace(RabbitMQ.new(folder, configuration), **changes)
        server.start()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    try:
        yield server
    finally:
        server.close()

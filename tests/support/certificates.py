"""A certificate authority of our own, and the certificates of a server on the loopback address."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

DAYS = 2
NAME = "localhost"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Certificates:
    """Files (PEM) in one folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        """What a client has to trust."""
        return self.folder / "authority.pem"

    @property
    def server(self) -> Path:
        """The certificate of the server, for NAME and ADDRESS, with its key."""
        return self.folder / "server.pem"

    @property
    def expired(self) -> Path:
        """A certificate of the server that was valid until yesterday, with its key."""
        return self.folder / "expired.pem"

    @property
    def server_key(self) -> Path:
        """The key of the server alone."""
        return self.folder / "server.key"

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Return the context of a server that has this certificate, the valid one by default."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server)
        return context

    def of_broker(self, port: int, *addresses: str) -> str:
        """Return the configuration by which RabbitMQ speaks TLS with them at a port, of each address."""
        listeners = [f"listeners.ssl.{number} = {each}:{port}\n" for number, each in enumerate(addresses, start=1)]
        files = {"cacertfile": self.authority, "certfile": self.server, "keyfile": self.server_key}
        return "".join([*listeners, *(f"ssl_options.{name} = {file}\n" for name, file in files.items())])


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and the certificates of a server in a folder, which may have to be made."""
    folder.mkdir(exist_ok=True)
    made, authority, now = Certificates(folder), trustme.CA(), datetime.now(UTC)
    authority.cert_pem.write_to_path(made.authority)
    for file, end in ((made.server, now + timedelta(days=DAYS)), (made.expired, now - timedelta(days=1))):
        issued = authority.issue_cert(NAME, ADDRESS, not_before=now - timedelta(days=2), not_after=end)
        issued.private_key_and_cert_chain_pem.write_to_path(file)
        if file == made.server:
            issued.private_key_pem.write_to_path(made.server_key)
    return made

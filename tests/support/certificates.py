"""A certificate authority of our own, and the certificate of a server on the loopback address."""

import ipaddress
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.waiting import PATIENCE_SECONDS

DAYS = 2
NAME = "localhost"
ADDRESS = "127.0.0.1"


class UnavailableError(Exception):
    """There is nothing here that makes certificates."""


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
        """The certificate of the server, for NAME and ADDRESS."""
        return self.folder / "server.pem"

    @property
    def expired(self) -> Path:
        """A certificate of the server that was valid until yesterday; only there if ``cryptography`` is."""
        return self.folder / "expired.pem"

    @property
    def server_key(self) -> Path:
        """The key of the server."""
        return self.folder / "server.key"

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Return the context of a server that has this certificate, the valid one by default."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server, self.server_key)
        return context

    def of_broker(self, port: int, *addresses: str) -> str:
        """Return the configuration by which RabbitMQ speaks TLS with them at a port, of each address."""
        listeners = [f"listeners.ssl.{number} = {each}:{port}\n" for number, each in enumerate(addresses, start=1)]
        files = {"cacertfile": self.authority, "certfile": self.server, "keyfile": self.server_key}
        return "".join([*listeners, *(f"ssl_options.{name} = {file}\n" for name, file in files.items())])


def make_certificates(folder: Path) -> Certificates:
    """
    Make an authority and a server's certificate.

    Raises
    ------
    UnavailableError
        If there is neither the distribution ``cryptography``, which Airflow brings, nor the program ``openssl``.
    """
    made = Certificates(folder)
    try:
        import cryptography.x509  # noqa: F401 - to see whether it is there
    except ImportError:
        if shutil.which("openssl") is None:
            raise UnavailableError("neither cryptography nor openssl is installed") from None
        _make_by_program(made)
    else:
        _make_by_library(made)
    return made


def _make_by_library(made: Certificates) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def certificate(subject, key, *extensions, days=DAYS):
        now = datetime.now(UTC) - timedelta(days=0 if days > 0 else 1)
        builder = (
            x509.CertificateBuilder(name("authority"), name(subject), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # Python 3.13 and later insist on the identifiers and on what the key of an authority may be used for.
    signs_certificates = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made.authority.write_bytes(
        certificate(
            "authority",
            authority_key,
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), False),
            (signs_certificates, True),
        )
    )
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    for file, days in ((made.server, DAYS), (made.expired, 0)):
        file.write_bytes(certificate(NAME, server_key, (names, False), (identifier, False), days=days))
    made.server_key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _make_by_program(made: Certificates) -> None:
    def openssl(*arguments):
        command = ["openssl", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert done.returncode == 0, done.stderr

    authority_key = made.folder / "authority.key"
    new_key = ["-newkey", "rsa:2048", "-nodes", "-keyout"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl(
        *("req", "-x509", *new_key, authority_key, "-days", DAYS, "-subj", "/CN=authority", *usage),
        *("-out", made.authority),
    )
    request = made.folder / "server.request"
    openssl("req", *new_key, made.server_key, "-subj", f"/CN={NAME}", "-out", request)
    extensions = made.folder / "server.extensions"
    extensions.write_text(f"subjectAltName=DNS:{NAME},IP:{ADDRESS}\nauthorityKeyIdentifier=keyid\n")
    openssl(
        *("x509", "-req", "-in", request, "-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial"),
        *("-days", DAYS, "-extfile", extensions, "-out", made.server),
    )

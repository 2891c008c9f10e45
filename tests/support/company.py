"""A company's network on loopback: a proxy that reads HTTPS with certificates of an authority of its own.

A name of the company's leads, through the proxy, to a plain server of a test. Any other name is refused, as a proxy
refuses what its list does not allow.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
_DAYS = datetime.timedelta(days=3650)


@dataclass(kw_only=True)
class Company:
    """What a person in the company has.

    Attributes:
        authority: the PEM file of the company's authority.
        proxy: the proxy's address.
        asked: the names that were asked for, in order.
    """

    authority: Path
    proxy: str
    asked: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """Return what leads programs to the proxy; not what makes them believe it."""
        return {"HTTPS_PROXY": self.proxy, "https_proxy": self.proxy, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class _Authority:
    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Company")])
        self.file = folder / "company.pem"
        made = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        made = made.add_extension(_SIGNS, True)
        self.file.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def context(self, host: str) -> ssl.SSLContext:
        """Return what a server of a name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        made = self._builder(subject, key).add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        path = self.folder / f"{host}.pem"
        encoding = serialization.Encoding.PEM
        pkcs8, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(
            key.private_bytes(encoding, pkcs8, open_) + made.sign(self.key, hashes.SHA256()).public_bytes(encoding)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        # Clocks differ: an engine may have another one than the test, which may be run as in a year from now.
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAYS)
            .not_valid_after(now + _DAYS)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )


@contextlib.contextmanager
def company(folder: Path, servers: Mapping[str, str]) -> Iterator[Company]:
    """Run the proxy while the block runs.

    Args:
        folder: for certificates.
        servers: name -> ``127.0.0.1:port`` of the plain server that stands behind it.
    """
    authority = _Authority(folder)
    contexts = {host: authority.context(host) for host in servers}
    listener = socket.create_server(("127.0.0.1", 0))
    given = Company(authority=authority.file, proxy=f"http://127.0.0.1:{listener.getsockname()[1]}")

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            host = _connect(client)
            given.asked.append(host)
            if host not in servers:
                client.sendall(b"HTTP/1.1 403 not on the list\r\nContent-Length: 0\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 here\r\n\r\n")
            address, _, port = servers[host].partition(":")
            with (
                contexts[host].wrap_socket(client, server_side=True) as inside,
                socket.create_connection((address, int(port))) as server,
            ):
                back = threading.Thread(target=_relay, args=(server, inside), daemon=True)
                back.start()
                _relay(inside, server)
                back.join()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield given
    finally:
        # Closing alone does not wake who waits for the next connection.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _connect(client: socket.socket) -> str:
    """Read ``CONNECT host:443`` and return the host."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(1)
        if not piece:
            raise OSError("gone")
        head += piece
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    return target.rpartition(":")[0] if method == "CONNECT" else ""


def _relay(source: Any, target: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host as its clients see it: real handshakes and requests, from the machine that runs the tests."""

from __future__ import annotations

import http.client
import socket
import ssl
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

TIMEOUT = 20  # seconds


@dataclass(frozen=True)
class Handshake:
    """What was agreed: the protocol as in `TLSv1.2`, the suite under OpenSSL's name, the certificate."""

    protocol: str
    cipher: str
    certificate: x509.Certificate

    @property
    def names(self) -> set[str]:
        """The DNS names that the certificate is for."""
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return set(extension.value.get_values_for_type(x509.DNSName))


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; headers in their order, as often as they came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """The value of a header that may come once; fails where it comes more often."""
        values = self.all(name)
        assert len(values) < 2, f"{name} comes {len(values)} times: {values}"
        return values[0] if values else None


@dataclass(frozen=True)
class Frontend:
    """One host: its server, its addresses, the name of its mail virtual host, and its dirt as in lab/hosts.yml."""

    host: str
    server: str  # apache | nginx
    ipv4: str
    ipv6: str
    name: str
    dirt: frozenset[str]

    @property
    def post_quantum(self) -> bool:
        """Whether its OpenSSL knows ML-KEM: that of Debian 13, which the played systems have as well."""
        return not any(debian in self.host for debian in ("11", "12"))

    def handshake(
        self,
        server_name: str | None = "",
        *,
        protocol: ssl.TLSVersion | None = None,
        ciphers: str = "ALL",
        address: str | None = None,
        port: int = 443,
    ) -> Handshake:
        """Shake hands as a client that takes everything, or just this protocol and these suites (below TLS 1.3).

        server_name None: without SNI; empty: the mail virtual host's. Raises OSError when the server refuses.
        """
        context = _everything(ciphers, protocol)
        target = (address or self.ipv4, port)
        name = self.name if server_name == "" else server_name
        with (
            socket.create_connection(target, TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True)
            cipher = tls.cipher()
            assert certificate and cipher
            return Handshake(tls.version() or "", cipher[0], x509.load_der_x509_certificate(certificate))

    def refuses(self, server_name: str | None = "", **wanted: Any) -> bool:
        """Whether the server turns such a handshake down (and not: is not there at all)."""
        try:
            self.handshake(server_name, **wanted)
        except (ssl.SSLError, ConnectionResetError):
            return True
        return False

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        name: str | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        secure: bool = True,
        address: str | None = None,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """One request on a connection of its own; name is that of the virtual host (SNI and Host)."""
        name = name or self.name
        port = 443 if secure else 80
        connection = http.client.HTTPConnection(address or self.ipv4, port, timeout=timeout)
        try:
            connection.connect()
            if secure:
                connection.sock = _everything("ALL", None).wrap_socket(connection.sock, server_hostname=name)
            connection.request(method, path, body=body, headers={"Host": name, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


def _everything(ciphers: str, protocol: ssl.TLSVersion | None) -> ssl.SSLContext:
    """A client that verifies nothing and refuses nothing: only the server's own rules are to be seen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = protocol or ssl.TLSVersion.TLSv1
    if protocol:
        context.maximum_version = protocol
    return context


def read_frontend(inventory: str | Path, name: str) -> Frontend:
    """A host of the lab's inventory."""
    content = yaml.safe_load(Path(inventory).read_text())["all"]
    variables = content["hosts"][name]
    server = next(
        server for server in ("apache", "nginx") if name in content["children"].get(server, {"hosts": {}})["hosts"]
    )
    ipv4, ipv6 = variables["lab_addresses"]
    return Frontend(name, server, ipv4, ipv6, variables["lab_name"], frozenset(variables["lab_dirt"]))


@pytest.fixture(scope="module")
def frontend(host: Any) -> Frontend:
    """The host under test, from the lab's inventory."""
    # Read here: asking ansible-inventory takes a second for each module and host.
    return read_frontend(host.backend.ansible_inventory, host.backend.host)

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Fetches an intermediate certificate from the address that another certificate names (RFC 5280, 4.2.2.1).

The address comes from the certificate of the server, so it must not lead this machine to places that only it can
reach. It is plain HTTP to port 80 of a public address, without redirects, bounded in size and time. An address that is
not public is used only for an endpoint of the same kind: a private one for a private endpoint, the loopback for one on
the loopback, and any other port only on the endpoint's own address. The name is resolved once, and what is connected to
is what was checked. What comes back is only ever an intermediate and no anchor.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import resolve
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

SECONDS = 3.0
MAX_SIZE = 64 * 1024
_Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotFetched(Exception):
    """Why there is no certificate."""


def _address(text: str) -> _Address:
    """An address; of one that carries an IPv4 address, that one."""
    found = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        return inner or found
    return found


def is_allowed(address: str, port: int, endpoint: str) -> bool:
    """Whether this machine may fetch from there on behalf of an endpoint's address."""
    one, own = _address(address), _address(endpoint)
    if one != own and port != 80:
        return False
    if one.is_multicast or one.is_unspecified or one.is_link_local:
        return False
    if one.is_loopback or own.is_loopback:
        return one.is_global or (one.is_loopback and own.is_loopback)
    return one.is_global or (one.is_private and own.is_private)


def fetch(url: str, endpoint: str, seconds: float) -> list[bytes]:
    """The certificates (DER) at C(url), for the endpoint at this address. Raises L(NotFetched)."""
    end = time.monotonic() + min(seconds, SECONDS)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        raise NotFetched("it is no address") from None
    if parts.scheme.lower() != "http" or not host or not re.match(r"[\x21-\x7e]+\Z", url):
        raise NotFetched("it is no HTTP address")
    found = resolve(host, port, max(end - time.monotonic(), 0))
    if isinstance(found, str):
        raise NotFetched(found)
    allowed = [address for address in found if is_allowed(address, port, endpoint)]
    if not allowed:
        raise NotFetched("it leads to an address that this endpoint has no business with")
    target = parts.path or "/"
    target += f"?{parts.query}" if parts.query else ""
    # HTTP/1.0: the response ends with the connection and is not sent in chunks.
    request = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nConnection: close\r\n\r\n"
    try:
        return read(_exchange(allowed[0], port, request.encode("ascii"), end))
    except socket.timeout:
        raise NotFetched("no response in time") from None
    except (OSError, ValueError) as error:
        raise NotFetched(str(error)) from None


def _exchange(address: str, port: int, request: bytes, end: float) -> bytes:
    """The body of the response to a request."""

    def left() -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    with socket.create_connection((address, port), timeout=left()) as sock:
        sock.sendall(request)
        received = b""
        while len(received) <= MAX_SIZE:
            sock.settimeout(left())
            more = sock.recv(16384)
            if not more:
                break
            received += more
    head, blank, body = received.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status or not blank:
        raise NotFetched("the response is not HTTP")
    if status.group(1) != b"200":
        raise NotFetched(f"the response is {status.group(1).decode()}")
    if len(received) > MAX_SIZE:
        raise NotFetched(f"the response is longer than {MAX_SIZE} bytes")
    return body


_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def read(data: bytes) -> list[bytes]:
    """The certificates in a DER or PEM file, or a PKCS #7 container (RFC 5280, 4.2.2.1). Raises L(ParseError)."""
    if _PEM.search(data):
        return [ssl.PEM_cert_to_DER_cert(found.decode("ascii")) for found in _PEM.findall(data)]
    whole = x509.Der(data).node(0x30)
    content = x509.Der(whole.body)
    if not whole.body.startswith(_SIGNED_DATA):
        return [whole.raw]
    content.node()
    signed = x509.Der(x509.Der(content.node(0xA0).body).node(0x30).body)
    for _field in ("version", "digest algorithms", "content"):
        signed.node()
    certificates = x509.Der(signed.node(0xA0).body)
    found = []
    while certificates.left:
        found.append(certificates.node(0x30).raw)
    return found

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Fetches what a certificate names by an address: an intermediate certificate, a CRL, or an OCSP response.

The address comes from the certificate of the server, so it must not lead this machine to places that only it can
reach. It is plain HTTP to port 80 of a public address, without redirects, bounded in size and time. An address that is
not public is used only for an endpoint of the same kind: a private one for a private endpoint, the loopback for one on
the loopback, and any other port only on the endpoint's own address. The name is resolved once, and what is connected to
is what was checked. What comes back counts only for the signatures in it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import resolve

_Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotFetched(Exception):
    """Why there is nothing."""


class NotAllowed(NotFetched):
    """It is where this endpoint, and perhaps no other, has no business."""


class Body(t.NamedTuple):
    """What is sent by POST, and its media type."""

    content: bytes
    kind: str


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


def fetch(url: str, endpoint: str, seconds: float, most: int, body: Body | None = None) -> bytes:
    """What is at C(url), for the endpoint at this address: so many bytes at most. Raises L(NotFetched)."""
    end = time.monotonic() + seconds
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
        raise NotAllowed("it leads to an address that this endpoint has no business with")
    target = parts.path or "/"
    target += f"?{parts.query}" if parts.query else ""
    lines = [f"{'POST' if body else 'GET'} {target} HTTP/1.0", f"Host: {parts.netloc.rpartition('@')[2]}"]
    lines += [f"Content-Type: {body.kind}", f"Content-Length: {len(body.content)}"] if body else []
    # HTTP/1.0: the response ends with the connection and is not sent in chunks.
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii") + (body.content if body else b"")
    try:
        return _exchange(allowed[0], port, request, end, most)
    except socket.timeout:
        raise NotFetched("no response in time") from None
    except (OSError, ValueError) as error:
        raise NotFetched(str(error)) from None


def _exchange(address: str, port: int, request: bytes, end: float, most: int) -> bytes:
    """The body of the response to a request."""

    def left() -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    with socket.create_connection((address, port), timeout=left()) as sock:
        sock.sendall(request)
        received = bytearray()
        while len(received) <= most:
            sock.settimeout(left())
            more = sock.recv(65536)
            if not more:
                break
            received += more
    head, blank, body = bytes(received).partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status or not blank:
        raise NotFetched("the response is not HTTP")
    if status.group(1) != b"200":
        raise NotFetched(f"the response is {status.group(1).decode()}")
    if len(received) > most:
        raise NotFetched(f"the response is longer than {most} bytes")
    return body

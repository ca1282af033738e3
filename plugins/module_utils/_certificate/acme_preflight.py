# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where names lead to, and whether a file can be fetched there on port 80, as an ACME server does it for http-01.

RFC 8555, section 8.3: plain HTTP to the name's port 80; redirects are followed, certificates on the way are not
verified. Runs on the controller.

The owner of a name decides how many addresses it has, how often each redirects and how slowly each responds. So a name
has a limit as a whole.
"""

from __future__ import annotations

import errno
import http.client
import io
import socket
import ssl
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Dict
from urllib.parse import urljoin, urlsplit

from ansible_collections.kopano.hardening.plugins.module_utils._caa.nameservers import Server
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.client import Limit, Received

try:
    import dns.exception
    import dns.resolver
except ImportError:
    DNSPYTHON_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    DNSPYTHON_IMPORT_ERROR = None

# The end of an error that the place of the challenges may be the reason for; the role certificate knows it.
NOT_SERVED = "does not serve that path from the directory for challenges"
CONCURRENCY = 16
REDIRECTS = 10
MAX_BODY = 1 << 16
# What one name may take in all, in timeouts: two addresses that redirect to HTTPS wait ten times at most.
WAITS = 12
# This machine has no way to such addresses: that means nothing for the name.
_NO_WAY = frozenset((errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH))


if TYPE_CHECKING:  # Python has it since 3.8 only.
    from typing import TypedDict  # novm

    class Reached(TypedDict):
        """Where a name leads to; C(error) is what is wrong, None if nothing is."""

        name: str
        addresses: list[str]
        error: str | None

    class ReachInfo(TypedDict):
        """The result of the module acme_reach_info, in the order of the names."""

        results: list[Reached]

else:
    Reached = ReachInfo = Dict[str, Any]


class Unreached(Exception):
    """It cannot be found out from here."""


def inspect(
    names: Sequence[str], servers: Sequence[Server], path: str, content: str, timeout: float, port: int = 80
) -> list[Reached]:
    """Where each name leads to, in their order.

    path: what to fetch from each address, which has to come with this content; without one the names only have to lead
    somewhere. timeout: seconds for each wait; a name may take L(WAITS) times as long.
    """

    def one(name: str) -> Reached:
        limit = Limit(timeout, time.monotonic() + WAITS * timeout)
        addresses, error = _addresses(name, servers, timeout)
        if not error and path:
            error = _fetched(name, addresses, path, content, limit, port)
        return {"name": name, "addresses": addresses, "error": error}

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(one, names))


def _addresses(name: str, servers: Sequence[Server], timeout: float) -> tuple[list[str], str | None]:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [server.address for server in servers]
    resolver.nameserver_ports = {server.address: server.port for server in servers}
    found: list[str] = []
    try:
        for kind in ("A", "AAAA"):
            response = resolver.resolve(name, kind, lifetime=timeout, raise_on_no_answer=False, search=False)
            found += [record.address for record in response.rrset or ()]
    except dns.exception.DNSException as error:
        return found, f"it cannot be resolved: {printable(str(error))}"
    return found, None if found else "it has no address: no A and no AAAA record"


def _fetched(name: str, addresses: Sequence[str], path: str, content: str, limit: Limit, port: int) -> str | None:
    """What is wrong with the responses from the addresses, or None."""
    served: list[str] = []
    refused: dict[str, str] = {}  # what came instead
    for address in addresses:
        try:
            status, body = _get(name, address, path, limit, port)
        except Unreached:
            continue
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{address}, where the name leads to, does not respond on port {port}: {printable(str(error))}"
        if status != 200:
            refused[address] = f"status {status}"
        elif body.strip() != content.encode().strip():
            refused[address] = f"other content ({body[:60].decode('utf-8', 'replace')!r})"
        else:
            served.append(address)
    if not refused:
        return None if served else "there is no way from the controller to {}".format(", ".join(addresses))
    address, shown = next(iter(refused.items()))
    response = f"{address}, where the name leads to, responds to {path} with {shown}"
    if not served:
        return f"{response}: it is not this host, or port 80 {NOT_SERVED}"
    return (
        f"{response}, and {served[0]} with the file: {address} is another host's, or another virtual host has port 80 "
        "there; let the one of this name listen at both"
    )


class _Socket:
    """A connection as http.client uses it, which knows no other limit than one for each of its waits."""

    def __init__(self, plain: socket.socket, limit: Limit) -> None:
        self._plain = plain
        self._limit = limit

    def sendall(self, data: bytes) -> None:
        self._plain.settimeout(self._limit.left())
        self._plain.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(Received(self._plain, self._limit))

    def close(self) -> None:
        """That of the response may be still to be read: the real one is closed after that."""


def _get(name: str, address: str, path: str, limit: Limit, port: int) -> tuple[int, bytes]:
    url = f"http://{name}{path}"
    for _number in range(REDIRECTS):
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        # The CA would look another name up; the owner of that one can switch this off.
        if (parts.hostname or "").lower() != name.lower():
            raise ValueError(f"it redirects to {url}")
        goal = (address, parts.port or (443 if secure else port))
        try:
            with socket.create_connection(goal, limit.left()) as plain, _secured(plain, name, secure, limit) as sock:
                connection = http.client.HTTPConnection(address, goal[1])
                connection.sock = _Socket(sock, limit)
                connection.request("GET", parts.path or "/", headers={"Host": name})
                response = connection.getresponse()
                location = response.getheader("Location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return response.status, response.read(MAX_BODY)
                url = urljoin(url, location)
        except OSError as error:
            if error.errno in _NO_WAY:
                raise Unreached from error
            raise
    raise ValueError(f"it redirects more than {REDIRECTS} times")


def _secured(plain: socket.socket, name: str, secure: bool, limit: Limit) -> socket.socket:
    if not secure:
        return plain
    plain.settimeout(limit.left())  # for the handshake as a whole
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=name)

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Which endpoints the controller can connect to: behind a jump host or a firewall it may be none."""

from __future__ import annotations

import socket
import typing as t
from concurrent.futures import ThreadPoolExecutor

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import Endpoint
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.verify import EndpointOption

# One address and port, or a name that may have several addresses.
Socket = tuple[str, int]
# Seconds for a connection; a firewall that drops packets costs all of them, once for each socket.
TIMEOUT = 5.0
CONCURRENCY = 32
REFUSED = "connection refused"


def unreached(
    endpoints: t.Sequence[EndpointOption | Endpoint], timeout: float = TIMEOUT
) -> list[tuple[EndpointOption | Endpoint, str]]:
    """The endpoints to which no TCP connection can be made from here at any of their addresses, each with the reason.

    What happens after the connection is for the prober: an endpoint that accepts one is reached.
    """
    sockets = {socket_ for endpoint in endpoints for socket_ in _sockets(endpoint)}
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        reasons = dict(zip(sockets, pool.map(lambda one: _refusal(one, timeout), sockets), strict=True))
    found = []
    for endpoint in endpoints:
        own = [reasons[socket_] for socket_ in _sockets(endpoint)]
        if all(own):
            found.append((endpoint, own[0]))
    return found


def _sockets(endpoint: EndpointOption | Endpoint) -> list[Socket]:
    hosts = endpoint.get("addresses") or [endpoint["host"]]
    return [(host, int(endpoint.get("port") or 443)) for host in hosts]


def _refusal(where: Socket, timeout: float) -> str:
    """Why no connection can be made, or nothing."""
    try:
        with socket.create_connection(where, timeout):
            return ""
    except TimeoutError:
        return "timed out"
    except ConnectionRefusedError:
        return REFUSED
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        return reason[:1].lower() + reason[1:]

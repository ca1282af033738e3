# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Names and certificates that a host serves, by the result of C(frontend_info)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import VhostInfo

if t.TYPE_CHECKING:  # Python has it since 3.8 only.
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import ServerInfo

    class ServedCertificate(t.TypedDict):  # novm
        """A certificate of virtual hosts with TLS, as an element of certificate_info's option C(certificates)."""

        chain: str
        key: str  # the same path as chain where the configuration names no other one
        names: list[str]  # that it is there for

else:
    ServedCertificate = t.Dict[str, t.Any]

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)

# Names that never resolve (RFC 6761), given to virtual hosts that are there for unknown ones.
UNRESOLVABLE = (".invalid", ".localhost")

# The name that Debian's package kopano-webapp-apache2 brings and leaves to be changed.
PACKAGED_NAMES = ("www.example.com",)


def is_host_name(name: str) -> bool:
    """Whether name is a DNS name that a server can be known by: no address, no wildcard, no root dot."""
    labels = name.split(".")
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def never_resolves(name: str) -> bool:
    """Whether it is a name of nothing in the network."""
    return f".{name.lower()}".endswith(UNRESOLVABLE)


def names(vhosts: t.Iterable[VhostInfo]) -> list[str]:
    """The names of virtual hosts with TLS that clients could request, the first one first."""
    found = [
        name.lower()
        for vhost in vhosts
        if vhost["tls"] and vhost.get("named", True)
        for name in vhost["names"]
        if is_host_name(name) and "." in name and not never_resolves(name) and name.lower() not in PACKAGED_NAMES
    ]
    return list(dict.fromkeys(found))


def in_use(servers: t.Iterable[ServerInfo], vhosts: t.Iterable[VhostInfo]) -> list[VhostInfo]:
    """The virtual hosts of the servers that are in use."""
    used = [server["server"] for server in servers if server["in_use"]]
    return [vhost for vhost in vhosts if vhost["server"] in used]


def certificates(vhosts: t.Iterable[VhostInfo]) -> list[ServedCertificate]:
    """The certificates of virtual hosts with TLS."""
    found: dict[tuple[str, str], list[VhostInfo]] = {}
    for vhost in vhosts:
        if vhost["tls"] and vhost["certificate"]:
            found.setdefault((vhost["certificate"], vhost["key"] or vhost["certificate"]), []).append(vhost)
    return [{"chain": chain, "key": key, "names": names(some)} for (chain, key), some in found.items()]

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Name servers as an option or resolv.conf(5) names them. Needs no dnspython, so filters can check options with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Server(NamedTuple):
    """A name server. `trusted`: its DNSSEC validation counts, because the way to it cannot be tampered with."""

    address: str
    port: int = 53
    trusted: bool = False

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return self.address if self.port == 53 else f"{host}:{self.port}"


def parse_server(text: str, trusted: bool) -> Server:
    """A server from "ADDRESS", "ADDRESS:PORT" or "[ADDRESS]:PORT"; raises ValueError. Loopback is always trusted."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+):(\d{1,5})|(.+)", text)
    address = port = None
    if match:
        address = match.group(1) or match.group(3) or match.group(5)
        port = match.group(2) or match.group(4) or "53"
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        raise ValueError(f"{text!r} is not ADDRESS or ADDRESS:PORT with an IP address") from None
    if not 0 < int(port or 0) < 65536:
        raise ValueError(f"{text!r} has a port outside 1-65535")
    return Server(str(parsed), int(port or 0), trusted or parsed.is_loopback)


def system_servers(trusted: bool, path: str = "/etc/resolv.conf") -> list[Server]:
    """The name servers that this machine uses; raises ValueError without any. `options trust-ad` declares trust."""
    try:
        lines = [text.split() for text in Path(path).read_text("utf-8", "replace").splitlines()]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name the resolvers in caa_nameservers") from error
    trusted = trusted or any(line[0] == "options" and "trust-ad" in line for line in lines if line)
    servers = [parse_server(line[1], trusted) for line in lines if line[:1] == ["nameserver"] and len(line) > 1]
    if not servers:
        raise ValueError(f"{path} names no name server; name the resolvers in caa_nameservers")
    return servers


def resolvers(named: Iterable[str], trusted: bool) -> list[Server]:
    """The servers that are named, or else those that this machine uses; raises ValueError."""
    return [parse_server(text, trusted) for text in named] or system_servers(trusted)

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network of a set: a free subnet, found once and then remembered by podman itself."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .engine import STATE, Podman
from .model import Host, Lab
from .shell import LabError, lock, run

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FIRST_HOST = 10  # the first addresses are the bridge's and spare


@dataclass(frozen=True)
class Subnets:
    """The two subnets of a set."""

    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network

    def addresses(self, host: Host) -> tuple[str, str]:
        """The host's IPv4 and IPv6 address."""
        return str(self.ipv4[FIRST_HOST + host.position]), str(self.ipv6[FIRST_HOST + host.position])


def mac(ipv4: str) -> str:
    """The hardware address of the host with this IPv4 address: a host keeps it over a reboot, and so does a new one.

    With another one, a machine that reached the host before could not reach it until its neighbour entry expires.
    """
    return ":".join(["02", "00", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(ipv4).packed)])


def ensure(podman: Podman, lab: Lab) -> Subnets:
    """The set's subnets; the network is made where it is not there yet."""
    # The whole machine chooses one at a time, or two checkouts could find the same subnet free.
    with lock(STATE / "network.lock"):
        networks = podman.json("network", "ls", "--no-trunc")
        for network in networks:
            if network["name"] == lab.prefix:
                ipv4, ipv6 = sorted((entry["subnet"] for entry in network["subnets"]), key=lambda text: ":" in text)
                return Subnets(ipaddress.IPv4Network(ipv4), ipaddress.IPv6Network(ipv6))
        taken = [
            ipaddress.ip_network(entry["subnet"]) for network in networks for entry in network.get("subnets") or []
        ]
        subnets = choose(lab.prefix, [*taken, *_routes()])
        # Not internal: then the machine itself would have no address in it and could not reach the hosts.
        # fmt: off
        podman(
            "network", "create", "--disable-dns", "--ipv6", "--subnet", str(subnets.ipv4),
            "--subnet", str(subnets.ipv6), "--label", f"kopano-lab={lab.checkout}", lab.prefix,
        )
        # fmt: on
        return subnets


def choose(seed: str, taken: Iterable[Network]) -> Subnets:
    """The first subnets that overlap nothing that is taken, in an order that the seed decides."""
    taken = list(taken)
    for subnets in _candidates(seed):
        pair: tuple[Network, Network] = (subnets.ipv4, subnets.ipv6)
        if not any(mine.version == other.version and mine.overlaps(other) for mine in pair for other in taken):
            return subnets
    raise LabError("no free subnet for the lab in 10.192.0.0/10")


def _candidates(seed: str) -> Iterator[Subnets]:
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:5])
    for number in range(start, start + (1 << 14)):
        ipv4 = ipaddress.IPv4Network(((10 << 24) + (192 << 16) + ((number & 0x3FFF) << 8), 24))
        ipv6 = ipaddress.IPv6Network(((0xFD << 120) + ((number & 0xFFFFFFFFFF) << 80), 64))
        yield Subnets(ipv4, ipv6)


def _routes() -> list[Network]:
    result = []
    for family in ("-4", "-6"):
        for route in json.loads(run(["ip", "-j", family, "route", "show", "table", "all"]).stdout or "[]"):
            destination = route["dst"]
            if destination != "default":
                result.append(ipaddress.ip_network(destination.split()[-1], strict=False))
    return result

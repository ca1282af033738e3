# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The name server of a set: all zones that the lab's names need, a resolver that validates them, and an ACME server.

dns.yml says what is wrong with them, the folder dns/ what runs in the container.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import socket
import struct
import tarfile
import time
from collections.abc import Iterable
from typing import Any

import yaml

from .authority import authority, server_certificate
from .content import OWN
from .images import LAB, Release, dns_release
from .model import Host, Lab, hosts
from .network import Subnets
from .shell import LabError, lock

NAME = "dns"
POSITION = 2  # in the subnets; the bridge has the first address
RESOLVER_PORT = 5353
ACME_PORT = 14000
ACME_EAB_PORT = 14001  # of a second one, which only knows accounts that come with a key
ACME_EAB_KID = "lab"
PLACE = "/var/lib/kopano-lab"
SECONDS = 120  # on a machine that starts thirty hosts at the same time
KEYS = {"signed", "bogus", "caa", "issuer"}


class Nameserver:
    """Stands among the hosts of a set, but is none."""

    name = NAME

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.release: Release = dns_release()
        self._data: dict[str, Any] = yaml.safe_load((LAB / "dns.yml").read_text())
        strangers = set(self._data["zones"]) - set(hosts())
        if strangers:
            raise LabError(f"dns.yml: {', '.join(sorted(strangers))} is no host of hosts.yml")
        for zone, entry in self._data["zones"].items():
            if set(entry) - KEYS:
                raise LabError(f"dns.yml: {zone}: unknown key {', '.join(sorted(set(entry) - KEYS))}")

    def addresses(self, subnets: Subnets) -> tuple[str, str]:
        """Its IPv4 and IPv6 address."""
        return str(subnets.ipv4[POSITION]), str(subnets.ipv6[POSITION])

    def variables(self, subnets: Subnets) -> dict[str, Any]:
        """What the inventory says to all hosts, so that the role caa asks here."""
        address = self.addresses(subnets)[0]
        return {
            "caa_nameservers": [f"{address}:{RESOLVER_PORT}"],
            "caa_trust_ad": True,
            "caa_issuer": self._data["issuer"],
            "caa_publish_server": address,
            "caa_publish_key_name": "lab.key",
            "caa_publish_key_secret": self._secret(),
            "certificate_acme_directory": f"https://{address}:{ACME_PORT}/dir",
            "certificate_acme_ca_file": f"{OWN}/ca.pem",
            "lab_acme_eab": {
                "directory": f"https://{address}:{ACME_EAB_PORT}/dir",
                "kid": ACME_EAB_KID,
                "hmac_key": self._mac(),
            },
        }

    def host_variables(self, host: Host) -> dict[str, Any]:
        """What it says to one host."""
        issuer = self._entry(host).get("issuer")
        return {} if issuer is None else {"caa_issuer": issuer}

    def archive(self, subnets: Subnets) -> bytes:
        """The container's files as a tar archive; the same input gives the same bytes."""
        served = list(hosts().values())
        own = self.addresses(subnets)
        entries = {f"{host.domain}.": self._entry(host) for host in served}
        signed = [zone for zone, entry in entries.items() if entry.get("signed", True)]
        zones = {".": "root", **{zone: zone.rstrip(".") for zone in ["test.", *entries]}}
        files = {
            "start": (LAB / "dns" / "start").read_text(),
            "unbound.conf": (LAB / "dns" / "unbound.conf").read_text(),
            "knot.conf": (LAB / "dns" / "knot.conf")
            .read_text()
            .format(
                secret=self._secret(),
                zones="".join(
                    f'- domain: "{zone}"\n  file: {file}.zone\n'
                    f"  dnssec-signing: {'on' if zone in [*signed, 'test.', '.'] else 'off'}\n"
                    for zone, file in zones.items()
                ),
            ),
            "plan": f"signed='{' '.join([*signed, 'test.', '.'])}'\n"
            f"bogus='{' '.join(zone for zone, entry in entries.items() if entry.get('bogus'))}'\n",
            "root.zone": _zone(".", "test. NS ns.test.", _hosts(["ns.test."], own)),
            "test.zone": _zone("test.", *(f"{zone} NS ns.test." for zone in entries), _hosts(["ns.test."], own)),
            "acme.json": self._acme(ACME_PORT),
            "acme-eab.json": self._acme(ACME_EAB_PORT, {ACME_EAB_KID: self._mac()}),
            "acme.pem": self._acme_certificate(own[0]),
        }
        for host in served:
            zone = f"{host.domain}."
            records = [text.format(domain=host.domain) for text in entries[zone].get("caa", self._data["good"])]
            names = [zone, *(f"{label}.{zone}" for label in ("mail", "autodiscover", "webapp", "calendar"))]
            files[f"{zones[zone]}.zone"] = _zone(
                zone, *(f"@ CAA {record}" for record in records), _hosts(names, subnets.addresses(host))
            )
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path, content in sorted(files.items()):
                entry = tarfile.TarInfo(f"{PLACE}/{path}".lstrip("/"))
                entry.size = len(content.encode())
                entry.mode = 0o755 if path == "start" else 0o644
                tar.addfile(entry, io.BytesIO(content.encode()))
        return buffer.getvalue()

    def wait(self, subnets: Subnets) -> None:
        """Wait until the resolver gives answers that it has validated, and the ACME servers listen; raises LabError."""
        address = self.addresses(subnets)[0]
        end = time.monotonic() + SECONDS
        while not (_validates(address) and all(_listens(address, port) for port in (ACME_PORT, ACME_EAB_PORT))):
            if time.monotonic() > end:
                raise LabError(f"no validated answer from {address}:{RESOLVER_PORT}, or no ACME server, in {SECONDS} s")
            time.sleep(0.05)

    def _entry(self, host: Host) -> dict[str, Any]:
        return dict(self._data["zones"].get(host.name, {}))

    @staticmethod
    def _acme(port: int, keys: dict[str, str] | None = None) -> str:
        """The configuration of one ACME server; keys are those of the accounts that it wants to know before."""
        settings: dict[str, Any] = {
            "listenAddress": f"0.0.0.0:{port}",
            "certificate": f"{PLACE}/acme.pem",
            "privateKey": f"{PLACE}/acme.pem",
            "httpPort": 80,
            "tlsPort": 443,
            "externalAccountBindingRequired": keys is not None,
            "externalAccountMACKeys": keys or {},
            "retryAfter": {"authz": 1, "order": 1},
            "certificateValidityPeriod": 90 * 86400,
        }
        return json.dumps({"pebble": settings}, indent=1)

    def _acme_certificate(self, address: str) -> str:
        """Their own key and certificate, which the lab's authority has signed as those of the hosts."""
        folder = self.lab.cache
        folder.mkdir(parents=True, exist_ok=True)
        return server_certificate(authority(folder.parent), folder / f"acme-{address}.pem", address).decode()

    def _mac(self) -> str:
        """The key of the account that the second ACME server knows: that for updates, written as ACME wants it."""
        return base64.urlsafe_b64encode(base64.b64decode(self._secret())).decode().rstrip("=")

    def _secret(self) -> str:
        """The key for updates, made once for each set."""
        path = self.lab.cache / "dns.key"
        with lock(path.with_name("dns.lock")):
            if not path.exists():
                path.touch(mode=0o600)
                path.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
            return path.read_text()


def _zone(origin: str, *lines: str) -> str:
    head = f"$ORIGIN {origin}\n$TTL 300\n@ SOA ns.test. hostmaster.{origin.lstrip('.')} 1 3600 600 86400 300\n"
    return head + "@ NS ns.test.\n" + "\n".join(lines) + "\n"


def _hosts(names: Iterable[str], addresses: tuple[str, str]) -> str:
    return "\n".join(f"{name} A {addresses[0]}\n{name} AAAA {addresses[1]}" for name in names)


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 0.5).close()
    except OSError:
        return False
    return True


def _validates(address: str) -> bool:
    """Whether the root's SOA record comes back with the bit that says: validated."""
    query = struct.pack("!6H", 1, 0x0120, 1, 0, 0, 0) + b"\0" + struct.pack("!2H", 6, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        try:
            sock.connect((address, RESOLVER_PORT))
            sock.send(query)
            reply = sock.recv(4096)
        except OSError:
            return False
    return reply[3] & 0x2F == 0x20

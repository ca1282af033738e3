# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the hosts are reached: keys, known hosts and the Ansible inventory of a set."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from .authority import authority
from .content import OWN
from .dns import Nameserver
from .engine import STATE
from .model import Host, Lab
from .network import Subnets
from .shell import lock, run


class Access:
    """SSH as root to the hosts of one set, with keys that are made once for each checkout."""

    def __init__(self, lab: Lab, dns: Nameserver) -> None:
        self.lab = lab
        self._dns = dns
        self.known_hosts = lab.cache / "known_hosts"
        self.inventory = lab.cache / "inventory.yml"
        self._sockets = STATE / "ssh"
        self._sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._authority = authority(lab.checkout / ".cache" / "lab")
        self._key = _key(lab.checkout / ".cache" / "lab" / "id_ed25519", f"lab of {lab.checkout.name}")

    def identity(self, host: Host) -> dict[str, bytes]:
        """The files of a host that make it reachable as the one that is expected."""
        key = self._host_key(host.name)
        return {
            "/root/.ssh/authorized_keys": self._key.with_suffix(".pub").read_bytes(),
            "/etc/ssh/ssh_host_ed25519_key": key.read_bytes(),
            "/etc/ssh/ssh_host_ed25519_key.pub": key.with_suffix(".pub").read_bytes(),
            f"{OWN}/ca.pem": self._authority.read_bytes(),
            f"{OWN}/ca_key": self._authority.with_name("ca_key").read_bytes(),
        }

    def options(self) -> list[str]:
        """The options with which ssh trusts these hosts only, whatever the user's own configuration says."""
        # ssh splits a file name at spaces unless it is quoted within its own quotes.
        return ["-F", "none", "-o", f'UserKnownHostsFile="{self.known_hosts}"', "-o", "StrictHostKeyChecking=yes"]

    def command(self, address: str) -> list[str]:
        """The ssh command line to a host, without the remote command."""
        return ["ssh", *self.options(), "-o", "IdentitiesOnly=yes", "-i", str(self._key), f"root@{address}"]

    def close(self, host: str) -> None:
        """End the kept connection to a host that is about to go away."""
        if self._socket(host).exists():
            run(["ssh", "-F", "none", "-S", self._socket(host), "-O", "exit", host], check=False)
            self._socket(host).unlink(missing_ok=True)

    def write(self, hosts: Iterable[Host], subnets: Subnets) -> None:
        """Write the inventory and the known hosts of a set."""
        groups: dict[str, dict[str, dict[str, None]]] = {}
        entries = {}
        known = []
        for host in hosts:
            address = subnets.addresses(host)[0]
            entries[host.name] = {
                "ansible_host": address,
                "ansible_control_path": str(self._socket(host.name)),
                "lab_addresses": list(subnets.addresses(host)),
                "lab_dirt": sorted(host.dirt),
                "lab_name": f"mail.{host.domain}",
                **self._dns.host_variables(host),
            }
            for group in host.groups:
                groups.setdefault(group, {"hosts": {}})["hosts"][host.name] = None
            known.append(f"{address} {self._host_key(host.name).with_suffix('.pub').read_text()}")
        common: dict[str, Any] = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_common_args": shlex.join(self.options()),
            # No system trusts the lab's certificates; options.yml trusts their authority on some hosts.
            "verify_ignore_trust": True,
            "lab_ca_file": str(self._authority),
            # Systems and zones have faults on purpose that no run repairs: these are said, and only grades fail a host.
            "report_fail_on": [],
            "report_path": str(self.inventory.parent / "report"),
        }
        common |= self._dns.variables(subnets)
        self.lab.cache.mkdir(parents=True, exist_ok=True)
        self.known_hosts.write_text("".join(known))
        content = {"all": {"hosts": entries, "vars": common, "children": groups}}
        self.inventory.write_text("---\n" + yaml.safe_dump(content, sort_keys=False))

    def _host_key(self, name: str) -> Path:
        return _key(self.lab.cache / "keys" / name, name)

    def _socket(self, host: str) -> Path:
        # Not in the checkout: the path of a socket has to be short.
        return self._sockets / self.lab.container(host)


def _key(path: Path, comment: str) -> Path:
    with lock(path.parent / "lock"):
        if not path.with_suffix(".pub").exists():
            path.unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
    return path

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers: from the data to hosts that answer, and back."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import content, dns, images, network
from .access import Access
from .dns import Nameserver
from .engine import Podman
from .model import Host, Lab, hosts
from .shell import LabError, last_words, retry, run

READY_SECONDS = 240  # as dns.SECONDS, and these boot a system
PRIVILEGES = [
    "--cap-add=SYS_ADMIN,NET_ADMIN,SYS_PTRACE,AUDIT_WRITE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=unmask=ALL",
]


@dataclass(frozen=True)
class Found:
    """A container of the set that podman knows."""

    host: str
    state: str
    spec: str


class Machines:
    """The hosts of one set."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.podman = Podman()
        self.dns = Nameserver(lab)
        self.access = Access(lab, self.dns)
        self.known = hosts()

    def up(self, names: Iterable[str] = (), *, anew: bool = False) -> list[Host]:
        """Have these hosts (all that are not optional, without names) up and answering; anew recreates them.

        A host that is up with the state that the data asks for is left as it is. Returns the hosts. Raises LabError
        that names each host that did not come up, and why.
        """
        chosen = self._choose(names)
        self._remove_orphans()
        images.ensure(self.podman, [self.dns.release, *(host.release for host in chosen)])
        subnets = network.ensure(self.podman, self.lab)
        found = {entry.host: entry for entry in self.found()}

        def bring(host: Host) -> None:
            addresses = subnets.addresses(host)
            archive = content.archive(host, addresses, self.access.identity(host))
            options = ["--systemd=always", *([] if host.unprivileged else PRIVILEGES)]
            have(host.name, f"mail.{host.domain}", addresses, archive, [*options, host.release.image])

        def have(name: str, hostname: str, addresses: tuple[str, str], archive: bytes, options: list[str]) -> None:
            spec = hashlib.sha256(archive + repr((hostname, options)).encode()).hexdigest()[:16]
            there = name in found and found[name].spec == spec
            if anew or not there or not self._runs(name):
                retry(name, lambda: self._create(name, hostname, addresses, archive, spec, options))

        def bring_dns() -> None:
            archive = self.dns.archive(subnets)
            options = [self.dns.release.image, f"{dns.PLACE}/start"]
            have(self.dns.name, "ns.test", self.dns.addresses(subnets), archive, options)
            self.dns.wait(subnets)

        self._each([self.dns, *chosen], lambda one: bring_dns() if one is self.dns else bring(one))
        images.remove_old(self.podman)
        self._write_inventory(subnets)
        self._each(chosen, lambda host: self._wait(host, subnets.addresses(host)[0]))
        return chosen

    def reset(self, names: Iterable[str] = ()) -> list[Host]:
        """Give these hosts (without names: all that are there) the state of their first boot again."""
        names = list(names) or [entry.host for entry in self.found() if entry.host in self.known]
        return self.up(names, anew=True)

    def down(self, names: Iterable[str] = ()) -> None:
        """Remove these hosts; without names all of the set, and its network."""
        names = list(names)
        self._each(names or [entry.host for entry in self.found()], self._remove)
        if names:
            self._write_inventory(network.ensure(self.podman, self.lab))
        elif self.podman.ok("network", "exists", self.lab.prefix):
            self.podman("network", "rm", "--force", self.lab.prefix)
            self.access.inventory.unlink(missing_ok=True)

    def found(self) -> list[Found]:
        """The containers of the set, also those that do not run."""
        listed = self.podman.json("ps", "--all", "--filter", f"label=kopano-lab.set={self.lab.prefix}")
        return [
            Found(entry["Labels"]["kopano-lab.host"], entry["State"], entry["Labels"]["kopano-lab.spec"])
            for entry in listed
        ]

    def address(self, name: str) -> str:
        """The IPv4 address of a host."""
        return network.ensure(self.podman, self.lab).addresses(self._choose([name])[0])[0]

    def _choose(self, names: Iterable[str]) -> list[Host]:
        names = list(names) or [host.name for host in self.known.values() if not host.optional]
        for name in names:
            if name not in self.known:
                raise LabError(f"{name} is no host of the lab; hosts.yml has {', '.join(self.known)}")
        return sorted((self.known[name] for name in names), key=lambda host: host.position)

    def _write_inventory(self, subnets: network.Subnets) -> None:
        there = {entry.host for entry in self.found()}
        self.access.write((host for host in self.known.values() if host.name in there), subnets)

    def _create(
        self, host: str, hostname: str, addresses: tuple[str, str], archive: bytes, spec: str, options: list[str]
    ) -> None:
        """Have a new container; options are what podman create gets besides, the image and its command at the end."""
        self._remove(host)
        name = self.lab.container(host)
        labels = {
            "kopano-lab": self.lab.checkout,
            "kopano-lab.set": self.lab.prefix,
            "kopano-lab.host": host,
            "kopano-lab.spec": spec,
        }
        self.podman(
            "create",
            f"--name={name}",
            f"--hostname={hostname}",
            f"--network={self.lab.prefix}:ip={addresses[0]},ip={addresses[1]},mac={network.mac(addresses[0])}",
            "--pids-limit=0",
            "--log-driver=none",
            *[f"--label={key}={value}" for key, value in labels.items()],
            *options,
        )
        self.podman("cp", "-", f"{name}:/", data=content.without_padding(archive))
        self.podman("start", name)

    def _runs(self, host: str) -> bool:
        """Whether a process can be started in it; podman's own word is not asked, it may be out of date."""
        return self.podman.ok("exec", self.lab.container(host), "true")

    def _remove(self, host: str) -> None:
        self.access.close(host)
        self._rm(self.lab.container(host))

    def _rm(self, container: str) -> None:
        command = ["rm", "--force", "--ignore", "--volumes", "--time=0", container]
        # Where the container's processes were killed behind podman's back, the first call only finds that out.
        if not self.podman.ok(*command):
            self.podman(*command)

    def _remove_orphans(self) -> None:
        """Remove what checkouts that no longer exist have left on the machine."""
        label = "label=kopano-lab"
        for entry in self.podman.json("ps", "--all", "--filter", label):
            if not Path(entry["Labels"]["kopano-lab"]).is_dir():
                self._rm(entry["Id"])
        for entry in self.podman.json("network", "ls", "--filter", label):
            if not Path(entry["labels"]["kopano-lab"]).is_dir():
                self.podman.ok("network", "rm", "--force", entry["name"])

    def _wait(self, host: Host, address: str) -> None:
        end = time.monotonic() + READY_SECONDS
        reason = ""
        for reason in self._reasons(host, address):
            if not reason:
                return
            if time.monotonic() > end:
                break
            time.sleep(0.2)
        raise LabError(reason)

    def _reasons(self, host: Host, address: str) -> Iterator[str]:
        """Why the host is not ready yet, again and again; nothing once it is."""
        # --wait ends when the boot does.
        command = [*self.access.command(address), "systemctl", "is-system-running", "--wait"]
        command[1:1] = ["-o", "ConnectTimeout=2", "-o", "BatchMode=yes"]
        while True:
            done = run(command, check=False, timeout=READY_SECONDS)
            state = done.stdout.decode().strip()
            if state in {"running", "degraded"}:
                break
            if not state and not self._runs(host.name):
                raise LabError("the container has ended: its systemd did not start, or was killed")
            yield f"systemd is {state}" if state else f"ssh does not answer: {last_words(done, 1)}"
        while True:
            try:
                _get(address, secure="no-site" not in host.dirt)
            except (OSError, http.client.HTTPException) as error:
                yield f"the web server does not answer: {error}; systemd is {state}; `make lab-reset` gives a new host"
            else:
                yield ""

    @staticmethod
    def _each(items: Iterable[Any], work: Callable[[Any], None]) -> None:
        """Do the work for all items at once; all errors together become one."""
        items = list(items)
        with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
            pending = {pool.submit(work, item): item for item in items}
        errors = []
        for task, item in pending.items():
            error = task.exception()
            if isinstance(error, LabError):
                errors.append(f"{getattr(item, 'name', item)}: {error}")
            elif error:
                raise error
        if errors:
            raise LabError("\n".join(errors))


def _get(address: str, *, secure: bool) -> None:
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(address, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    finally:
        connection.close()

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's hosts as data, and the names that keep two checkouts and two sets of hosts apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from .images import LAB, Family, Release, releases
from .shell import LabError

CHOICES = {"server": {"apache", "nginx"}, "php": {"mod_php", "fpm"}, "key": {"rsa", "ec"}}


@dataclass(frozen=True)
class Host:
    """A host of hosts.yml; position is its place in the file, which decides its address."""

    name: str
    position: int
    release: Release
    server: str
    php: str
    key: str
    dirt: frozenset[str]
    optional: bool = False
    maintained: bool = False
    unprivileged: bool = False

    @property
    def domain(self) -> str:
        """The mail domain that it serves."""
        return f"{self.name}.test"

    @property
    def family(self) -> Family:
        """The family of distributions that it is of."""
        if not self.release.family:
            raise LabError(f"{self.name}: {self.release.name} is no release of a host")
        return self.release.family

    @property
    def groups(self) -> list[str]:
        """The inventory groups that it is in."""
        family = self.family.name
        groups = ["lab", self.server, f"debian{self.release.debian}" if family == "debian" else family]
        groups += ["maintained"] if self.maintained else []
        return groups + ([] if "no-site" in self.dirt else ["tls"])


@dataclass(frozen=True)
class Lab:
    """One set of hosts of one checkout."""

    checkout: Path
    set: str

    @property
    def prefix(self) -> str:
        """Starts the name of whatever the set has on the machine."""
        return f"kopano-{hashlib.sha256(str(self.checkout).encode()).hexdigest()[:6]}-{self.set}"

    @property
    def cache(self) -> Path:
        """The folder of this set's generated files."""
        return self.checkout / ".cache" / "lab" / self.set

    def container(self, host: str) -> str:
        """The name of a host's container."""
        return f"{self.prefix}-{host}"


def hosts(path: Path = LAB / "hosts.yml") -> dict[str, Host]:
    """All hosts of the data file by name. Raises LabError for what the lab does not know."""
    known = releases()
    data = yaml.safe_load(path.read_text())
    result = {}
    for position, (name, entry) in enumerate(data["hosts"].items()):
        unknown = set(entry) - {field.name for field in fields(Host)}
        if unknown:
            raise LabError(f"{path.name}: {name}: unknown key {', '.join(sorted(unknown))}")
        if entry["release"] not in known:
            raise LabError(f"{path.name}: {name}: release is {entry['release']!r}, not one of {', '.join(known)}")
        for key, allowed in CHOICES.items():
            if entry[key] not in allowed:
                raise LabError(f"{path.name}: {name}: {key} is {entry[key]!r}, not one of {', '.join(sorted(allowed))}")
        dirt = frozenset(entry["dirt"])
        if not dirt <= set(data["dirt"]):
            raise LabError(f"{path.name}: {name}: unknown dirt {', '.join(sorted(dirt - set(data['dirt'])))}")
        result[name] = Host(name, position, **{**entry, "release": known[entry["release"]], "dirt": dirt})
    return result

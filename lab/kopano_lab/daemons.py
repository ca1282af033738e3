# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of Kopano's daemons a host has, from daemons.yml."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from .images import LAB
from .model import Host

# What a daemon says that does not know of a frontend that says it as well.
HSTS = {"Strict-Transport-Security": "max-age=1; includeSubDomains"}


@dataclass(frozen=True)
class Daemon:
    """An entry of daemons.yml, where the fields are explained."""

    name: str
    program: str
    listen: str
    paths: list[str]
    answers: list[dict[str, Any]]
    sockets: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    strips: bool = False
    tls: bool = False
    strict: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    def goal(self, path: str) -> str:
        """What a public path is called where it is handed on to."""
        return "/" + path.removeprefix(self.paths[0]) if self.strips else path


def of(host: Host) -> list[Daemon]:
    """The daemons of a host."""
    known = [Daemon(name, **entry) for name, entry in yaml.safe_load((LAB / "daemons.yml").read_text()).items()]
    if "strict-daemons" in host.dirt:
        return [replace(daemon, headers={**daemon.headers, **HSTS}) for daemon in known]
    return [daemon for daemon in known if not daemon.strict]

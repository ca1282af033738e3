# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of hardened hosts share: the runs that made them so, and every way to their TLS endpoints."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from frontends import TIMEOUT, Answer, Frontend

POLICY = "max-age=31536000"
UNKNOWN = "unknown.example"
SITE = "00-kopano-hardening"


@dataclass(frozen=True)
class Run:
    """One run of a playbook, from begin.json and end.json (see watch.py); before and after are what /etc was like."""

    folder: Path
    kind: str
    before: dict[str, Any]
    after: dict[str, Any]
    results: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Run:
        end = json.loads((folder / "end.json").read_text())
        before = json.loads((folder / "begin.json").read_text())
        return cls(folder, folder.name.partition("-")[2], _trees(before), _trees(end["etc"]), end["results"])

    def requests(self, host: str) -> list[str]:
        """The lines of the client's log; see client.py for what is in them."""
        return (self.folder / f"{host}.log").read_text().splitlines()


def _trees(texts: dict[str, Any]) -> dict[str, Any]:
    return {host: json.loads(tree) if isinstance(tree, str) else tree for host, tree in texts.items()}


def changed(before: dict[str, Any], after: dict[str, Any], *, times: bool = True) -> list[str]:
    """The paths that differ; without times, in anything but when they were written."""
    keys = ["kind", "mode", "owner", "content", *(["modified"] if times else [])]

    def state(tree: dict[str, Any], path: str) -> list[Any] | None:
        return [tree[path][key] for key in keys] if path in tree else None

    return sorted(path for path in {*before, *after} if state(before, path) != state(after, path))


@dataclass(frozen=True)
class Endpoint:
    """A way to reach TLS on a host: an address, the name in the handshake (or none), the name in the request."""

    address: str
    server_name: str | None
    host: str

    def __str__(self) -> str:
        return f"{self.address} as {self.server_name or 'nobody'}"

    def get(
        self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.address, 443, timeout=TIMEOUT)
        try:
            connection.connect()
            connection.sock = context().wrap_socket(connection.sock, server_hostname=self.server_name)
            connection.request(method, path, body=body, headers={"Host": self.host, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


def context() -> ssl.SSLContext:
    """A client that does not mind who signed the certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


@dataclass(frozen=True)
class Hardened:
    """A host after the last run. site: it has Kopano's site, otherwise its own virtual hosts were adopted."""

    frontend: Frontend
    site: bool

    @property
    def apache(self) -> bool:
        return self.frontend.server == "apache"

    @property
    def addresses(self) -> list[str]:
        """Where it listens: nginx on IPv6 only when it is told so, which an adopted host's administrator decides."""
        both = self.apache or self.site or "addresses" in self.frontend.dirt
        return [self.frontend.ipv4, self.frontend.ipv6] if both else [self.frontend.ipv4]

    @property
    def names(self) -> list[str]:
        """The names that have a virtual host of their own."""
        second = ["calendar." + self.frontend.name.removeprefix("mail.")] if "addresses" in self.frontend.dirt else []
        return [self.frontend.name, *second]

    @property
    def endpoints(self) -> list[Endpoint]:
        """Each name, no name and a name that nobody knows, at each address."""
        names = [*self.names, None, UNKNOWN]
        return [Endpoint(address, name, name or self.frontend.name) for address in self.addresses for name in names]


@pytest.fixture(scope="session")
def runs() -> list[Run]:
    """All runs, the oldest first."""
    folders = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "runs").iterdir()
    return [Run.read(path) for path in sorted(folders, key=lambda path: int(path.name.partition("-")[0]))]


@pytest.fixture(scope="module")
def hardened(frontend: Frontend, runs: list[Run]) -> Hardened:
    changed = [entry["after_header"] for run in runs for entry in run.results[frontend.host]["diff"]]
    return Hardened(frontend, any(f"/{SITE}" in header for header in changed))

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Findings about a certificate, with the commands that repair it."""

from __future__ import annotations

import ipaddress
import re
import shlex
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate.catalogue import CATALOGUE, finding
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import shell_path
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

_NAME = re.compile(r"[A-Za-z0-9*_.:-]+")


class Report:
    """Gathers findings about C(subject). Their commands name the files, and C(names) are the names in requests."""

    def __init__(self, subject: str, chain: str, key: str, ca: str, names: t.Sequence[str]) -> None:
        self.subject = subject
        self.names = list(names)
        self._files = {"chain": shell_path(chain), "key": shell_path(key), "ca": shell_path(ca)}
        self.findings: list[Finding] = []

    def finding(self, key: str, evidence: str = "", *, subject: str | None = None, fix: str | None = None) -> None:
        """Add one; C(fix) goes before the catalogue's and has the same placeholders."""
        command = (fix or CATALOGUE[key].fix).format(**self._files, **self._requests())
        self.findings.append(finding(key, self.subject if subject is None else subject, evidence, command))

    def _requests(self) -> dict[str, str]:
        # In an extension's text other characters separate, expand variables or begin a comment.
        names = [name for name in map(x509.ascii_name, self.names) if _NAME.fullmatch(name)] or ["NAME"]
        alternative_names = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        options = f"-subj / -addext {shlex.quote('subjectAltName=' + alternative_names)} -out request.csr"
        new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key"
        send = "# and send request.csr to the CA"
        return {
            "request": f"openssl req -new -key {self._files['key']} {options}  {send}",
            "new_request": f"(umask 077 && openssl req -new {new} {options})  {send}",
        }

    @property
    def failed(self) -> bool:
        return any(item["severity"] == "fail" for item in self.findings)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

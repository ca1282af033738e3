#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of clients in docs/clients.md from their data: docs/clients.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- made by docs/clients.py -->\n", "<!-- end -->\n"

sys.path.insert(0, str(ROOT))
import tests.unit.conftest  # noqa: E402, F401 - makes the checkout importable as a collection
from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data, clients  # noqa: E402
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_data, lost_clients  # noqa: E402

DEFAULTS: dict[str, list[str]] = {"tls_ciphers": [], "tls_ciphersuites": [], "tls_groups": []}
COLUMNS = (("intermediate", "rsa"), ("intermediate", "ecdsa"), ("modern", "rsa"), ("modern", "ecdsa"))


def rows() -> list[list[str]]:
    """Each client with its verdicts, and why it cannot connect to the first server that refuses it."""
    policies = {name: lost_clients.policy_of(DEFAULTS, profile) for name, profile in frontend_data.profiles().items()}
    found = []
    for client in client_data.clients().values():
        verdicts, reasons = [], []
        for profile, key in COLUMNS:
            policy = policies[profile]
            assert policy, "a profile has a name that is not known"
            got = clients.expected(client, policy.protocols, [*policy.suites], policy.groups, [key], False)
            verdicts.append("yes" if got["ok"] else "no")
            reasons += [got["reason"] or ""] if not got["ok"] else []
        found.append([lost_clients.name(client), f"`{client.id}`", *verdicts, reasons[0] if reasons else ""])
    return found


def page(text: str) -> str:
    """The page with the table as the data has it."""
    head = ["client", "id", *(f"{profile}, {key.upper()}" for profile, key in COLUMNS), "the first no, since"]
    lines = [head, ["---"] * len(head), *rows()]
    start, rest = text.split(BEGIN)
    return start + BEGIN + "".join(f"| {' | '.join(line)} |\n" for line in lines) + END + rest.split(END, 1)[1]


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    fresh = page(text)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    if fresh != text:
        print(f"{PAGE.relative_to(ROOT)} is not up to date: run docs/clients.py", file=sys.stderr)
    return int(fresh != text)


if __name__ == "__main__":
    sys.exit(main())

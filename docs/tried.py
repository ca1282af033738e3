#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of docs/verify.md from the cases of the tests: docs/tried.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "verify.md"
BEGIN, END = "<!-- made by docs/tried.py from tests/unit -->\n", "<!-- end -->\n"

sys.path.insert(0, str(ROOT))
import tests.unit.conftest  # noqa: E402, F401 - makes the checkout importable as a collection
from ansible_collections.kopano.hardening.plugins.module_utils._tls import rules  # noqa: E402
from tests.unit import test_tls_bed as bed  # noqa: E402
from tests.unit import tls_cases as cases  # noqa: E402
from tests.unit import tls_peers as peers  # noqa: E402
from tests.unit import tls_trust_cases as trust  # noqa: E402

_RULES = {rule.id: rule for rule in rules.RULES}
_GROUPS = (
    ("Connections that are lost", cases.LOSSY + cases.STEADY),
    ("Servers that insist on something", cases.DEMANDING),
    ("Answers", cases.HTTP),
    ("Strict-Transport-Security", cases.HSTS),
    ("Floods", cases.FLOODS),
    ("What makes no sense", cases.STRANGE),
)
_TRUST = (
    ("Several certificates", trust.SEVERAL),
    ("Paths and issuers", trust.PATHS),
    ("Servers that the local library cannot speak to", trust.VISITS),
    ("Stapled OCSP responses", trust.STAPLES),
)


def _because(ids: tuple[str, ...]) -> str:
    return " ".join(f"{_RULES[key].text} ({_RULES[key].revision})" for key in ids) or "nothing lowers it"


def rows() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Title of a group to what was tried in it: who, the letter, why."""
    groups = [
        (
            title,
            [
                (case.server, f"{case.letter}, or {cases.NONE}" if case.lossy else case.letter, case.why)
                for case in group
            ],
        )
        for title, group in _GROUPS
    ]
    groups += [
        (title, [(f"{case.server}: {case.name}", case.letter or cases.NONE, case.reason) for case in group])
        for title, group in _TRUST
    ]
    known = [
        (title, [(name, grade, _because(ids)) for name, (*_how, grade, _ignored, ids) in sites.items()])
        for title, sites in (("nginx", bed.NGINX), ("Apache", bed.APACHE))
    ]
    old = [(f"node {node}: {name}", grade, _because(ids)) for name, (node, *_how, grade, ids) in bed.OLD.items()]
    groups = [*known, ("Old OpenSSL, trust ignored", old), *groups]
    groups.append(("No TLS server", [(name, cases.NONE, "nothing was accepted") for name in peers.HOSTILE]))
    return groups


def table() -> str:
    parts = [BEGIN]
    for title, tried in rows():
        parts.append(f"\n### {title}\n\n| what was tried | letter | why |\n| --- | --- | --- |\n")
        parts += ["| {} | {} | {} |\n".format(*(cell.replace("|", "\\|") for cell in row)) for row in tried]
    return "".join([*parts, "\n", END])


def page() -> str:
    text = PAGE.read_text()
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return before + table() + after


def main() -> None:
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text() != wanted and f"{PAGE} is stale; run docs/tried.py")
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()

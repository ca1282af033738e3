#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables of docs/oracles.md from the data of tests/oracles: docs/oracles.py [--check]."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "oracles.md"
BEGIN, END = "<!-- made by docs/oracles.py from tests/oracles -->\n", "<!-- end -->\n"

sys.path.insert(0, str(ROOT))
import tests.unit.conftest  # noqa: E402, F401 - makes the checkout importable as a collection
from tests.oracles import compared, generated, scanners  # noqa: E402
from tests.unit import test_tls_bed as bed  # noqa: E402
from tests.unit import tls_cases  # noqa: E402

LIKE_OURS = "the same"


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ["---"] * len(head), *rows]
    text = "".join("| {} |\n".format(" | ".join(cell.replace("|", "\\|") for cell in line)) for line in lines)
    return f"\n## {title}\n\n{text}"


def _letters() -> Iterable[Iterable[str]]:
    servers = [(name, grade) for name, (_options, grade, *_rest) in bed.NGINX.items()]
    servers += [(f"{name} (old OpenSSL)", grade) for name, (*_how, grade, _rules) in bed.OLD.items()]
    servers.append(("Debian 11", "B"))
    for name, grade in servers:
        difference = compared.LETTERS.get(name.removesuffix(" (old OpenSSL)"))
        yield name, grade, difference.value if difference else LIKE_OURS, difference.why if difference else ""


def _compared(rows: Iterable[compared.Compared]) -> Iterable[Iterable[str]]:
    for one in rows:
        by_scanner = [one.differences.get(name) for name in (scanners.TESTSSL, scanners.SSLYZE)]
        values = [difference.value or "none" if difference else LIKE_OURS for difference in by_scanner]
        reasons = {difference.why: name for name, difference in one.differences.items()}
        shared = len(one.differences) > len(reasons)
        why = " ".join(why if shared else f"{name}: {why}" for why, name in reasons.items())
        what = one.case.server if isinstance(one.case, tls_cases.Case) else f"{one.case.server}: {one.case.name}"
        yield what, one.case.letter or tls_cases.NONE, one.ours, *values, why


def _rules() -> Iterable[Iterable[str]]:
    for rule in generated.SSLYZE_RULES:
        yield scanners.SSLYZE, "", rule.why
    yield scanners.TESTSSL, "`tls.hsts.unknown`", generated.HSTS_LEFT_OPEN
    yield scanners.TESTSSL, "`tls.certificate.*`", generated.CERTIFICATES_LEFT_OPEN
    for one in compared.UNRATED:
        if compared.WRITTEN_FOR in one.versions:
            yield scanners.TESTSSL, ", ".join(f"`{rule}`" for rule in one.rules), one.why


def table() -> str:
    head = ("what was scanned", "our letter", "ours", scanners.TESTSSL, scanners.SSLYZE, "why they differ")
    return "".join(
        (
            BEGIN,
            _table("Letters", ("server", "ours", scanners.TESTSSL, "why they differ"), _letters()),
            _table("Protocols", head, _compared(compared.PROTOCOLS)),
            _table("Trust", head, _compared(compared.TRUST)),
            _table("Generated servers", ("scanner", "rules that its letter is without", "why it differs"), _rules()),
            "\n",
            END,
        )
    )


def page() -> str:
    text = PAGE.read_text()
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return before + table() + after


def main() -> None:
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text() != wanted and f"{PAGE} is stale; run docs/oracles.py")
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()

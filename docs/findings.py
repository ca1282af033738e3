#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/findings.md from the catalogue of findings: docs/findings.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "findings.md"
BEGIN = """\
# Findings

<!-- made by docs/findings.py from plugins/plugin_utils/findings.yml -->

Everything that the modules and the report may say of a host. The ids are stable: waivers, scripts and dashboards may
rely on them. `fail` misses the checklist, `warn` will do so or is easily better, `unknown` could not be found out and
never counts as good, `info` is worth knowing. A finding itself says more than this page: what it is about, what it was
found by, and, where they are known, the file, the line and the records to change.
"""

sys.path.insert(0, str(ROOT))
import tests.unit.conftest  # noqa: E402, F401 - makes the checkout importable as a collection
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES  # noqa: E402
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings  # noqa: E402


def page() -> str:
    parts = [BEGIN]
    for step, title in _findings.STEP_TITLES.items():
        entries = [entry for entry in _findings.catalogue().values() if entry.step == step]
        if not entries:
            continue
        entries.sort(key=lambda entry: (SEVERITIES.index(entry.severity), entry.id))
        parts.append(f"\n## Step {step}: {title}\n\n| finding | severity | |\n| --- | --- | --- |\n")
        parts += [f"| [`{entry.id}`](#{anchor(entry.id)}) | {entry.severity} | {entry.title} |\n" for entry in entries]
        for entry in entries:
            source = f"[{entry.source}]({entry.url})" if entry.url else entry.source
            parts.append(f"\n### {entry.id}\n\n**{entry.title}** ({entry.severity}). {entry.why} ({source})\n")
            parts += [f"\n{_findings.PLACES[place]}:\n\n```\n{text}\n```\n" for place, text in entry.fix.items()]
    return "".join(parts)


def anchor(key: str) -> str:
    """The anchor that a heading gets."""
    return key.replace(".", "")


def main() -> None:
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit((not PAGE.exists() or PAGE.read_text() != wanted) and f"{PAGE} is stale; run docs/findings.py")
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/findings.md and one page a step in docs/findings/ from the catalogue: docs/findings.py [--check]."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MADE = "<!-- made by docs/findings.py from plugins/plugin_utils/findings.yml -->\n"
INTRODUCTION = """\
Everything that the modules and the report can find on a host. The ids are stable: waivers, scripts and dashboards may
rely on them. `fail` misses the checklist; `warn` will miss it one day, or is easily improved; `unknown` could not be
determined and never counts as good; `info` is worth knowing. A finding in a report has more than these pages: its
subject, the evidence and, where they are known, the file, the line and the records to change.
"""

sys.path.insert(0, str(ROOT))
import tests.unit.conftest  # noqa: E402, F401 - makes the checkout importable as a collection
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS  # noqa: E402
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings  # noqa: E402


def pages() -> dict[str, str]:
    """Every page by its path below docs/: the index, and one page for each step that has findings."""
    entries = sorted(_findings.catalogue().values(), key=lambda entry: entry.id)
    by_step = {step: [entry for entry in entries if entry.step == step] for step in STEPS}
    steps = {step: found for step, found in by_step.items() if found}
    return {"findings.md": index(steps, entries), **{name(step): page(step, found) for step, found in steps.items()}}


def name(step: int) -> str:
    return f"findings/step-{step}-{STEPS[step].lower()}.md"


def anchor(key: str) -> str:
    """The anchor that a heading gets."""
    return key.replace(".", "")


def title(step: int) -> str:
    return f"Step {step}: {_findings.STEP_TITLES[step]}"


def index(steps: Iterable[int], entries: Iterable[_findings.Entry]) -> str:
    parts = ["# Findings\n\n", MADE, "\n", INTRODUCTION, "\n"]
    parts += [f"- [{title(step)}]({name(step)})\n" for step in steps]
    parts.append("\n| finding | step | severity | |\n| --- | --- | --- | --- |\n")
    parts += [
        f"| [`{entry.id}`]({name(entry.step)}#{anchor(entry.id)}) | {entry.step} | {entry.severity} | {entry.title} |\n"
        for entry in entries
    ]
    return "".join(parts)


def page(step: int, entries: Iterable[_findings.Entry]) -> str:
    entries = sorted(entries, key=lambda entry: SEVERITIES.index(entry.severity))
    parts = [f"# {title(step)}\n\n", MADE, "\nAll steps and the severities: [findings.md](../findings.md).\n"]
    parts.append("\n| finding | severity | |\n| --- | --- | --- |\n")
    parts += [f"| [`{entry.id}`](#{anchor(entry.id)}) | {entry.severity} | {entry.title} |\n" for entry in entries]
    for entry in entries:
        source = f"[{entry.source}]({entry.url})" if entry.url else entry.source
        parts.append(f"\n## {entry.id}\n\n**{entry.title}** ({entry.severity}). {entry.why} ({source})\n")
        parts += [f"\n{_findings.PLACES[place]}:\n\n```\n{text}\n```\n" for place, text in entry.fix.items()]
    return "".join(parts)


def extra(docs: Path, wanted: dict[str, str]) -> list[Path]:
    """Pages of steps that the catalogue no longer has."""
    return [path for path in sorted((docs / "findings").glob("*")) if str(path.relative_to(docs)) not in wanted]


def stale(docs: Path) -> list[str]:
    """The pages below `docs` that are missing, differ from the catalogue, or are there without a step."""
    wanted = pages()
    different = [key for key, text in wanted.items() if not (docs / key).exists() or (docs / key).read_text() != text]
    return different + [str(path.relative_to(docs)) for path in extra(docs, wanted)]


def write(docs: Path) -> None:
    wanted = pages()
    for path in extra(docs, wanted):
        path.unlink()
    (docs / "findings").mkdir(exist_ok=True)
    for key, text in wanted.items():
        (docs / key).write_text(text)


def main() -> None:
    if "--check" not in sys.argv[1:]:
        write(DOCS)
    elif names := stale(DOCS):
        sys.exit(f"stale: {', '.join(names)}; run docs/findings.py")


if __name__ == "__main__":
    main()

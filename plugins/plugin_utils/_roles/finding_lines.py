# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Findings as lines for the terminal."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES


class Report(t.TypedDict):
    """The report on a host: C(lines), what was found, for the terminal, and C(bad), what it fails for."""

    lines: list[str]
    bad: list[str]


class StepReport(Report):
    """The same with the step of the checklist, and C(outcome), what was done."""

    step: int
    outcome: list[str]


FIX = "fix: "
SHOWN = 3  # of several, so that a line can be read


def some(names: t.Iterable[str], between: str = ", ", shown: int = SHOWN) -> str:
    """The names, or where there are more than shown, the first one and how many more. All of them are in the report."""
    names = list(dict.fromkeys(names))
    return between.join(names) if len(names) <= shown else f"{names[0]} and {len(names) - 1} more"


def each(words: str, names: t.Sequence[str]) -> list[str]:
    """A line for each name after the words, or where there are many, one for all."""
    return [f"{words}{name}" for name in (names if len(names) <= SHOWN else [some(names)])]


def lines(findings: t.Iterable[t.Mapping[str, t.Any]], between: str = ", ") -> list[str]:
    """A line for each kind of finding with what it is about, the worst first, and one for its fix. between: what
    separates that.

    Evidence stands beside what it is about. What has the same severity, id, message and fix is of one kind. Where many
    have fixes of their own, one stands for all.
    """
    kinds: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for item in findings:
        evidence = f" [{item['evidence']}]" if item["evidence"] else ""
        fixes = kinds.setdefault((item["severity"], item["id"], item["message"]), {})
        fixes.setdefault(item["fix"], []).append(item["subject"] + evidence)
    return [
        line
        for (severity, key, message), fixes in sorted(kinds.items(), key=lambda kind: SEVERITIES.index(kind[0][0]))
        for fix, subjects in _few(fixes).items()
        for line in (f"{severity}: {key} ({some(subjects, between)}): {message}", *_fix_lines(fix))
    ]


def _fix_lines(fix: str) -> list[str]:
    """A fix may be a script, whose lines are to be pasted."""
    return [f"  {'' if number else FIX}{line}" for number, line in enumerate(fix.splitlines())]


def _few(fixes: dict[str, list[str]]) -> dict[str, list[str]]:
    """The fixes with what each is for; of more than a few the first one, for everything."""
    if len(fixes) <= SHOWN:
        return fixes
    subjects = [subject for some in fixes.values() for subject in some]
    return {f"{next(iter(fixes))} (and {len(fixes) - 1} more like this, in the report)": subjects}

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
    """The report on a host: C(lines) for the terminal, and C(bad), what it fails for."""

    lines: list[str]
    bad: list[str]


class StepReport(Report):
    """The same with the step of the checklist."""

    step: int


def lines(findings: t.Iterable[t.Mapping[str, t.Any]], between: str = ", ") -> list[str]:
    """A line for each kind of finding with everything that it is about, the worst first. between: what separates that.

    Evidence stands beside what it is about. What has the same severity, id, message and fix is of one kind.
    """
    groups: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for item in findings:
        evidence = f" [{item['evidence']}]" if item["evidence"] else ""
        kind = (item["severity"], item["id"], item["message"], item["fix"])
        groups.setdefault(kind, {})[item["subject"] + evidence] = None
    return [
        f"{severity}: {key} ({between.join(subjects)}): {message} {fix}".strip()
        for (severity, key, message, fix), subjects in sorted(
            groups.items(), key=lambda group: SEVERITIES.index(group[0][0])
        )
    ]

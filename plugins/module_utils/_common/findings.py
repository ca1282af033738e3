# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a finding is: the steps of the checklist, the severities, and the catalogue that a package makes findings from.

Each package has its kinds of findings as data in C(catalogue.py); C(findings.yml) of the controller explains them.
"""

from __future__ import annotations

import typing as t

# The worst first.
SEVERITIES = ("fail", "warn", "unknown", "info")
# The steps of the checklist.
UPDATES, TLS, HSTS, CAA, GRADE = 1, 2, 3, 4, 5
STEPS = {
    UPDATES: "Updates",
    TLS: "TLS",
    HSTS: "HSTS",
    CAA: "CAA",
    GRADE: "Grade",
}

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Finding(t.TypedDict):  # novm
        """A finding as modules return it."""

        id: str
        step: int
        severity: str
        subject: str
        message: str
        evidence: str
        fix: str

else:
    Finding = t.Dict[str, t.Any]


class Entry(t.NamedTuple):
    """A kind of finding: severity, message and fix. Its step is only named where it is not that of its catalogue."""

    severity: str
    message: str
    fix: str = ""
    step: int = 0


class Catalogue(t.Dict[str, Entry]):
    """The kinds of findings of a package by their ids, each with its step."""

    def __init__(self, step: int, entries: t.Mapping[str, Entry]) -> None:
        super().__init__({key: entry if entry.step else entry._replace(step=step) for key, entry in entries.items()})

    def finding(
        self,
        key: str,
        subject: str,
        evidence: str = "",
        fix: str = "",
        *,
        severity: str = "",
        step: int | None = None,
    ) -> Finding:
        """A finding; the fix, severity and step that are given replace those of its kind."""
        entry = self[key]
        return {
            "id": key,
            "step": step or entry.step,
            "severity": severity or entry.severity,
            "subject": subject,
            "message": entry.message,
            "evidence": evidence,
            "fix": fix or entry.fix,
        }

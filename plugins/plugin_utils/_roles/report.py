# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the role report makes of its options: which findings a host fails for, and which are waived until when."""

from __future__ import annotations

import datetime
import fnmatch
import json
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, Finding
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings

Info = dict[str, t.Any]

# Options that describe the one report, for which all hosts must have the same value.
SHARED = ("path", "formats", "title")
KEYS = ("id", "host", "subject", "reason", "until")
NEEDED = ("id", "reason", "until")
UTC = datetime.timezone.utc  # noqa: UP017 - Python 3.10 has no shorter name


class ReportFact(t.TypedDict, total=False):
    """A host's options of the role, without its name in front, or what is wrong with them."""

    options: Info
    error: str


class Waived(t.TypedDict):
    """Why a finding does not count, and the last day of that; None where it has no end."""

    reason: str
    until: str | None


class Marked(Finding):
    """A finding as the report has it. since: when it was first seen, RFC 3339 in UTC."""

    waived: Waived | None
    since: str


class WaiverPart(t.TypedDict):
    """A waiver as the report has it. state: C(active), C(unused) or C(expired); findings: how many it covers."""

    id: str
    host: str
    subject: str
    reason: str
    until: str
    state: str
    findings: int


class PolicyPart(t.TypedDict):
    """The policy as the report has it. fail_on: of all hosts together; minimum_grade: None where each has its own."""

    fail_on: list[str]
    minimum_grade: str | None
    waivers: list[WaiverPart]


def option_errors(options: Info) -> list[str]:
    """What is wrong with the role's options, one sentence each."""
    errors = []
    for name in ("fail_on", "minimum_grade", "waivers"):
        try:
            Policy(**{name: options[name]})
        except ValueError as error:
            errors.append(f"report_{error}")
    if "\0" in options["path"]:
        errors.append(f"report_path: {options['path']!r} is no path")
    return errors


def kept(options: Info) -> ReportFact:
    """What the role keeps of a host's options. A date, as YAML makes of a waiver's last day, is no value of a fact."""
    waivers = [
        {key: value.isoformat() if isinstance(value, datetime.date) else value for key, value in waiver.items()}
        for waiver in options["waivers"]
    ]
    return {"options": {**options, "waivers": waivers}}


def disagreements(options: t.Mapping[str, Info]) -> dict[str, str]:
    """Why a host's options cannot be for the same report as those of the first one, by its name."""
    first = next(iter(options), "")
    found: dict[str, str] = {}
    for host, own in options.items():
        for name in SHARED:
            if own[name] != options[first][name]:
                found.setdefault(
                    host,
                    f"report_{name} must be the same on all hosts of the report: it is {own[name]!r} here and "
                    f"{options[first][name]!r} on {first}",
                )
    return found


def shared(options: t.Mapping[str, Info]) -> Info:
    """The options of the one report, of those of each host, of which the first one decides where they disagree."""
    first = next(iter(options.values()))
    return {
        **{name: first[name] for name in SHARED},
        "scorecard": any(own["scorecard"] for own in options.values()),
        "expected": list(dict.fromkeys(name for own in options.values() for name in own["expected"])),
    }


class Waiver:
    """A waiver as it is used: C(id), C(host) and C(subject) are patterns, C(until) is its last day."""

    def __init__(self, given: t.Mapping[str, t.Any], today: datetime.date) -> None:
        self.id = str(given["id"])
        self.host = str(given.get("host") or "*")
        self.subject = str(given.get("subject") or "*")
        self.reason = str(given["reason"]).strip()
        self.until = _day(given["until"])
        self.expired = self.until < today
        self.used = 0

    def covers(self, host: str, item: Finding) -> bool:
        return (
            fnmatch.fnmatchcase(item["id"], self.id)
            and fnmatch.fnmatchcase(host, self.host)
            # As it is in the report, where brackets around an IPv6 address are no set of characters; or a pattern.
            and (item["subject"] == self.subject or fnmatch.fnmatchcase(item["subject"], self.subject))
        )

    def describe(self, used: int) -> WaiverPart:
        """used: how many findings it covers on all hosts that have it."""
        state = "expired" if self.expired else "active" if used else "unused"
        return {
            "id": self.id,
            "host": self.host,
            "subject": self.subject,
            "reason": self.reason,
            "until": self.until.isoformat(),
            "state": state,
            "findings": used,
        }


class Policy:
    """What a host has to reach. Raises ValueError that names the option where one has no meaning.

    fail_on has severities, and ids of findings or patterns; minimum_grade is empty where each host has its own.
    """

    def __init__(
        self,
        fail_on: t.Iterable[t.Any] = ("fail",),
        minimum_grade: str = "",
        waivers: t.Iterable[t.Any] = (),
        today: datetime.date | None = None,
    ) -> None:
        today = today or datetime.datetime.now(UTC).date()
        self.fail_on = [str(word) for word in fail_on]
        self.minimum_grade = str(minimum_grade or "")
        for word in self.fail_on:
            if word not in SEVERITIES and not _matches(word):
                raise ValueError(f"fail_on: {word!r} is neither one of {', '.join(SEVERITIES)} nor the id of a finding")
        if self.minimum_grade and self.minimum_grade not in GRADES:
            raise ValueError(f"minimum_grade: {self.minimum_grade!r} is none of {', '.join(GRADES)}")
        self.waivers = []
        for number, given in enumerate(waivers):
            _check_waiver(f"waivers[{number}]", given)
            self.waivers.append(Waiver(given, today))

    def waiver_of(self, host: str, item: Finding) -> Waived | None:
        """The reason and the last day of the waiver that a finding has; none without one. An expired one counts not."""
        first: Waived | None = None
        for waiver in self.waivers:
            if waiver.covers(host, item):
                waiver.used += 1
                if not waiver.expired and first is None:
                    first = {"reason": waiver.reason, "until": waiver.until.isoformat()}
        return first

    def objections(self, findings: t.Iterable[Marked]) -> list[str]:
        """Why a host with these findings fails: the ids that it fails for, with how often."""
        counts: dict[str, int] = {}
        for item in findings:
            if not item["waived"] and self._fails(item):
                counts[item["id"]] = counts.get(item["id"], 0) + 1
        return [key if number == 1 else f"{key} ({number})" for key, number in counts.items()]

    def _fails(self, item: Marked) -> bool:
        # What is not known of a host that could not be looked at is never good.
        return item["id"].startswith("report.host.") or any(
            item["severity"] == word if word in SEVERITIES else fnmatch.fnmatchcase(item["id"], word)
            for word in self.fail_on
        )


def policies(options: t.Mapping[str, Info]) -> dict[str, Policy]:
    """The policy of each host, of its options of the role. Hosts with equal options share one."""
    known: dict[str, Policy] = {}
    found = {}
    for host, own in options.items():
        judging = {name: own[name] for name in ("fail_on", "minimum_grade", "waivers")}
        key = json.dumps(judging, sort_keys=True, default=str)
        if key not in known:
            known[key] = Policy(**judging)
        found[host] = known[key]
    return found


def describe(policies: t.Iterable[Policy]) -> PolicyPart:
    """The policies as the report has them; after the hosts, so that it is known which waivers were used."""
    distinct = list(dict.fromkeys(policies)) or [Policy()]
    grades = {policy.minimum_grade for policy in distinct}
    waivers: dict[tuple[str, ...], Waiver] = {}
    used: dict[tuple[str, ...], int] = {}
    for waiver in (waiver for policy in distinct for waiver in policy.waivers):
        key = (waiver.id, waiver.host, waiver.subject, waiver.reason, waiver.until.isoformat())
        waivers.setdefault(key, waiver)
        used[key] = used.get(key, 0) + waiver.used
    return {
        "fail_on": list(dict.fromkeys(word for policy in distinct for word in policy.fail_on)),
        "minimum_grade": (grades.pop() or None) if len(grades) == 1 else None,
        "waivers": [waiver.describe(used[key]) for key, waiver in waivers.items()],
    }


def _matches(pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for key in _findings.catalogue())


def _check_waiver(where: str, given: t.Any) -> None:
    """Raises ValueError for a waiver that cannot be meant like that."""
    if not isinstance(given, dict):
        raise ValueError(f"{where}: must be a mapping of {', '.join(KEYS)}")
    unknown = [str(key) for key in given if key not in KEYS]
    if unknown:
        raise ValueError(f"{where}: {unknown[0]!r} is none of {', '.join(KEYS)}")
    for key in NEEDED:
        if not str(given.get(key) or "").strip():
            raise ValueError(f"{where}.{key}: is missing")
    if not _matches(str(given["id"])):
        raise ValueError(f"{where}.id: {given['id']!r} is not the id of a finding; docs/findings.md lists them")
    try:
        _day(given["until"])
    except ValueError:
        raise ValueError(f"{where}.until: {str(given['until'])!r} is not a date such as 2027-01-31") from None


def _day(value: t.Any) -> datetime.date:
    """YAML makes dates of what looks like one."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    return datetime.datetime.strptime(str(value), "%Y-%m-%d").date()

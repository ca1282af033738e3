# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report as data: what is known of each host, how that stands to the policy, and what changed since the last one.

C(build()) makes it from the answers of the modules; it is what report.json holds (docs/report.schema.json), and all
that the other formats are written from. Nothing here reads or writes anything.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS, Finding
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES, RULES
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._findings import finding
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import UTC, Marked, Policy, PolicyPart

if t.TYPE_CHECKING:  # The prober would be loaded for it.
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.grade import Result

Info = dict[str, t.Any]
# When a finding was first seen, by host, id and subject.
Since = t.Mapping[tuple[str, str, str], str]

SCHEMA = "1.4"
# What is known of a host: it was looked at; a role failed there; it could not be reached; nobody wanted to look.
STATES = ("ok", "failed", "unreachable", "left_out")
# Why a host fails of which no role has kept anything: tags that no role has, or a report without roles before it.
NOTHING_CHECKED = "nothing was checked"
# How a step stands on a host; `unknown` is not good, `not_asked` says nothing.
VERDICTS = ("fail", "warn", "unknown", "pass", "not_asked")
# The columns of the scorecard: whether a host was reached, each step, and before the grade whether its certificate
# could be ordered, installed and inspected.
COLUMNS = ("reach", "1", "2", "3", "4", "certificate", "5")
HISTORY = 60  # reports that the trend goes back
HOST_HISTORY = 30  # reports that a host's own history goes back
# How a host stood in a report that looked at it. None is judged before its change, nor where report_fail_on is empty.
OUTCOMES = ("passed", "failed", "unreachable", "not_judged")
TEXT_LIMIT = 4000  # characters of one text; more is no evidence but a flood


# --- what it is made of ----------------------------------------------------------------------------------------------


class Failure(t.TypedDict):
    """What failed in a step of a playbook; no step where it belongs to none. role: the role that failed, if it was one
    of this collection."""

    message: str
    step: t.NotRequired[int | None]
    role: t.NotRequired[str | None]


class Given(t.TypedDict, total=False):
    """What is known of a host: an element of the module's option C(hosts), which describes it.

    state: one of C(STATES), C(ok) by default. results: those of tls_grade_info; given by hand, they may have no more
    than C(gather.RESULT). clients: whether each simulated client gets on with all endpoints, by its id. updates: the
    result of update_status_info. asked, proven: steps that somebody wanted to know of, and those in which something
    was looked at. sources: the first words of the ids of findings that were looked for. pending: whether the host was
    looked at before a change.
    """

    state: str
    message: str
    findings: list[Finding]
    results: list[Result]
    clients: dict[str, bool | None]
    updates: Info
    asked: list[int]
    proven: list[int]
    sources: list[str]
    failures: list[Failure]
    minimum_grade: str
    ignore_trust: bool
    pending: bool


class Endpoint(t.TypedDict):
    """An endpoint as the report has it. certificate: the fingerprint of the first one that it shows, or empty."""

    name: str
    address: str
    port: int
    starttls: str
    grade: str | None
    grade_trust_ignored: str | None
    score: int | None
    protocols: list[str]
    error: str | None
    certificate: str


class Certificate(t.TypedDict):
    """A certificate that a host shows, with the endpoints that do, as name:port. Times are RFC 3339 in UTC."""

    sha256: str
    subject: str
    issuer: str
    names: list[str]
    not_before: str
    not_after: str
    endpoints: list[str]


class Support(t.TypedDict):
    """How long a host's distribution is maintained: until is a date, None where that is not known."""

    distribution: str
    level: str
    until: str | None


class HostPolicy(t.TypedDict):
    """What a host is judged by. minimum_grade: None where no grade is required."""

    fail_on: list[str]
    minimum_grade: str | None


class Past(t.TypedDict):
    """How a host stood in one report: when that was written, its grade, and one of C(OUTCOMES)."""

    generated: str
    grade: str | None
    state: str


class Host(t.TypedDict):
    """A host's part of the report.

    policy: None where its options of the report are unknown. reach: whether it could be queried and stayed in the
    play, certificate: whether the role certificate succeeded and found nothing, each one of C(VERDICTS). reasons: why
    it fails; empty where it is not judged. steps: one of C(VERDICTS) by the step's number as text. grade: the worst
    of its endpoints; None where one, or all, could not be graded. counts: findings that are not waived by severity,
    and those that are C(waived). clients: whether each simulated client gets on with all endpoints, by its id; None
    where that is not known. support: None where it was not inspected. history: the last C(HOST_HISTORY) reports that
    looked at it, this one at the end.
    """

    name: str
    state: str
    message: str
    pending: bool
    policy: HostPolicy | None
    reach: str
    certificate: str
    failed: bool
    reasons: list[str]
    steps: dict[str, str]
    sources: list[str]
    grade: str | None
    counts: dict[str, int]
    findings: list[Marked]
    endpoints: list[Endpoint]
    certificates: list[Certificate]
    clients: dict[str, bool | None]
    support: Support | None
    history: list[Past]


class Summary(t.TypedDict):
    """All hosts in numbers and names. findings: as a host's counts; steps: hosts by step and verdict; grades: hosts by
    grade, the best first."""

    hosts: int
    passed: list[str]
    failed: list[str]
    unreachable: list[str]
    pending: list[str]
    left_out: list[str]
    findings: dict[str, int]
    steps: dict[str, dict[str, int]]
    grades: dict[str, int]


class Change(t.TypedDict):
    """A finding that is new or gone."""

    host: str
    id: str
    severity: str
    subject: str


class Changes(t.TypedDict):
    """What has changed since the report before."""

    new: list[Change]
    gone: list[Change]


class Carried(t.TypedDict):
    """A finding of an earlier report that nobody looked for now, and when it was first seen."""

    host: str
    id: str
    subject: str
    since: str


class Totals(t.TypedDict):
    """The numbers of one report for the trend: hosts that failed, and findings that are not waived by severity."""

    generated: str
    failed: int
    fail: int
    warn: int
    unknown: int
    info: int


class Trend(t.TypedDict):
    """This report beside those before it. previous: when the last one was written; None without one.

    history: the last C(HISTORY) reports, this one at the end.
    """

    previous: str | None
    new: list[Change]
    gone: list[Change]
    carried: list[Carried]
    history: list[Totals]


class Generator(t.TypedDict):
    """What has written the report. version: empty where that is not known."""

    name: str
    version: str


class Report(t.TypedDict):
    """The report as report.json holds it (docs/report.schema.json). generated: RFC 3339 in UTC."""

    schema: str
    generator: Generator
    title: str
    generated: str
    policy: PolicyPart
    summary: Summary
    trend: Trend
    hosts: list[Host]


# --- text from elsewhere ---------------------------------------------------------------------------------------------


def clean(value: t.Any) -> t.Any:
    """A copy in Python's own types, with text that every format and terminal can take."""
    if isinstance(value, str):
        text = _printable.result(value.replace("\r\n", "\n"))
        return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + " …"
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value


# With these at their end, findings say that there was no look at something: what was found before is not gone.
NOT_CHECKED = ".not_checked"

# --- one host --------------------------------------------------------------------------------------------------------

_ORDER = {key: number for number, key in enumerate(_findings.catalogue())}
# Which grade a finding costs; what makes a server worthless comes first. What costs none is worth a B.
_CAPS = {
    **{rule.id: ("F" if rule.grade in _verify.BESIDE else rule.grade) for rule in RULES},
    **{key: "F" for key in _findings.CATALOGUE if key.startswith("report.host.") or key.endswith(NOT_CHECKED)},
}


# What verify_ignore_trust is about. A certificate that has expired or was revoked is none of these.
_TRUST = (
    "tls.certificate.untrusted",
    "tls.certificate.trust_unknown",
    "tls.certificate.name_mismatch",
    "certificate.chain.untrusted",
    "certificate.self_signed",
    "certificate.self_signed.accepted",
)


def _importance(item: Finding) -> tuple[int, int, int, int]:
    """The most important finding first."""
    cap = GRADES.index(_CAPS.get(item["id"], "B"))
    return SEVERITIES.index(item["severity"]), -cap, item["step"], _ORDER.get(item["id"], len(_ORDER))


def _endpoint(result: Result) -> Endpoint:
    certificate = result.get("certificate") or {}
    return {
        "name": result["server_name"],
        "address": result["address"],
        "port": result["port"],
        "starttls": result.get("starttls", "none"),
        "grade": result["grade"],
        "grade_trust_ignored": result["grade_trust_ignored"],
        "score": result.get("score"),
        "protocols": result.get("protocols", []),
        "error": result["error"],
        "certificate": certificate.get("sha256", ""),
    }


def _certificates(results: t.Iterable[Result]) -> list[Certificate]:
    """The certificates that endpoints show, each once, with the endpoints that do."""
    found: dict[str, Certificate] = {}
    for result in results:
        first = result.get("certificate") or {}
        for one in [first, *first.get("others", [])]:
            if not one.get("sha256"):
                continue
            entry = found.setdefault(
                one["sha256"],
                {
                    "sha256": one["sha256"],
                    "subject": one.get("subject", ""),
                    "issuer": one.get("issuer", ""),
                    "names": one.get("names", []),
                    "not_before": one.get("not_before", ""),
                    "not_after": one.get("not_after", ""),
                    "endpoints": [],
                },
            )
            place = _phrases.host_port(result["server_name"], result["port"])
            if place not in entry["endpoints"]:
                entry["endpoints"].append(place)
    return list(found.values())


def _support(updates: Info) -> Support | None:
    """How long the distribution is maintained, from the answer of update_status_info."""
    support = updates.get("support") or {}
    if not support:
        return None
    distribution = updates.get("distribution") or {}
    return {
        "distribution": distribution.get("pretty_name") or distribution.get("name") or distribution.get("id") or "",
        "level": support.get("level", "unknown"),
        "until": support.get("until") or None,
    }


def _grade(endpoint: Endpoint | Result, ignore_trust: bool) -> str | None:
    return endpoint["grade_trust_ignored"] if ignore_trust else endpoint["grade"]


def _worst(endpoints: t.Iterable[Endpoint], ignore_trust: bool) -> str | None:
    """The worst grade of a host; none where an endpoint, or all, could not be graded."""
    grades = [_grade(endpoint, ignore_trust) for endpoint in endpoints]
    order = (*GRADES, *_verify.BESIDE)
    return None if not grades or None in grades else max((grade for grade in grades if grade), key=order.index)


def _misses(results: t.Iterable[Result], minimum: str, ignore_trust: bool, waived: t.Container[tuple[str, str]]) -> int:
    """How many endpoints miss the grade for a reason that is not waived."""
    missed = 0
    for result in results:
        grade = _grade(result, ignore_trust)
        if grade in GRADES and GRADES.index(grade) <= GRADES.index(minimum):
            continue
        subjects = {item["id"]: item["subject"] for item in result.get("findings", [])}
        limits = [
            entry["id"]
            for entry in result.get("caps", []) + result.get("warnings", [])
            if not (ignore_trust and entry["grade"] in _verify.BESIDE)
            and (entry["grade"] not in GRADES or GRADES.index(entry["grade"]) > GRADES.index(minimum))
        ]
        # Without a limit the score itself is too low, or there is no grade at all.
        if result.get("trust_unknown") and not ignore_trust:
            limits.append("tls.certificate.trust_unknown")
        reasons = limits or ["tls.endpoint.error" if result["error"] else "tls.grade"]
        missed += not all((key, subjects.get(key, "")) in waived for key in reasons)
    return missed


def _verdict(findings: t.Iterable[Marked], proven: bool, asked: bool) -> str:
    """How a step stands: the worst that is not waived, and a pass only where something was seen to be good.

    What could not be found out may be a failure, so it is worse than what is known to be none.
    """
    severities = {item["severity"] for item in findings if not item["waived"]}
    for severity in ("fail", "unknown", "warn"):
        if severity in severities:
            return severity
    if proven:
        return "pass"
    return "unknown" if asked else "not_asked"


def _sources(given: Given, findings: t.Iterable[Finding]) -> list[str]:
    """What was looked at on a host, as the first words of findings' ids."""
    seen = [item["id"] for item in findings if not item["id"].endswith(NOT_CHECKED)]
    found = {*(given.get("sources") or []), *(key.partition(".")[0] for key in seen)}
    found |= {"caa"} if 4 in (given.get("proven") or []) else set()
    found |= {"tls"} if given.get("results") else set()
    found |= {"support", "updates"} if given.get("updates") else set()
    return sorted(found)


def _proven(given: Given, results: t.Sequence[Result]) -> set[int]:
    """The steps in which something was really looked at."""
    found = {int(step) for step in given.get("proven") or []}
    if given.get("updates"):
        found.add(1)
    if results and not any(result["error"] for result in results):
        found |= {2, 3, 5}
    return found


def host(name: str, given: Given, own: Policy | None, now: str, since: Since, earlier: t.Sequence[Past] = ()) -> Host:
    """One host's part of the report. own: its policy, if it is known; since: of the findings that were seen before;
    earlier: its history up to now."""
    policy = own or Policy()
    state = given.get("state", "ok")
    results = given.get("results") or []
    ignore_trust = bool(given.get("ignore_trust"))
    failures = _failures(given)
    marked = _marked(name, given, failures, policy, now, since)
    endpoints = [_endpoint(result) for result in results]
    proven = _proven(given, results)
    # What keeps a host from being inspected is no failure of a step. Nor is a certificate that cannot be had one of the
    # endpoints' grades.
    failed_steps = {failure.get("step") for failure in failures if not _is_of_certificate(failure)}
    of_steps = [item for item in marked if not _is_of_host(item) or item["step"] in failed_steps]
    asked = {int(step) for step in given.get("asked") or []} | {item["step"] for item in of_steps} | proven
    if state in ("failed", "unreachable"):
        asked |= set(STEPS)
    steps = {
        str(step): _verdict([item for item in of_steps if item["step"] == step], step in proven, step in asked)
        for step in STEPS
    }
    reach = "fail" if state == "unreachable" or None in failed_steps else "pass"
    of_certificate = [item for item in marked if item["id"].startswith("certificate.")]
    inspected = "certificate" in (given.get("sources") or [])
    certificate = _verdict(of_certificate, inspected, state in ("failed", "unreachable"))
    if any(map(_is_of_certificate, failures)):
        certificate = "fail"
    if state == "left_out":
        steps, reach, certificate = dict.fromkeys(steps, "not_asked"), "not_asked", "not_asked"

    reasons = policy.objections(marked)
    minimum = policy.minimum_grade or given.get("minimum_grade") or ""
    if state == "ok":
        is_graded = bool(results) or given.get("minimum_grade") or 5 in asked
        if minimum and is_graded:
            missed = _grade_reasons(name, results, minimum, ignore_trust, marked)
            reasons += missed
            # What could not be graded, or was not to be, stays as it is.
            if missed and steps["5"] in ("pass", "warn"):
                steps["5"] = "fail"
        if set(steps.values()) == {"not_asked"}:
            reasons.append(NOTHING_CHECKED)
    # A dry run shows a host as it is before the change, and does not judge it for that.
    is_pending = bool(given.get("pending")) and state == "ok"
    is_judged = state != "left_out" and not is_pending
    counts = dict.fromkeys((*SEVERITIES, "waived"), 0)
    for item in marked:
        counts["waived" if item["waived"] else item["severity"]] += 1
    described: Host = {
        "name": name,
        "state": state,
        "message": given.get("message", ""),
        "pending": is_pending,
        "policy": {"fail_on": policy.fail_on, "minimum_grade": minimum or None} if own else None,
        "reach": reach,
        "certificate": certificate,
        "failed": is_judged and bool(reasons),
        "reasons": reasons if is_judged else [],
        "steps": steps,
        "sources": _sources(given, marked),
        "grade": _worst(endpoints, ignore_trust),
        "counts": counts,
        "findings": marked,
        "endpoints": endpoints,
        "certificates": _certificates(results),
        "clients": given.get("clients") or {},
        "support": _support(given.get("updates") or {}),
        "history": [],
    }
    described["history"] = [*earlier, *past(described, now)][-HOST_HISTORY:]
    return described


def past(entry: Host, moment: str) -> list[Past]:
    """A report's own entry in the history of a host; none where it was not inspected."""
    if entry["state"] == "left_out":
        return []
    state = "failed" if entry["failed"] else "not_judged" if entry["pending"] or is_off(entry) else "passed"
    return [
        {
            "generated": moment,
            "grade": entry["grade"],
            "state": "unreachable" if entry["state"] == "unreachable" else state,
        }
    ]


def is_off(entry: Host) -> bool:
    """Whether no finding fails the host, as its C(report_fail_on) is empty: that it passes says nothing."""
    policy = entry["policy"]
    return policy is not None and not policy["fail_on"]


def _failures(given: Given) -> list[Failure]:
    """What failed on a host. One that has failed without more words has failed outside of the steps."""
    if given.get("failures") or given.get("state", "ok") != "failed":
        return given.get("failures") or []
    return [{"message": given.get("message", ""), "step": None}]


def _is_of_certificate(failure: Failure) -> bool:
    """Whether the role certificate failed, and not since the host could not be queried."""
    return failure.get("role") == "certificate" and failure.get("step") is not None


def _is_of_host(item: Finding) -> bool:
    return item["id"].startswith("report.host.")


def _marked(
    name: str, given: Given, failures: t.Iterable[Failure], policy: Policy, now: str, since: Since
) -> list[Marked]:
    """The findings about a host, each once, the most important first."""
    state = given.get("state", "ok")
    results = given.get("results") or []
    findings = [*(given.get("findings") or []), *(item for result in results for item in result.get("findings", []))]
    findings += (given.get("updates") or {}).get("findings", [])
    if state == "unreachable":
        findings.append(finding("report.host.unreachable", name, given.get("message", "")))
    for failure in failures:
        findings.append(finding("report.host.failed", name, failure["message"], step=failure.get("step")))

    unique = {(item["id"], item["subject"], item["evidence"], item["fix"]): item for item in findings}
    marked: list[Marked] = []
    for item in unique.values():
        waived = policy.waiver_of(name, item)
        if waived is None and given.get("ignore_trust") and item["id"] in _TRUST:
            waived = {"reason": "verify_ignore_trust is set for the host", "until": None}
        marked.append({**item, "waived": waived, "since": since.get((name, item["id"], item["subject"]), now)})
    marked.sort(key=_importance)
    return marked


def _grade_reasons(
    name: str, results: t.Sequence[Result], minimum: str, ignore_trust: bool, findings: t.Iterable[Marked]
) -> list[str]:
    """Why a host that is to be graded misses the grade that is wanted."""
    waived = {(item["id"], item["subject"]) for item in findings if item["waived"]}
    missed = _misses(results, minimum, ignore_trust, waived)
    if missed:
        return [f"{_phrases.of_all(missed, len(results), 'endpoint')} below {minimum}"]
    if not results and ("tls.endpoint.error", name) not in waived:
        return [f"no endpoint was graded, {minimum} is wanted"]
    return []


def passed_with_failures(report: Report) -> list[str]:
    """The hosts that pass although something failed there, which the policy does not count."""
    passed = set(report["summary"]["passed"])
    return [entry["name"] for entry in report["hosts"] if entry["name"] in passed and entry["counts"]["fail"]]


def grade_missed(entry: Host) -> str:
    """Why step 5 fails where no finding says it."""
    return f"the grade {entry['grade']} is below what is required"


def policy_off(report: Report) -> list[str]:
    """The hosts that pass since no finding fails them, whatever was found."""
    passed = set(report["summary"]["passed"])
    return [entry["name"] for entry in report["hosts"] if entry["name"] in passed and is_off(entry)]


def columns(report: Report) -> list[str]:
    """The C(COLUMNS) of the scorecard: that of certificates only where a host failed for one."""
    failed = any(entry["certificate"] == "fail" and entry["state"] == "failed" for entry in report["hosts"])
    return [key for key in COLUMNS if key != "certificate" or failed]


def cells(entry: Host) -> dict[str, str]:
    """How a host stands, by C(COLUMNS). Of one that was not reached nothing was to be found out."""
    verdicts = {"reach": entry["reach"], "certificate": entry["certificate"], **entry["steps"]}
    if entry["reach"] == "fail":
        verdicts = {key: "not_asked" if verdict == "unknown" else verdict for key, verdict in verdicts.items()}
    return {key: verdicts[key] for key in COLUMNS}


def first_fix(entry: Host) -> Marked | None:
    """The most important finding of a host of the report that is neither waived nor only worth knowing."""
    return next((item for item in entry["findings"] if not item["waived"] and item["severity"] != "info"), None)


# --- all of them -----------------------------------------------------------------------------------------------------


def rfc3339(moment: datetime.datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build(
    hosts: t.Mapping[str, Given],
    policies: t.Mapping[str, Policy],
    moment: datetime.datetime,
    previous: Report | None = None,
    version: str = "",
    title: str = "",
) -> Report:
    """The report. policies: of the hosts whose options are known; previous: the last one's data, or none;
    C(earlier.usable()) has found that it can be used."""
    now = rfc3339(moment)
    # A name has one line everywhere.
    hosts = {_printable.printable(name): given for name, given in clean(hosts).items()}
    policies = {_printable.printable(clean(name)): policy for name, policy in policies.items()}
    since = _since(previous) if previous else {}
    pasts = {entry["name"]: entry["history"] for entry in previous["hosts"]} if previous else {}
    described = [
        host(name, hosts[name], policies.get(name), now, since, pasts.get(name, ()))
        for name in sorted(hosts, key=_natural)
    ]
    summary = _summary(described)
    history = [*(previous["trend"]["history"] if previous else ()), _totals(now, summary)]
    return {
        "schema": SCHEMA,
        "generator": {"name": "kopano.hardening", "version": version},
        "title": clean(title),
        "generated": now,
        "policy": _roles_report.describe(policies.values()),
        "summary": summary,
        "trend": {
            "previous": previous["generated"] if previous else None,
            **_changes(described, previous["hosts"] if previous else []),
            "carried": _carried(described, since),
            "history": history[-HISTORY:],
        },
        "hosts": described,
    }


def _since(previous: Report) -> Since:
    """When the findings of a report were first seen, and those that it carries."""
    since = {(item["host"], item["id"], item["subject"]): item["since"] for item in previous["trend"]["carried"]}
    since |= {
        (entry["name"], item["id"], item["subject"]): item["since"]
        for entry in previous["hosts"]
        for item in entry["findings"]
    }
    return since


def _totals(now: str, summary: Summary) -> Totals:
    counts = summary["findings"]
    return {
        "generated": now,
        "failed": len(summary["failed"]),
        "fail": counts["fail"],
        "warn": counts["warn"],
        "unknown": counts["unknown"],
        "info": counts["info"],
    }


def _natural(name: str) -> list[t.Any]:
    """web2 before web10."""
    parts: list[t.Any] = []
    for character in name:
        if parts and character.isdecimal() and parts[-1][0] == 0:
            parts[-1] = (0, parts[-1][1] * 10 + int(character), "")
        else:
            parts.append((0, int(character), "") if character.isdecimal() else (1, 0, character))
    return parts


def _summary(described: t.Sequence[Host]) -> Summary:
    counts = dict.fromkeys((*SEVERITIES, "waived"), 0)
    steps = {str(step): dict.fromkeys(VERDICTS, 0) for step in STEPS}
    grades: dict[str, int] = {}
    for entry in described:
        for key, number in entry["counts"].items():
            counts[key] += number
        for step, verdict in entry["steps"].items():
            steps[step][verdict] += 1
        if entry["grade"]:
            grades[entry["grade"]] = grades.get(entry["grade"], 0) + 1
    return {
        "hosts": len(described),
        "passed": [e["name"] for e in described if not (e["failed"] or e["pending"]) and e["state"] != "left_out"],
        "failed": [e["name"] for e in described if e["failed"]],
        "unreachable": [e["name"] for e in described if e["state"] == "unreachable"],
        "pending": [e["name"] for e in described if e["pending"]],
        "left_out": [e["name"] for e in described if e["state"] == "left_out"],
        "findings": counts,
        "steps": steps,
        "grades": {grade: grades[grade] for grade in (*GRADES, *_verify.BESIDE) if grade in grades},
    }


def _key(name: str, item: Finding) -> tuple[str, str, str]:
    return name, item["id"], item["subject"]


def _changes(described: t.Sequence[Host], previous: t.Sequence[Host]) -> Changes:
    """What is new, and what is gone, of the findings that are more than worth knowing.

    What was not looked at on a host, now or then, is neither.
    """
    before, after = ({entry["name"]: entry for entry in hosts} for hosts in (previous, described))
    changes: Changes = {"new": [], "gone": []}
    for found, here, there in ((changes["new"], after, before), (changes["gone"], before, after)):
        for name, entry in here.items():
            other = there.get(name)
            if other is None:
                continue
            known = {_key(name, item) for item in other["findings"]}
            for item in entry["findings"]:
                if item["severity"] == "info" or _key(name, item) in known:
                    continue
                if item["id"].partition(".")[0] in other["sources"] and other["state"] == "ok":
                    found.append(
                        {"host": name, "id": item["id"], "severity": item["severity"], "subject": item["subject"]}
                    )
    return changes


def _carried(described: t.Sequence[Host], since: Since) -> list[Carried]:
    """Findings of earlier reports that nobody looked for now: when they were first seen, for the next report.

    Those of hosts that are no longer expected are forgotten.
    """
    seen = {entry["name"]: entry["sources"] if entry["state"] == "ok" else () for entry in described}
    return [
        {"host": name, "id": key, "subject": subject, "since": moment}
        for (name, key, subject), moment in since.items()
        if name in seen and key.partition(".")[0] not in seen[name]
    ]

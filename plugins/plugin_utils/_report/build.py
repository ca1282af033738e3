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

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES, RULES
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._findings import finding
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import UTC, Policy

Info = dict[str, t.Any]

SCHEMA = "1.0"
# What is known of a host: it was looked at; a role failed there; it could not be reached; nobody wanted to look.
STATES = ("ok", "failed", "unreachable", "left_out")
# Why a host fails of which no role has kept anything: tags that no role has, or a report without roles before it.
NOTHING_CHECKED = "nothing was checked"
# How a step stands on a host; `unknown` is not good, `not_asked` says nothing.
VERDICTS = ("fail", "warn", "unknown", "pass", "not_asked")
HISTORY = 60  # reports that the trend goes back
TEXT_LIMIT = 4000  # characters of one text; more is no evidence but a flood


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
    **dict.fromkeys(_findings.CATALOGUE, "F"),
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


def _importance(item: Info) -> tuple[int, int, int, int]:
    """The most important finding first."""
    cap = GRADES.index(_CAPS.get(item["id"], "B"))
    return SEVERITIES.index(item["severity"]), -cap, item["step"], _ORDER.get(item["id"], len(_ORDER))


def _endpoint(result: Info) -> Info:
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


def _certificates(results: t.Iterable[Info]) -> list[Info]:
    """The certificates that endpoints show, each once, with the endpoints that do."""
    found: dict[str, Info] = {}
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
                    "not_before": one["not_before"],
                    "not_after": one["not_after"],
                    "endpoints": [],
                },
            )
            place = "{server_name}:{port}".format(**result)
            if place not in entry["endpoints"]:
                entry["endpoints"].append(place)
    return list(found.values())


def _support(updates: Info) -> Info | None:
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


def _grade(endpoint: Info, ignore_trust: bool) -> str | None:
    return endpoint["grade_trust_ignored"] if ignore_trust else endpoint["grade"]


def _worst(endpoints: t.Iterable[Info], ignore_trust: bool) -> str | None:
    """The worst grade of a host; none where an endpoint, or all, could not be graded."""
    grades = [_grade(endpoint, ignore_trust) for endpoint in endpoints]
    order = (*GRADES, *_verify.BESIDE)
    return None if not grades or None in grades else max((grade for grade in grades if grade), key=order.index)


def _misses(results: t.Iterable[Info], minimum: str, ignore_trust: bool, waived: t.Container[tuple[str, str]]) -> int:
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


def _verdict(step: int, findings: t.Iterable[Info], proven: t.Container[int], asked: t.Container[int]) -> str:
    """How a step stands: the worst that is not waived, and a pass only where something was seen to be good.

    What could not be found out may be a failure, so it is worse than what is known to be none.
    """
    severities = {item["severity"] for item in findings if item["step"] == step and not item["waived"]}
    for severity in ("fail", "unknown", "warn"):
        if severity in severities:
            return severity
    if step in proven:
        return "pass"
    return "unknown" if step in asked else "not_asked"


def _sources(given: Info, findings: t.Iterable[Info]) -> list[str]:
    """What was looked at on a host, as the first words of findings' ids."""
    seen = [item["id"] for item in findings if not item["id"].endswith(NOT_CHECKED)]
    found = {*(given.get("sources") or []), *(key.partition(".")[0] for key in seen)}
    found |= {"caa"} if 4 in (given.get("proven") or []) else set()
    found |= {"tls"} if given.get("results") else set()
    found |= {"support", "updates"} if given.get("updates") else set()
    return sorted(found)


def _proven(given: Info, results: t.Sequence[Info]) -> set[int]:
    """The steps in which something was really looked at."""
    found = {int(step) for step in given.get("proven") or []}
    if given.get("updates"):
        found.add(1)
    if results and not any(result["error"] for result in results):
        found |= {2, 3, 5}
    return found


def host(name: str, given: Info, policy: Policy, now: str, since: t.Mapping[tuple[str, str, str], str]) -> Info:
    """One host's part of the report.

    given is an element of the module's option C(hosts); since has when a finding was first seen, by host, id and
    subject.
    """
    state = given.get("state", "ok")
    results = given.get("results") or []
    ignore_trust = bool(given.get("ignore_trust"))
    minimum = policy.minimum_grade or given.get("minimum_grade") or ""
    findings = [*(given.get("findings") or []), *(item for result in results for item in result.get("findings", []))]
    findings += (given.get("updates") or {}).get("findings", [])
    if state == "unreachable":
        findings.append(finding("report.host.unreachable", name, given.get("message", "")))
    for failure in given.get("failures") or ([{"message": given.get("message", "")}] if state == "failed" else []):
        findings.append(finding("report.host.failed", name, failure["message"], step=failure.get("step")))

    unique = {(item["id"], item["subject"], item["evidence"], item["fix"]): item for item in findings}
    marked = []
    for item in unique.values():
        waived = policy.waiver_of(name, item)
        if waived is None and ignore_trust and item["id"] in _TRUST:
            waived = {"reason": "verify_ignore_trust is set for the host", "until": None}
        marked.append({**item, "waived": waived, "since": since.get((name, item["id"], item["subject"]), now)})
    marked.sort(key=_importance)

    endpoints = [_endpoint(result) for result in results]
    proven = _proven(given, results)
    asked = {int(step) for step in given.get("asked") or []} | {item["step"] for item in marked} | proven
    if state in ("failed", "unreachable"):
        asked |= set(STEPS)
    steps = {str(step): _verdict(step, marked, proven, asked) for step in STEPS}
    if state == "left_out":
        steps = dict.fromkeys(steps, "not_asked")

    reasons = policy.objections(marked)
    waived_ids = {(item["id"], item["subject"]) for item in marked if item["waived"]}
    is_graded = bool(results) or given.get("minimum_grade") or 5 in asked
    if minimum and state == "ok" and is_graded:
        missed = _misses(results, minimum, ignore_trust, waived_ids)
        if missed:
            reasons.append(f"{missed} of {len(results)} endpoints below {minimum}")
        elif not results and ("tls.endpoint.error", name) not in waived_ids:
            reasons.append(f"no endpoint was graded, {minimum} is wanted")
    if state == "ok" and set(steps.values()) == {"not_asked"}:
        reasons.append(NOTHING_CHECKED)
    # A dry run shows a host as it is before the change, and does not judge it for that.
    is_pending = bool(given.get("pending")) and state == "ok"
    is_judged = state != "left_out" and not is_pending
    counts = dict.fromkeys((*SEVERITIES, "waived"), 0)
    for item in marked:
        counts["waived" if item["waived"] else item["severity"]] += 1
    return {
        "name": name,
        "state": state,
        "message": given.get("message", ""),
        "pending": is_pending,
        "failed": is_judged and bool(reasons),
        "reasons": reasons if is_judged else [],
        "steps": steps,
        "sources": _sources(given, marked),
        "grade": _worst(endpoints, ignore_trust),
        "counts": counts,
        "findings": marked,
        "endpoints": endpoints,
        "certificates": _certificates(results),
        "support": _support(given.get("updates") or {}),
    }


def first_fix(entry: Info) -> Info | None:
    """The most important finding of a host of the report that is neither waived nor only worth knowing."""
    return next((item for item in entry["findings"] if not item["waived"] and item["severity"] != "info"), None)


# --- all of them -----------------------------------------------------------------------------------------------------


def rfc3339(moment: datetime.datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build(
    hosts: t.Mapping[str, Info],
    policy: Policy,
    moment: datetime.datetime,
    previous: Info | None = None,
    version: str = "",
    title: str = "",
) -> Info:
    """The report. previous is the last one's data, or none; C(check_previous()) has said that it can be used."""
    now = rfc3339(moment)
    hosts = clean(hosts)
    previous = previous or {"generated": None, "hosts": [], "trend": {"history": [], "carried": []}}
    since = {(item["host"], item["id"], item["subject"]): item["since"] for item in previous["trend"]["carried"]}
    since |= {
        (entry["name"], item["id"], item["subject"]): item["since"]
        for entry in previous["hosts"]
        for item in entry["findings"]
    }
    described = [host(name, hosts[name], policy, now, since) for name in sorted(hosts, key=_natural)]
    summary = _summary(described)
    totals = {key: summary["findings"][key] for key in SEVERITIES}
    history = [*previous["trend"]["history"], {"generated": now, "failed": len(summary["failed"]), **totals}]
    return {
        "schema": SCHEMA,
        "generator": {"name": "kopano.hardening", "version": version},
        "title": clean(title),
        "generated": now,
        "policy": policy.describe(),
        "summary": summary,
        "trend": {
            "previous": previous["generated"],
            **_changes(described, previous),
            "carried": _carried(described, since),
            "history": history[-HISTORY:],
        },
        "hosts": described,
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


def _summary(described: t.Sequence[Info]) -> Info:
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


def _key(name: str, item: Info) -> tuple[str, str, str]:
    return name, item["id"], item["subject"]


def _changes(described: t.Sequence[Info], previous: Info) -> Info:
    """What is new, and what is gone, of the findings that are more than worth knowing.

    What was not looked at on a host, now or then, is neither.
    """
    before, after = ({entry["name"]: entry for entry in hosts} for hosts in (previous["hosts"], described))
    changes: dict[str, list[Info]] = {"new": [], "gone": []}
    for kind, here, there in (("new", after, before), ("gone", before, after)):
        for name, entry in here.items():
            other = there.get(name)
            if other is None:
                continue
            known = {_key(name, item) for item in other["findings"]}
            for item in entry["findings"]:
                if item["severity"] == "info" or _key(name, item) in known:
                    continue
                if item["id"].partition(".")[0] in other["sources"] and other["state"] == "ok":
                    changes[kind].append(
                        {"host": name, "id": item["id"], "severity": item["severity"], "subject": item["subject"]}
                    )
    return changes


def _carried(described: t.Sequence[Info], since: t.Mapping[tuple[str, str, str], str]) -> list[Info]:
    """Findings of earlier reports that nobody looked for now: when they were first seen, for the next report.

    Those of hosts that are no longer expected are forgotten.
    """
    seen = {entry["name"]: entry["sources"] if entry["state"] == "ok" else () for entry in described}
    return [
        {"host": name, "id": key, "subject": subject, "since": moment}
        for (name, key, subject), moment in since.items()
        if name in seen and key.partition(".")[0] not in seen[name]
    ]


def check_previous(data: t.Any) -> str:
    """Why what was read from report.json is no earlier report that can be compared with; empty if it is one."""
    try:
        if str(data["schema"]).partition(".")[0] != SCHEMA.partition(".")[0]:
            return "its schema is {}, not {}".format(data["schema"], SCHEMA)
        str(data["generated"])
        for entry in data["trend"]["history"]:
            [entry[key] + 0 for key in ("failed", "fail", "warn", "unknown", "info")]
            str(entry["generated"])
        for item in data["trend"]["carried"]:
            [item[key] for key in ("host", "id", "subject", "since")]
        for entry in data["hosts"]:
            [entry["steps"][str(step)] for step in STEPS]
            str(entry["name"]), str(entry["state"]), list(entry["sources"])
            for item in entry["findings"]:
                [item[key] for key in ("id", "subject", "severity", "step", "since")]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return f"it is not a report: {type(error).__name__} {error}"
    return ""

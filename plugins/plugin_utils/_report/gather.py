# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the collection's roles have left of each host, as the module C(report) takes it. Nothing here asks anybody."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.plugin_utils._findings import finding
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact

Info = dict[str, t.Any]

LOST = "It failed or was lost earlier in this run; the messages above say where."
LEFT_OUT = "It was not among the hosts of this run."


def of_host(variables: t.Mapping[str, t.Any], is_active: bool) -> Info:
    """A host's element of the module's option C(hosts). is_active: whether the play still has it."""
    given: Info = {"state": "ok", "findings": [], "results": [], "asked": [], "proven": [], "sources": []}
    for part in (_updates, _certificate, _frontend, _verify, _caa):
        part(given, variables)
    given["failures"] = list(variables.get("__report_failures") or [])
    reached = variables.get("__report_reached")
    if isinstance(reached, dict) and not reached.get("reached", True):
        given.update(state="unreachable", message=_told(reached.get("msg")), failures=[])
    elif given["failures"]:
        given.update(state="failed", message=given["failures"][0]["message"])
    elif not is_active:
        given.update(state="failed", message=LOST)
    return given


def _told(words: t.Any) -> str:
    """Ansible's message without what newer versions put in front of it."""
    return str(words or "").removeprefix("Task failed: ")


def _is_answer(value: t.Any) -> t.TypeGuard[Info]:
    """Whether a registered variable has a module's answer in it."""
    return isinstance(value, dict) and not any(value.get(key) for key in ("failed", "unreachable", "skipped"))


def _has_failed(value: t.Any) -> bool:
    """Whether a registered variable, or a part of host_info's answer, is that of something that failed."""
    return isinstance(value, dict) and bool(value.get("failed"))


def _reason(value: Info) -> str:
    return _told(value.get("msg")) or "it does not say why"


def _asked_of_host(variables: t.Mapping[str, t.Any], name: str, part: str) -> t.Any:
    """What a role has asked the host, or the playbook in its place and in one with others; None if nobody has."""
    return variables.get(name, (variables.get("__report_reached") or {}).get(part))


def _updates(given: Info, variables: t.Mapping[str, t.Any]) -> None:
    info = _asked_of_host(variables, "__updates_info", "updates")
    if info is not None:
        given["asked"].append(1)
        if _is_answer(info):
            given["updates"] = info
        elif _has_failed(info):
            given["findings"].append(finding("updates.not_checked", "updates", _reason(info)))


def _certificate(given: Info, variables: t.Mapping[str, t.Any]) -> None:
    looked = _asked_of_host(variables, "__certificate_looked", "certificates")
    said = not variables.get("__report_said", {"skipped": True}).get("skipped")
    chosen = "certificate" in (variables.get("__report_reached") or {}).get("steps", [])
    by_role = "__certificate_verdict" in variables
    # The role's own task never fails: after a crash it has no results.
    crashed = _has_failed(looked) or (_is_answer(looked) and "results" not in looked)
    if (chosen or by_role) and crashed:
        given["findings"].append(finding("certificate.not_checked", "certificates", _reason(looked)))
    elif ((said and chosen) or by_role) and _is_answer(looked):
        given["sources"].append("certificate")
        given["findings"] += [finding for one in looked["results"] for finding in one["findings"]]


def _frontend(given: Info, variables: t.Mapping[str, t.Any]) -> None:
    info = _asked_of_host(variables, "__frontend_info", "frontend")
    for answer in (info, _host_fact.read(variables).get("frontend")):
        if _is_answer(answer):
            given["sources"].append("frontend")
            given["findings"] += answer.get("findings") or []
            break
    if info is not None:
        given["asked"].append(2)


def _verify(given: Info, variables: t.Mapping[str, t.Any]) -> None:
    graded = _host_fact.read(variables).get("verify")
    if not graded:
        return
    wanted = graded["wanted"]
    given["asked"] += [2, 3, 5]
    given["minimum_grade"] = wanted["grade"]
    given["ignore_trust"] = wanted["ignore_trust"]
    given["pending"] = wanted["pending"]
    given["results"] = graded["results"]


def _caa(given: Info, variables: t.Mapping[str, t.Any]) -> None:
    request = (_host_fact.read(variables).get("caa") or {}).get("request")
    if not request:
        return
    given["asked"].append(4)
    lookup = _roles_caa.lookup_for(request["host"], (variables.get("caa_lookups") or {}).get("lookups") or [])
    if not lookup or not _is_answer(lookup):
        return
    given["sources"].append("caa")
    results, findings = _roles_caa.of_host(lookup, request)
    given["findings"] += findings
    if results and not any(entry["verdict"] == "error" for entry in results):
        given["proven"].append(4)


def gather(
    hostvars: t.Any, names: t.Iterable[str], expected: t.Iterable[str], active: t.Container[str]
) -> dict[str, Info]:
    """The module's option C(hosts) for the play's hosts, and for those that were expected beside them."""
    found = {name: of_host(hostvars.raw_get(name), name in active) for name in names}
    for name in expected:
        found.setdefault(name, {"state": "left_out", "message": LEFT_OUT})
    return found


# --- what is given by hand -------------------------------------------------------------------------------------------

KEYS = {
    "state": str,
    "message": str,
    "findings": list,
    "results": list,
    "updates": dict,
    "asked": list,
    "proven": list,
    "sources": list,
    "failures": list,
    "minimum_grade": str,
    "ignore_trust": bool,
    "pending": bool,
}
FINDING = ("id", "step", "severity", "subject", "message", "evidence", "fix")
RESULT = ("server_name", "address", "port", "grade", "grade_trust_ignored", "error")


def check(hosts: t.Mapping[str, t.Any]) -> None:
    """Raises ValueError that names the host and the key where the option C(hosts) is not what it has to be."""
    for name, given in hosts.items():
        where = f"hosts.{name}"
        if not isinstance(given, dict):
            raise ValueError(f"{where}: must be a mapping of {', '.join(KEYS)}")
        for key, value in given.items():
            if key not in KEYS:
                raise ValueError(f"{where}: {key!r} is none of {', '.join(KEYS)}")
            if not isinstance(value, KEYS[key]):
                raise ValueError(f"{where}.{key}: must be a {KEYS[key].__name__}")
        if given.get("state", "ok") not in _build.STATES:
            raise ValueError(f"{where}.state: {given['state']!r} is none of {', '.join(_build.STATES)}")
        if given.get("minimum_grade") and given["minimum_grade"] not in GRADES:
            raise ValueError(f"{where}.minimum_grade: {given['minimum_grade']!r} is none of {', '.join(GRADES)}")
        results = given.get("results", [])
        _check_items(f"{where}.results", results, RESULT)
        lists = [(f"{where}.findings", given.get("findings", []))]
        lists += [(f"{where}.updates.findings", given.get("updates", {}).get("findings", []))]
        lists += [
            (f"{where}.results[{number}].findings", one.get("findings", [])) for number, one in enumerate(results)
        ]
        for place, findings in lists:
            _check_items(place, findings, FINDING)
            for number, item in enumerate(findings):
                if item["severity"] not in SEVERITIES or item["step"] not in STEPS:
                    raise ValueError(f"{place}[{number}]: has no severity or step of a finding")


def _check_items(where: str, items: t.Any, keys: t.Iterable[str]) -> None:
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"{where}[{number}]: must be a mapping")
        missing = [key for key in keys if key not in item]
        if missing:
            raise ValueError(f"{where}[{number}]: {missing[0]} is missing")

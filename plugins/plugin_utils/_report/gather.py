# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the collection's roles have left of each host, as the module C(report) takes it. Nothing here asks anybody."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.plugin_utils._findings import finding
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Given
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.caa import CaaFact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.verify import Kept

Info = dict[str, t.Any]

LOST = "It failed or was lost earlier in this run; the messages above say where."
LEFT_OUT = "It was not among the hosts of this run."
LATER = "Its batch has not been run."


def of_host(variables: t.Mapping[str, t.Any], is_active: bool) -> Given:
    """A host's element of the module's option C(hosts). is_active: whether the play still has it."""
    fact = _host_fact.read(variables)
    host = fact.get("host") or {}
    given: Given = {"state": "ok", "findings": [], "results": [], "asked": [], "proven": [], "sources": []}
    _updates(given, host.get("updates"))
    _certificate(given, fact.get("certificate"), host.get("certificates"))
    if "frontend" in fact or "verify" in fact or fact.get("failures"):
        _frontend(given, host.get("frontend"))
        given["findings"] += (fact.get("frontend") or {}).get("findings") or []
    _verify(given, fact.get("verify"))
    _caa(given, fact.get("caa"), variables)
    given["failures"] = [
        {"role": failure.get("role"), "step": failure["step"], "message": failure["message"]}
        for failure in fact.get("failures") or []
    ]
    if "unreachable" in fact:
        given["state"], given["message"], given["failures"] = "unreachable", fact["unreachable"], []
        return given
    if "error" in fact.get("report", {}):
        refuse(given, fact["report"]["error"])
    if given["failures"]:
        given["state"], given["message"] = "failed", given["failures"][0]["message"]
    elif not is_active:
        given["state"], given["message"] = "failed", LOST
    return given


def refuse(given: Given, message: str) -> None:
    """Have a host fail for its options of the report, unless it has done so at the beginning of its play."""
    if not any(message in failure["message"] for failure in given["failures"]):
        given["failures"].append({"step": None, "message": message})
    if given["state"] == "ok":
        given["state"], given["message"] = "failed", given["failures"][0]["message"]


def _updates(given: Given, result: t.Mapping[str, t.Any] | None) -> None:
    if result is None:
        return
    given["asked"].append(1)
    if result.get("failed"):
        given["findings"].append(finding("updates.not_checked", "updates", _reason(result)))
    else:
        given["updates"] = dict(result)


def _certificate(given: Given, kept: t.Mapping[str, t.Any] | None, queried: t.Mapping[str, t.Any] | None) -> None:
    """The certificates that the role certificate has inspected. Another role that queries them judges none, but that
    they could not be checked is so for all."""
    result = (kept or {}).get("inspected")
    if result is None and (queried or {}).get("failed"):
        result = queried
    if result is None:
        return
    if result.get("failed") or "results" not in result:
        given["findings"].append(finding("certificate.not_checked", "certificates", _reason(result)))
    else:
        given["sources"].append("certificate")
        given["findings"] += [item for one in result["results"] for item in one["findings"]]


def _frontend(given: Given, result: t.Mapping[str, t.Any] | None) -> None:
    """The configuration, where a role is about it: others only query which names and certificates there are.

    Of a host that was only restored it is not known any more.
    """
    given["asked"].append(2)
    if result is not None and not result.get("failed"):
        given["sources"].append("frontend")
        given["findings"] += result.get("findings") or []


def _reason(result: t.Mapping[str, t.Any]) -> str:
    return str(result.get("msg") or "") or "it does not say why"


def _verify(given: Given, kept: Kept | None) -> None:
    if not kept:
        return
    wanted = kept["wanted"]
    given["asked"] += [2, 3, 5]
    given["minimum_grade"] = wanted["grade"]
    given["ignore_trust"] = wanted["ignore_trust"]
    given["pending"] = wanted["pending"]
    given["results"] = json.loads(kept["results"])
    given["clients"] = json.loads(kept["clients"])


def _caa(given: Given, kept: CaaFact | None, variables: t.Mapping[str, t.Any]) -> None:
    if not kept:
        return
    request = kept["request"]
    given["asked"].append(4)
    lookup = _roles_caa.lookup_for(request["host"], (variables.get("caa_lookups") or {}).get("lookups") or [])
    if not lookup or lookup.get("failed"):
        return
    given["sources"].append("caa")
    results, findings = _roles_caa.of_host(lookup, request)
    given["findings"] += findings
    if results and not any(entry["verdict"] == "error" for entry in results):
        given["proven"].append(4)


def gather(
    variables: t.Mapping[str, t.Mapping[str, t.Any]],
    expected: t.Iterable[str],
    active: t.Container[str],
    batch: t.Container[str],
) -> dict[str, Given]:
    """The module's option C(hosts) for the play's hosts, and for those that were expected beside them.

    variables: of each host of the play; active: the hosts that the play still has; batch: those of its current batch
    (C(serial)).
    """
    found: dict[str, Given] = {}
    for name, own in variables.items():
        if name in active and name not in batch and not _host_fact.read(own):
            found[name] = {"state": "left_out", "message": LATER}
        else:
            found[name] = of_host(own, name in active)
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

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report as SARIF 2.1.0: each kind of finding is a rule, each finding a result, each waiver a suppression."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
import urllib.parse

from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import Marked

# SARIF, whose schema is another's.
Info = dict[str, t.Any]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://github.com/kopano-hardening/kopano.hardening"
# What is unknown has to be looked at by somebody, which SARIF calls open; only a failure has a level.
KINDS = {
    "fail": ("fail", "error"),
    "warn": ("fail", "warning"),
    "unknown": ("open", None),
    "info": ("informational", None),
}
LEVELS = {"fail": "error", "warn": "warning", "unknown": "note", "info": "note"}

_PLACE = re.compile(r"(/[^:\n]*):(\d+)")


def render(report: Report) -> str:
    """The file's text."""
    used = {item["id"] for entry in report["hosts"] for item in entry["findings"]}
    entries = [_findings.catalogue().get(key) or _findings.unknown(key) for key in sorted(used)]
    numbers = {entry.id: number for number, entry in enumerate(entries)}
    driver: Info = {"name": report["generator"]["name"], "informationUri": HOME, "rules": [_rule(e) for e in entries]}
    if report["generator"]["version"]:
        driver["semanticVersion"] = report["generator"]["version"]
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"kopano.hardening/{report['generated']}"},
        "invocations": [
            {
                "executionSuccessful": all(entry["state"] in ("ok", "left_out") for entry in report["hosts"]),
                "endTimeUtc": report["generated"],
            }
        ],
        "results": [
            _result(entry["name"], item, numbers[item["id"]]) for entry in report["hosts"] for item in entry["findings"]
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=1) + "\n"


def _rule(entry: _findings.Entry) -> Info:
    fixes = "\n\n".join(f"{_findings.PLACES[place]}:\n{text}" for place, text in entry.fix.items())
    marked = "\n\n".join(f"{_findings.PLACES[place]}:\n```\n{text}\n```" for place, text in entry.fix.items())
    rule: Info = {
        "id": entry.id,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.why or entry.title},
        "help": {"text": fixes or entry.why or entry.title, "markdown": marked or entry.why or entry.title},
        "defaultConfiguration": {"level": LEVELS[entry.severity]},
        "properties": {"step": entry.step, "tags": ["security", f"step-{entry.step}"]},
    }
    if entry.url:
        rule["helpUri"] = entry.url
    return rule


def _result(host: str, item: Marked, number: int) -> Info:
    kind, level = KINDS[item["severity"]]
    words = [item["message"], item["evidence"], f"To do: {item['fix']}" if item["fix"] else ""]
    result: Info = {
        "ruleId": item["id"],
        "ruleIndex": number,
        "kind": kind,
        "level": level or "none",
        "message": {"text": "\n".join([f"{host}, {item['subject']}: {words[0]}", *filter(None, words[1:])])},
        "locations": [_location(host, item)],
        "partialFingerprints": {"hostIdSubject/v1": _fingerprint(host, item["id"], item["subject"])},
        "properties": {"step": item["step"], "since": item["since"]},
    }
    if item["waived"]:
        suppression = {"kind": "external", "status": "accepted", "justification": item["waived"]["reason"]}
        result["suppressions"] = [suppression]
    return result


def _location(host: str, item: Marked) -> Info:
    """File and line on the host, where the subject or the evidence begins with them; else what it is about."""
    qualified = f"{host}/{item['subject']}"
    location: Info = {"logicalLocations": [{"name": item["subject"] or host, "fullyQualifiedName": qualified}]}
    place = _PLACE.match(item["subject"]) or _PLACE.match(item["evidence"])
    if place and int(place.group(2)) > 0:
        path = urllib.parse.quote(place.group(1))
        location["physicalLocation"] = {
            "artifactLocation": {"uri": f"file://{urllib.parse.quote(host, safe='')}{path}"},
            "region": {"startLine": int(place.group(2))},
        }
    return location


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

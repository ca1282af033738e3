# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report as JUnit XML: a suite for each host, a case for each step and one for the policy."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET  # only written, never read

from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Host, Report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import Marked


def render(report: Report) -> str:
    """The file's text."""
    suites = ET.Element("testsuites", name="kopano.hardening")
    for entry in report["hosts"]:
        suite = ET.SubElement(suites, "testsuite", name=entry["name"], timestamp=report["generated"].rstrip("Z"))
        for step, title in _findings.STEP_TITLES.items():
            _step(suite, entry, step, title)
        _policy(suite, entry)
        _count(suite)
    _count(suites)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _case(suite: ET.Element, host: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=f"kopano.hardening.{host}", name=name, time="0")


def _step(suite: ET.Element, entry: Host, step: int, title: str) -> None:
    """A failure where something misses the step, an error where it is not known, a skip where nobody asked."""
    case = _case(suite, entry["name"], f"step {step}: {title}")
    verdict = entry["steps"][str(step)]
    findings = [item for item in entry["findings"] if item["step"] == step]
    open_ones = [item for item in findings if not item["waived"] and item["severity"] != "info"]
    text = "\n\n".join(map(_words, open_ones))
    if verdict == "fail":
        worst = [item for item in open_ones if item["severity"] == "fail"]
        # Without a finding of its own, a step fails for the grade.
        kind = worst[0]["id"] if worst else "grade"
        message = _short(worst) or _build.grade_missed(entry)
        ET.SubElement(case, "failure", type=kind, message=message).text = text
    elif verdict == "unknown":
        kind = open_ones[0]["id"] if open_ones else "unknown"
        ET.SubElement(case, "error", type=kind, message=_short(open_ones) or "nothing was found out").text = text
    elif verdict == "not_asked":
        ET.SubElement(case, "skipped", message="not checked")
    notes = [_words(item) + "\nwaived: {reason}".format(**item["waived"]) for item in findings if item["waived"]]
    if verdict == "warn":
        notes.insert(0, text)
    if notes:
        ET.SubElement(case, "system-out").text = "\n\n".join(notes)


def _policy(suite: ET.Element, entry: Host) -> None:
    """Whether the host passes as a whole: what the exit status is about."""
    case = _case(suite, entry["name"], "policy")
    if entry["state"] == "left_out":
        ET.SubElement(case, "skipped", message="not checked")
    elif entry["failed"]:
        reasons = "; ".join(entry["reasons"])
        ET.SubElement(case, "failure", type="policy", message=reasons).text = entry["message"] or reasons


def _short(items: t.Sequence[Marked]) -> str:
    return "; ".join(dict.fromkeys(item["message"] for item in items))


def _words(item: Marked) -> str:
    lines = ["{severity} {id} ({subject}): {message}".format(**item), item["evidence"], item["fix"]]
    return "\n".join(filter(None, lines))


def _count(element: ET.Element) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(key, str(sum(case.find(tag) is not None for case in cases)))

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report as a text file for Prometheus' node exporter. Names follow its guide: base units, no totals of gauges."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import UTC

Sample = tuple[dict[str, str], float]

PREFIX = "kopano_hardening_"


def render(report: Report) -> str:
    """The file's text."""
    lines = []
    for name, (words, samples) in _metrics(report).items():
        if samples:
            lines += [f"# HELP {PREFIX}{name} {words}", f"# TYPE {PREFIX}{name} gauge"]
            # A sample with the same labels twice would make the whole file void.
            lines += dict.fromkeys(f"{PREFIX}{name}{_labels(labels)} {_number(value)}" for labels, value in samples)
    return "\n".join(lines) + "\n"


def _metrics(report: Report) -> dict[str, tuple[str, list[Sample]]]:
    hosts = [entry for entry in report["hosts"] if entry["state"] != "left_out"]
    reached = [entry for entry in hosts if entry["state"] != "unreachable"]
    severities = SEVERITIES
    asked = [
        (entry, step, verdict) for entry in hosts for step, verdict in entry["steps"].items() if verdict != "not_asked"
    ]
    endpoints = [(entry, endpoint) for entry in reached for endpoint in entry["endpoints"]]
    certificates = [(entry, one) for entry in reached for one in entry["certificates"]]
    return {
        "report_timestamp_seconds": ("When the report was written.", [({}, _seconds(report["generated"]))]),
        "host_reached": (
            "Whether the host could be reached.",
            [({"host": entry["name"]}, entry["state"] != "unreachable") for entry in hosts],
        ),
        "host_passed": (
            "Whether the host keeps to the policy.",
            [({"host": entry["name"]}, not entry["failed"]) for entry in hosts],
        ),
        "findings": (
            "Findings that are not waived.",
            [
                ({"host": entry["name"], "severity": severity}, entry["counts"][severity])
                for entry in reached
                for severity in severities
            ],
        ),
        "findings_waived": (
            "Findings that are waived.",
            [({"host": entry["name"]}, entry["counts"]["waived"]) for entry in reached],
        ),
        "step_passed": (
            "Whether a step of the checklist is reached; what is unknown is not.",
            [
                ({"host": entry["name"], "step": step, "verdict": verdict}, verdict == "pass")
                for entry, step, verdict in asked
            ],
        ),
        "endpoint_grade_info": (
            "The grade of an endpoint by the SSL Labs rules; empty where there is none.",
            [
                (
                    {
                        "host": entry["name"],
                        "endpoint": _phrases.host_port(endpoint["name"], endpoint["port"]),
                        "address": endpoint["address"],
                        "grade": endpoint["grade"] or "",
                        "grade_trust_ignored": endpoint["grade_trust_ignored"] or "",
                    },
                    1,
                )
                for entry, endpoint in endpoints
            ],
        ),
        "certificate_expiry_timestamp_seconds": (
            "When a certificate that is served ends.",
            [
                (
                    {"host": entry["name"], "subject": one["subject"], "sha256": one["sha256"]},
                    _seconds(one["not_after"]),
                )
                for entry, one in certificates
                if _is_time(one["not_after"])
            ],
        ),
        "support_end_timestamp_seconds": (
            "When the support of the distribution ends.",
            [
                (
                    {
                        "host": entry["name"],
                        "distribution": entry["support"]["distribution"],
                        "level": entry["support"]["level"],
                    },
                    _seconds(entry["support"]["until"]),
                )
                for entry in reached
                if entry["support"] and _is_time(entry["support"]["until"])
            ],
        ),
    }


def _is_time(text: t.Any) -> t.TypeGuard[str]:
    if not isinstance(text, str):
        return False
    try:
        _seconds(text)
    except (ValueError, OverflowError):
        return False
    return True


def _seconds(text: str) -> float:
    """A date, or a time in UTC, as seconds since 1970."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _number(value: float) -> str:
    return str(int(value))


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as the module report gets them: single ones, a fleet, and one whose every text is hostile."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import rules as _rules
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report

Info = dict[str, t.Any]

MOMENT = datetime.datetime(2026, 11, 25, 3, 30, tzinfo=_roles_report.UTC)
TODAY = MOMENT.date()
# What breaks out of a text, an attribute, a script, a style, a comment, XML, a label or a terminal.
HOSTILE = (
    "<script>window.hurt=1</script>\"'><img src=x onerror=window.hurt=1><svg/onload=window.hurt=1>"
    '</style></script>--><!--{{ 7 * 7 }}]]>&lt;\\"\n} \x1b[31m\x00\u202e\ud800 end'
)


def finding(key: str, subject: str = "mail.example.com", evidence: str = "", **changes: t.Any) -> Info:
    entry = _findings.catalogue()[key]
    return {
        "id": key,
        "step": entry.step,
        "severity": entry.severity,
        "subject": subject,
        "message": f"{entry.title}.",
        "evidence": evidence,
        "fix": _findings.KINDS[key].fix or f"Repair {key}.",
        **changes,
    }


def certificate(name: str, days: int = 60, **changes: t.Any) -> Info:
    """One with a lifetime of 90 days and this many left."""
    end = MOMENT + datetime.timedelta(days=days)
    return {
        "subject": f"CN={name}",
        "issuer": "C=US, O=Let's Encrypt, CN=E7",
        "names": [name],
        "not_before": _build.rfc3339(end - datetime.timedelta(days=90)),
        "not_after": _build.rfc3339(end),
        "sha256": f"{name}/{days}",
        "others": [],
        **changes,
    }


def result(name: str = "mail.example.com", grade: str = "A+", *ids: str, **changes: t.Any) -> Info:
    """The result of an endpoint with the findings of these rules; the grade is the trusted one's."""
    subject = f"{name}:443 (192.0.2.10)"
    rules = [rule for rule in _rules.RULES if rule.id in ids]
    caps = [{"id": r.id, "grade": r.grade, "revision": r.revision, "rule": r.text, "evidence": "seen"} for r in rules]
    beside = [rule.grade for rule in rules if rule.grade in ("T", "M")]
    return {
        "host": "192.0.2.10",
        "server_name": name,
        "address": "192.0.2.10",
        "port": 443,
        "starttls": "none",
        "grade": [*beside, grade][0],
        "grade_trust_ignored": grade,
        "score": 93,
        "protocols": ["TLSv1.2", "TLSv1.3"],
        "error": None,
        "certificate": certificate(name),
        "caps": [entry for entry in caps if entry["grade"] not in ("A", "A-")],
        "warnings": [entry for entry in caps if entry["grade"] in ("A", "A-")],
        "findings": [finding(key, subject, "seen") for key in ids],
        **changes,
    }


def updates(level: str = "full", until: str = "2028-08-09", *keys: str) -> Info:
    return {
        "distribution": {"id": "debian", "pretty_name": "Debian GNU/Linux 13 (trixie)"},
        "support": {"level": level, "until": until, "source": "distro-info-data"},
        "findings": [finding(key, "debian 13") for key in keys],
    }


def fine(name: str = "mail.example.com") -> Info:
    return {"results": [result(name)], "updates": updates(), "proven": [4], "minimum_grade": "A+"}


def fleet(number: int) -> dict[str, Info]:
    """Hosts with all that a host can have: 14 findings, three endpoints, and some that could not be looked at."""
    keys = list(_findings.catalogue())
    rules = [rule.id for rule in _rules.RULES]
    hosts: dict[str, Info] = {}
    for index in range(number):
        name = f"mail{index}.example.com"
        if index % 50 == 49:
            hosts[name] = {"state": "unreachable", "message": "ssh: connect to host port 22: Connection timed out"}
            continue
        path = f"/etc/nginx/sites-enabled/mail{index}:{index % 40 + 1}"
        names = [name, f"autodiscover.mail{index}.example.com", f"meet.mail{index}.example.com"]
        hosts[name] = {
            "findings": [
                finding(keys[(index * 7 + part * 5) % len(keys)], path if part % 2 else name, "ssl_ciphers HIGH")
                for part in range(8)
            ],
            "results": [
                result(one, "B" if index % 3 else "A+", *([rules[(index + part * 3) % len(rules)]] * (part < 2)))
                for part, one in enumerate(names)
            ],
            "updates": updates("lts" if index % 4 else "full", "2028-06-30" if index % 4 else "2028-08-09"),
            "proven": [4],
            "minimum_grade": "A+",
        }
    return hosts


def hostile() -> dict[str, Info]:
    """One host whose name and whose every text is hostile."""
    bad = certificate("x", subject=HOSTILE, issuer=HOSTILE, names=[HOSTILE], sha256=HOSTILE)
    return {
        HOSTILE: {
            "findings": [
                finding("tls.hsts.absent", HOSTILE, HOSTILE, message=HOSTILE, fix=HOSTILE),
                finding("caa.none", HOSTILE, HOSTILE, message=HOSTILE, fix=f"{HOSTILE}2"),
                finding("caa.none", HOSTILE, "", message=HOSTILE, fix=HOSTILE),
            ],
            "results": [result(HOSTILE, "B", address=HOSTILE, certificate=bad, protocols=[HOSTILE])],
            "updates": {
                "distribution": {"pretty_name": HOSTILE},
                "support": {"level": HOSTILE, "until": "2028-01-01"},
                "findings": [],
            },
            "message": HOSTILE,
            "state": "failed",
            "failures": [{"message": HOSTILE, "step": 2}],
        }
    }


def build(hosts: dict[str, Info], previous: Info | None = None, moment: t.Any = MOMENT, **policy: t.Any) -> Info:
    policies = dict.fromkeys(hosts, _roles_report.Policy(today=moment.date(), **policy))
    return _build.build(hosts, policies, moment, previous, "0.1.0", "of the tests")

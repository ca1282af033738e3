# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The message of the role frontend on what it changed."""

from __future__ import annotations

import pytest

from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_lines as _frontend_lines

PLAN = {
    "skip": "",
    "server": "nginx",
    "mode": "adopt",
    "policy": {"tls": "/etc/nginx/kopano-hardening/tls.conf"},
    "plain_only": [],
    "warning": "",
}


def endpoint(protocol, *hsts):
    return {"protocol": protocol, "hsts": list(hsts)}


def result(*paths, plan=PLAN, rehearsal=None, **more):
    diff = [{"after_header": f"{path} (0644 root)"} for path in paths]
    return {"changed": True, "diff": diff, "plan": plan, "rehearsal": rehearsal, "transaction": "000001-x", **more}


REHEARSAL = {
    "method": "namespace",
    "endpoints": [
        endpoint("TLSv1.3", "max-age=1"), endpoint("TLSv1.2", "max-age=1"), endpoint("TLSv1.3", "max-age=2"),
        endpoint(None),
    ],
    "grades": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (False, "nginx (adopt): changed policy sites-available/mail; rehearsal: off; transaction 000001-x"),
        (True, "nginx (adopt): would change policy sites-available/mail; rehearsal: off; nothing was written"),
    ],
)
def test_paths_are_short_and_come_once(check, line):
    paths = ("/etc/nginx/kopano-hardening/tls.conf", "/etc/nginx/kopano-hardening/http.conf", "/var/lib/apache2/x")
    assert _frontend_lines.lines(result(*paths, "/etc/nginx/sites-available/mail"), check) == [line]


def test_files_of_others_have_their_whole_path():
    """SUSE's settings of Apache have the name of its folder."""
    paths = ("/etc/nginx/sites-available/mail", "/etc/sysconfig/apache2", "/etc/logrotate.d/kopano-tls")
    line = _frontend_lines.lines(result(*paths), False)[0]
    assert "changed sites-available/mail /etc/sysconfig/apache2 /etc/logrotate.d/kopano-tls; " in line


def test_the_rehearsal_is_summed_up():
    (line,) = _frontend_lines.lines(result(rehearsal=REHEARSAL), False)
    assert "; rehearsal: namespace, 4 endpoints, TLSv1.2 TLSv1.3, HSTS max-age=1, max-age=2; " in line
    none = {**REHEARSAL, "endpoints": [endpoint("TLSv1.3")]}
    assert "1 endpoint, TLSv1.3, HSTS none; " in _frontend_lines.lines(result(rehearsal=none), False)[0]


def test_what_the_plan_warns_of_is_at_the_end():
    plan = {**PLAN, "plain_only": ["a.test", "b.test"], "warning": "no client trusts it"}
    (line,) = _frontend_lines.lines(result(plan=plan), False)
    assert line.endswith("; left on plain HTTP: a.test b.test; no client trusts it")


def test_what_is_kept_and_the_grades_follow():
    kept = {"names": ["a.test"], "file": "/f", "path": None, "item": "hsts", "value": "max-age=63072000"}
    grade = {"server_name": "a.test", "port": 443, "now": None, "grade_trust_ignored": "A+", "caps": [], "warnings": [],
             "error": None}  # fmt: skip
    lines = _frontend_lines.lines(result(kept=[kept], rehearsal={**REHEARSAL, "grades": [grade]}), False)
    assert lines[1:] == [
        "stronger than the policy, kept (see frontend_replace_stronger): a.test hsts (max-age=63072000)",
        "a.test:443: not there now, after hardening A+",
    ]


def test_a_host_that_is_left_alone_reports_why():
    skipped = {"skipped": True, "plan": {**PLAN, "skip": "managed by another system"}}
    assert _frontend_lines.outcome(skipped, False) == ["skipped: managed by another system"]
    assert _frontend_lines.lines(skipped, False) == []


@pytest.mark.parametrize(("check", "verb"), [(False, "restored"), (True, "would restore")])
def test_what_was_restored_is_listed(check, verb):
    done = {"changed": True, "diff": [{"after_header": "/etc/nginx/x (absent)"}]}
    assert _frontend_lines.outcome(done, check) == [f"{verb} /etc/nginx/x"]


# --- the outcome -----------------------------------------------------------------------------------------------------


def grade(name, before, after, **more):
    now = before and {"grade_trust_ignored": before}
    return {"server_name": name, "port": 443, "now": now, "grade_trust_ignored": after, "caps": [], "warnings": [],
            "error": None, **more}  # fmt: skip


GRADES = [
    *[grade(f"{name}.test", "B", "A+") for name in "abcde"],
    grade("new.test", None, "A+"),
    grade("same.test", "A+", "A+"),
]
CHANGES = "5 endpoints B -> A+, 1 endpoint new -> A+, 1 endpoint stays A+"


def test_a_host_where_nothing_changed_is_one_word():
    assert _frontend_lines.outcome({"changed": False, "plan": PLAN}, False) == ["unchanged"]


def test_a_change_is_one_line_with_its_grades_and_its_transaction():
    done = result("/etc/nginx/x", rehearsal={**REHEARSAL, "grades": GRADES})
    assert _frontend_lines.outcome(done, False) == [f"changed: {CHANGES} (000001-x)"]


def test_without_grades_the_files_are_named():
    done = result("/etc/nginx/kopano-hardening/tls.conf", "/etc/nginx/sites-available/mail")
    assert _frontend_lines.outcome(done, False) == ["changed: policy sites-available/mail (000001-x)"]


def test_a_dry_run_shows_each_grade_that_would_change():
    done = result("/etc/nginx/x", rehearsal={**REHEARSAL, "grades": GRADES})
    assert _frontend_lines.outcome(done, True) == [
        f"would change: {CHANGES}",
        "a.test:443 and 4 more: now B, after hardening A+",
        "new.test:443: not there now, after hardening A+",
    ]


def test_what_becomes_weaker_is_always_shown():
    weaker = {"server_name": "a.test", "address": "192.0.2.1", "path": None, "item": "hsts", "before": "max-age=9"}
    done = result("/etc/nginx/x", weakened=[weaker])
    assert _frontend_lines.outcome(done, False)[1:] == ["weaker now than before: a.test hsts (max-age=9)"]


def test_no_grade_before_and_after_is_no_change_of_a_grade():
    done = result("/etc/nginx/x", rehearsal={**REHEARSAL, "grades": [{**grade("a.test", None, None), "now": {
        "grade_trust_ignored": None}}]})  # fmt: skip
    assert _frontend_lines.outcome(done, True) == ["would change: 1 endpoint stays no grade"]

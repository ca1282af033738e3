# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as data: verdicts, policy, waivers, trend; and its files, with hostile text and with 500 hosts."""

from __future__ import annotations

import copy
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import earlier as _earlier
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import gather as _gather
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import html as _report_html
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import scorecard as _scorecard
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report

from . import report_bed as bed

ROOT = Path(__file__).parents[2]
LATER = bed.MOMENT + datetime.timedelta(days=1)


def one(given, **policy):
    return bed.build({"web1": given}, **policy)["hosts"][0]


def findings(*items, **more):
    return {**bed.fine(), "findings": list(items), **more}


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_every_column_has_a_head_on_the_terminal_and_on_the_page():
    assert set(_scorecard.HEADS) == set(_report_html.HEADS) == set(_build.COLUMNS)


def test_a_host_that_is_fine_passes_every_step():
    host = one(bed.fine())
    assert set(host["steps"].values()) == {"pass"}
    assert (host["failed"], host["reasons"], host["grade"]) == (False, [], "A+")


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, ["not_asked"] * 5),
        ({"asked": [1, 4]}, ["unknown", "not_asked", "not_asked", "unknown", "not_asked"]),
        ({"updates": bed.updates()}, ["pass", "not_asked", "not_asked", "not_asked", "not_asked"]),
        ({"updates": {}}, ["not_asked"] * 5),
        ({"results": [bed.result()]}, ["not_asked", "pass", "pass", "not_asked", "pass"]),
        ({"state": "unreachable"}, ["unknown"] * 5),
        ({"state": "failed"}, ["unknown"] * 5),
        ({"state": "failed", "failures": [{"message": "no", "step": 1}]}, ["fail"] + ["unknown"] * 4),
        ({"state": "left_out"}, ["not_asked"] * 5),
    ],
)
def test_what_was_not_seen_is_no_pass(given, steps):
    assert list(one(given)["steps"].values()) == steps


@pytest.mark.parametrize("severity", ["fail", "warn", "unknown"])
def test_the_worst_finding_decides_about_a_step(severity):
    items = [bed.finding("caa.iodef.none"), bed.finding("caa.none", severity=severity)]
    assert one(findings(*items))["steps"]["4"] == severity


@pytest.mark.parametrize(("others", "verdict"), [(["warn"], "unknown"), (["warn", "fail"], "fail")])
def test_what_could_not_be_found_out_may_be_worse_than_a_warning(others, verdict):
    ids = ("caa.none", "caa.iodef.none", "caa.dnssec.bogus")
    items = [bed.finding(key, severity=severity) for key, severity in zip(ids, [*others, "unknown"], strict=False)]
    assert one(findings(*items))["steps"]["4"] == verdict


def test_an_endpoint_without_a_grade_leaves_its_steps_unknown():
    broken = bed.result(grade=None, error="refused", findings=[bed.finding("tls.endpoint.error")])
    host = one({"results": [bed.result(), broken], "minimum_grade": "C", "asked": [2, 3, 5]})
    assert [host["steps"][step] for step in "235"] == ["unknown"] * 3
    assert host["grade"] is None
    assert host["reasons"] == ["1 of 2 endpoints below C"]


def test_a_finding_of_two_endpoints_is_there_once():
    assert len(one(findings(bed.finding("caa.none"), bed.finding("caa.none")))["findings"]) == 1


def test_what_makes_a_server_worthless_is_fixed_first():
    items = [
        bed.finding("caa.none"),
        bed.finding("tls.hsts.absent"),
        bed.finding("tls.certificate.expires_soon"),
        bed.finding("tls.protocol.sslv2"),
        bed.finding("tls.attack.not_tested"),
    ]
    host = one(findings(*items))
    assert [item["id"] for item in host["findings"]][:2] == ["tls.protocol.sslv2", "caa.none"]
    assert _build.first_fix(host)["id"] == "tls.protocol.sslv2"


def test_what_is_information_only_is_not_to_be_fixed():
    assert _build.first_fix(one(findings(bed.finding("tls.tickets")))) is None


# --- the policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fail_on", "reasons"),
    [
        (["fail"], ["tls.compression"]),
        (["fail", "warn"], ["tls.compression", "tls.http.no_redirect"]),
        (["tls.http.*"], ["tls.http.no_redirect"]),
        (["unknown"], ["caa.lookup.failed (2)"]),
        ([], []),
    ],
)
def test_a_host_fails_for_what_it_shall(fail_on, reasons):
    items = [bed.finding("tls.compression"), bed.finding("tls.http.no_redirect")]
    items += [bed.finding("caa.lookup.failed", name) for name in ("a.example", "b.example")]
    host = one(findings(*items), fail_on=fail_on)
    assert (host["reasons"], host["failed"]) == (reasons, bool(reasons))


@pytest.mark.parametrize(
    ("grade", "ids", "minimum", "ignore_trust", "misses"),
    [
        ("A+", [], "A+", False, False),
        ("A", [], "A+", False, True),
        ("A", [], "A", False, False),
        ("B", ["tls.protocol.tls10"], "A", False, True),
        ("A+", ["tls.certificate.untrusted"], "A+", False, True),
        ("A+", ["tls.certificate.untrusted"], "A+", True, False),
        ("B", ["tls.certificate.untrusted", "tls.protocol.tls10"], "A", True, True),
    ],
)
def test_an_endpoint_has_to_reach_the_grade(grade, ids, minimum, ignore_trust, misses):
    given = {"results": [bed.result("mail.example.com", grade, *ids)], "ignore_trust": ignore_trust}
    expected = [f"1 of 1 endpoint below {minimum}"] if misses else []
    assert one({**given, "minimum_grade": minimum}, fail_on=[])["reasons"] == expected
    assert one(given, fail_on=[], minimum_grade=minimum)["reasons"] == expected
    assert one({**given, "minimum_grade": "F"}, fail_on=[], minimum_grade=minimum)["reasons"] == expected


def test_trust_that_is_ignored_is_a_waiver_with_that_reason():
    given = {"results": [bed.result("a.example", "A+", "tls.certificate.untrusted")], "ignore_trust": True}
    host = one(given)
    assert host["findings"][0]["waived"] == {"reason": "verify_ignore_trust is set for the host", "until": None}
    assert (host["failed"], host["grade"], host["steps"]["5"]) == (False, "A+", "pass")
    assert one({**given, "ignore_trust": False})["grade"] == "T"


def test_a_host_that_is_about_to_be_changed_does_not_fail_for_what_it_is():
    given = {"results": [bed.result("a.example", "B", "tls.protocol.tls10")], "minimum_grade": "A+"}
    report = bed.build({"web1": {**given, "pending": True}})
    assert report["hosts"][0]["failed"] is False
    assert (report["summary"]["passed"], report["summary"]["pending"]) == ([], ["web1"])
    assert "0 of 1 host passes, 1 seen before hardening and not judged" in text_of(report)
    assert one(given)["failed"] is True
    assert one({**given, "pending": True, "state": "failed"})["failed"] is True


def test_a_certificate_that_has_expired_is_not_ignored():
    given = {"results": [bed.result("a.example", "A+", "tls.certificate.expired")], "ignore_trust": True}
    assert one(given, minimum_grade="A+")["reasons"] == ["tls.certificate.expired"]


def test_a_host_without_a_grade_misses_the_required_one():
    assert one({"asked": [5], "minimum_grade": "F"}, fail_on=[])["reasons"] == ["no endpoint was graded, F is wanted"]
    assert one({"updates": bed.updates()}, minimum_grade="A")["reasons"] == []


@pytest.mark.parametrize("state", ["unreachable", "failed"])
def test_a_host_that_could_not_be_inspected_fails(state):
    report = bed.build({"web1": bed.fine(), "web2": {"state": state, "message": "No route to host"}}, fail_on=[])
    assert report["summary"]["failed"] == ["web2"]
    assert report["summary"]["passed"] == ["web1"]
    assert report["hosts"][1]["findings"][0]["evidence"] == "No route to host"
    assert report["hosts"][1]["reasons"] == [f"report.host.{state}"]


def test_a_host_that_was_left_out_neither_passes_nor_fails():
    report = bed.build({"web1": bed.fine(), "web2": {"state": "left_out", "minimum_grade": "A"}}, minimum_grade="A+")
    assert report["summary"]["left_out"] == ["web2"]
    assert (report["summary"]["passed"], report["summary"]["failed"]) == (["web1"], [])


# --- waivers ---------------------------------------------------------------------------------------------------------


def waiver(**changes):
    return {"id": "caa.none", "reason": "The zone moves", "until": "2026-12-31", **changes}


@pytest.mark.parametrize(
    ("changes", "is_waived"),
    [
        ({}, True),
        ({"id": "caa.*"}, True),
        ({"id": "tls.compression"}, False),
        ({"subject": "mail.*"}, True),
        ({"subject": "other.*"}, False),
        ({"host": "web[12]"}, True),
        ({"host": "web2"}, False),
        ({"until": "2026-11-25"}, True),
        ({"until": "2026-11-24"}, False),
        ({"until": datetime.date(2027, 1, 1)}, True),
        ({"until": datetime.datetime(2027, 1, 1)}, True),
    ],
)
def test_a_waiver_counts_for_its_findings_until_its_last_day(changes, is_waived):
    report = bed.build({"web1": findings(bed.finding("caa.none"))}, waivers=[waiver(**changes)])
    host = report["hosts"][0]
    assert host["failed"] is not is_waived
    assert host["steps"]["4"] == ("pass" if is_waived else "fail")
    assert host["counts"]["waived"] == is_waived
    assert bool(host["findings"][0]["waived"]) is is_waived


@pytest.mark.parametrize("subject", ["[2001:db8::1]:443", "*2001:db8::1*", "[[]2001:db8::1]:443"])
def test_a_waiver_may_name_an_endpoint_as_the_report_has_it(subject):
    found = bed.finding("caa.none", "[2001:db8::1]:443")
    report = bed.build({"web1": findings(found)}, waivers=[waiver(subject=subject)])
    assert report["hosts"][0]["counts"]["waived"] == 1


def test_what_became_of_each_waiver_is_reported():
    given = [waiver(), waiver(until="2026-11-24"), waiver(id="tls.compression")]
    report = bed.build({"web1": findings(bed.finding("caa.none"))}, waivers=given)
    states = [(entry["state"], entry["findings"]) for entry in report["policy"]["waivers"]]
    assert states == [("active", 1), ("expired", 1), ("unused", 0)]


def test_an_expired_waiver_is_named_in_the_terminal():
    report = bed.build({"web1": findings(bed.finding("caa.none"))}, waivers=[waiver(until="2026-11-24")])
    assert "the waiver of caa.none ended on 2026-11-24: The zone moves" in text_of(report)


def test_a_grade_that_only_waived_findings_cost_is_good_enough():
    given = {"results": [bed.result("a.example", "B", "tls.protocol.tls10", "tls.protocol.tls11")]}
    both = [waiver(id="tls.protocol.tls1[01]")]
    assert one(given, minimum_grade="A+", waivers=both)["reasons"] == []
    assert one(given, minimum_grade="A+", waivers=[waiver(id="tls.protocol.tls10")])["failed"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("waivers", ["caa.none"], "waivers[0]: must be a mapping of id, host, subject, reason, until"),
        ("waivers", [waiver(), waiver(days=3)], "waivers[1]: 'days' is none of id, host, subject, reason, until"),
        ("waivers", [waiver(reason=" ")], "waivers[0].reason: is missing"),
        ("waivers", [{"id": "caa.none", "reason": "x"}], "waivers[0].until: is missing"),
        ("waivers", [waiver(until="31.12.2026")], "waivers[0].until: '31.12.2026' is not a date such as 2027-01-31"),
        ("waivers", [waiver(until=True)], "waivers[0].until: 'True' is not a date such as 2027-01-31"),
        ("waivers", [waiver(id="caa.nothing")], "waivers[0].id: 'caa.nothing' is not the id of a finding"),
        ("fail_on", ["bad"], "fail_on: 'bad' is neither one of fail, warn, unknown, info nor the id of a finding"),
        ("minimum_grade", "A++", "minimum_grade: 'A++' is none of A+, A, A-"),
    ],
)
def test_a_policy_without_a_meaning_is_refused_by_name(option, value, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        _roles_report.Policy(**{option: value})


# --- the trend -------------------------------------------------------------------------------------------------------


def next_one(before, after, **policy):
    """The report after another one."""
    first = _earlier.usable(json.loads(json.dumps(bed.build(before))))
    return bed.build(after, first, LATER, **policy)


def test_findings_are_new_gone_or_as_old_as_they_are():
    before = {"web1": findings(bed.finding("caa.none"), bed.finding("tls.compression"))}
    after = {"web1": findings(bed.finding("caa.none"), bed.finding("tls.hsts.absent"), bed.finding("tls.tickets"))}
    report = next_one(before, after)
    changes = report["trend"]
    assert [item["id"] for item in changes["new"]] == ["tls.hsts.absent"]
    assert [item["id"] for item in changes["gone"]] == ["tls.compression"]
    since = {item["id"]: item["since"] for item in report["hosts"][0]["findings"]}
    assert since["caa.none"] == changes["previous"] == _build.rfc3339(bed.MOMENT)
    assert since["tls.hsts.absent"] == report["generated"]
    assert [entry["fail"] for entry in changes["history"]] == [2, 2]


@pytest.mark.parametrize(
    "after",
    [
        {"web1": {"state": "left_out"}},
        {"web1": {"state": "unreachable"}},
        {"web1": {"updates": bed.updates()}},
        {"web1": {"findings": [bed.finding("frontend.managed")], "asked": [4]}},
        {"web2": bed.fine()},
    ],
)
def test_what_was_not_inspected_is_not_gone(after):
    assert next_one({"web1": findings(bed.finding("caa.none"))}, after)["trend"]["gone"] == []


def test_a_finding_keeps_its_age_when_something_else_was_inspected():
    whole = {"web1": findings(bed.finding("caa.none"), bed.finding("tls.compression")), "web2": bed.fine()}
    first = bed.build(whole)
    second = bed.build({"web1": {"updates": bed.updates()}, "web2": {"state": "left_out"}}, first, LATER)
    assert [(item["host"], item["id"]) for item in second["trend"]["carried"]] == [
        ("web1", "tls.compression"),
        ("web1", "caa.none"),
    ]
    third = bed.build(whole, json.loads(json.dumps(second)), LATER + datetime.timedelta(days=1))
    assert {item["since"] for item in third["hosts"][0]["findings"]} == {first["generated"]}
    assert third["trend"]["carried"] == third["trend"]["new"] == []


def test_the_trend_does_not_grow_for_ever():
    report = bed.build({"web1": bed.fine()})
    for _number in range(_build.HISTORY + 5):
        report = bed.build({"web1": bed.fine()}, report)
    assert len(report["trend"]["history"]) == _build.HISTORY


def histories(report):
    return {
        entry["name"]: [(one["generated"][:10], one["grade"], one["state"]) for one in entry["history"]]
        for entry in report["hosts"]
    }


def test_each_host_has_its_history():
    better, worse = bed.fine(), {**bed.fine(), "results": [bed.result("a.example", "B", "tls.protocol.tls10")]}
    lost, left_out = {"state": "unreachable", "message": "no route to host"}, {"state": "left_out"}
    days = [
        {"web1": worse, "web2": better, "web3": better},
        {"web1": better, "web2": lost, "web3": left_out},
        {"web1": {**worse, "pending": True}, "web2": better},
    ]
    report = None
    for number, hosts in enumerate(days):
        report = report and _earlier.usable(json.loads(json.dumps(report)))
        report = bed.build(hosts, report, bed.MOMENT + datetime.timedelta(days=number))
        if number == 1:
            assert histories(report)["web3"] == [("2026-11-25", "A+", "passed")]
    assert histories(report) == {
        "web1": [("2026-11-25", "B", "failed"), ("2026-11-26", "A+", "passed"), ("2026-11-27", "B", "not_judged")],
        "web2": [("2026-11-25", "A+", "passed"), ("2026-11-26", None, "unreachable"), ("2026-11-27", "A+", "passed")],
    }


def test_a_host_that_no_finding_fails_has_not_passed_in_its_history():
    report = bed.build({"web1": findings(bed.finding("caa.none")), "web2": {"state": "failed"}}, fail_on=[])
    assert [one["history"][0]["state"] for one in report["hosts"]] == ["not_judged", "failed"]


def test_the_history_of_a_host_does_not_grow_for_ever():
    report = bed.build({"web1": bed.fine()})
    for number in range(_build.HOST_HISTORY + 5):
        report = bed.build({"web1": bed.fine()}, report, bed.MOMENT + datetime.timedelta(days=number))
    history = report["hosts"][0]["history"]
    assert len(history) == _build.HOST_HISTORY == 30
    assert [history[0]["generated"][:10], history[-1]["generated"]] == ["2026-11-30", report["generated"]]


@pytest.mark.parametrize(("schema", "kept"), [("1.0", True), ("1.1", True), ("1.2", False)])
def test_a_report_without_histories_is_where_they_begin(schema, kept):
    before = json.loads(json.dumps(bed.build({"web1": findings(bed.finding("caa.none")), "web2": bed.fine()})))
    before["schema"] = schema
    for entry in before["hosts"]:
        if kept:
            del entry["history"]
        if schema == "1.0":
            del entry["policy"], entry["reach"], entry["certificate"]
    after = bed.build({"web1": bed.fine(), "web2": bed.fine()}, _earlier.usable(before), LATER)
    assert histories(after) == {
        "web1": [("2026-11-25", "A+", "failed"), ("2026-11-26", "A+", "passed")],
        "web2": [("2026-11-25", "A+", "passed"), ("2026-11-26", "A+", "passed")],
    }


def changed(path, value):
    """A change of an earlier report: the value at this path, whose parts are keys and numbers."""

    def change(data):
        at = data
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = value

    return change


HOST = ("hosts", 0)
DAMAGE = [
    (("schema",), "2.0"),
    (("schema",), None),
    (("generated",), "yesterday"),
    (("generated",), 20261125),
    (("trend",), 3),
    (("trend", "history"), {"a": 1}),
    (("trend", "history"), ["x"]),
    (("trend", "history", 0, "fail"), "many"),
    (("trend", "history", 0, "fail"), -1),
    (("trend", "history", 0, "fail"), True),
    (("trend", "history", 0, "fail"), 10**400),
    (("trend", "history", 0, "fail"), float("nan")),
    (("trend", "carried"), [{"host": "web1", "id": [], "subject": "", "since": "2026-11-25T03:30:00Z"}]),
    (("trend", "carried"), [{"host": "web1"}]),
    (("hosts",), {"web1": {}}),
    (("hosts",), [[]]),
    ((*HOST, "name"), ["web1"]),
    ((*HOST, "state"), []),
    ((*HOST, "state"), "good"),
    ((*HOST, "sources"), "caa"),
    ((*HOST, "findings", 0, "subject"), {"a": 1}),
    ((*HOST, "findings", 0, "severity"), "bad"),
    ((*HOST, "findings", 0, "since"), "2026-11-25T03:30:00Z<script>"),
    ((*HOST, "history"), None),
    ((*HOST, "history"), [None]),
    ((*HOST, "history"), [{"grade": "A"}]),
    ((*HOST, "history", 0, "grade"), "<script>"),
    ((*HOST, "history", 0, "grade"), ["A"]),
    ((*HOST, "history", 0, "state"), "fine"),
    ((*HOST, "history", 0, "generated"), "2026-11-25"),
]


@pytest.mark.parametrize(("path", "value"), DAMAGE, ids=str)
def test_a_damaged_earlier_report_is_one_warning(tmp_path, path, value):
    data = json.loads(json.dumps(bed.build({"web1": findings(bed.finding("caa.none"))})))
    changed(path, value)(data)
    (tmp_path / "report.json").write_text(json.dumps(data))
    previous, trouble = _files.read_previous(str(tmp_path))
    assert previous is None
    assert trouble.startswith(f"{tmp_path}/report.json cannot be compared with: ")
    assert "\n" not in trouble and len(trouble) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("missing", ["schema", "generated", "trend", "hosts"])
def test_an_earlier_report_of_which_a_part_is_missing_is_not_compared_with(missing):
    data = json.loads(json.dumps(bed.build({"web1": bed.fine()})))
    assert _earlier.usable(data)["hosts"][0]["name"] == "web1"
    del data[missing]
    with pytest.raises(ValueError, match=f"it is not a report: KeyError '{missing}'"):
        _earlier.usable(data)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"schema": "2.0"}', '{"schema": "1.0"}',
        '{"schema": "1.0", "generated": "", "trend": 3}',
        "[" * 100_000, "9" * 10_000, '{"schema": "1.2", "hosts": [], "generated": {"a": "' + "x" * 10_000 + '"}}',
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_file_that_is_no_report_is_not_compared_with(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    previous, trouble = _files.read_previous(str(tmp_path))
    assert previous is None
    assert trouble.startswith(f"{tmp_path}/report.json cannot be compared with: ")
    assert len(trouble) < 300 + len(str(tmp_path))


def test_a_hostile_earlier_report_is_only_data(tmp_path):
    report = bed.build(bed.hostile(), bed.build(bed.hostile()), LATER)
    _files.write(str(tmp_path), _files.render(report, ["json"]))
    previous, trouble = _files.read_previous(str(tmp_path))
    assert trouble == ""
    assert [host["name"] for host in previous["hosts"]] == [host["name"] for host in report["hosts"]]
    assert previous["trend"] == {key: report["trend"][key] for key in ("carried", "history")}
    assert bed.build(bed.hostile(), previous, LATER) == bed.build(bed.hostile(), report, LATER)


def test_what_an_earlier_report_has_is_cleaned_and_no_more_of_it_is_kept(tmp_path):
    """Control characters and half a surrogate in it, and properties of a version that is not known yet."""
    data = json.loads(json.dumps(bed.build({"web1": findings(bed.finding("caa.none", "old"))})))
    data["hosts"][0]["findings"][0]["subject"] = "\x1b[31m\u202e\ud800 end"
    for item in (data, data["trend"], data["trend"]["history"][0], *data["hosts"], *data["hosts"][0]["history"]):
        item["later"] = {"more": 1}
    data["schema"] = "1.9"
    (tmp_path / "report.json").write_text(json.dumps(data))
    previous, trouble = _files.read_previous(str(tmp_path))
    assert trouble == ""
    report = bed.build({"web1": bed.fine()}, previous, LATER)
    assert len(report["trend"]["gone"]) == 1
    texts = _files.render(report, _files.FORMATS)
    assert not any(re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", text) or '"later"' in text for text in texts.values())
    assert_schema(texts["report.json"])


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["fine", "fleet", "hostile", "empty"])
def report(request):
    hosts = {"fine": {"web1": bed.fine()}, "fleet": bed.fleet(60), "hostile": bed.hostile(), "empty": {}}[request.param]
    waivers = [waiver(id="tls.*", reason=bed.HOSTILE)] if request.param == "hostile" else [waiver()]
    return bed.build(hosts, bed.build(hosts), LATER, waivers=_build.clean(waivers))


@pytest.fixture(scope="module")
def texts(report):
    return _files.render(report, _files.FORMATS)


def test_every_format_has_its_file(texts):
    assert set(texts) == {"index.html", "report.json", "junit.xml", "report.sarif", "kopano_hardening.prom"}
    assert list(_files.render(bed.build({}), ["sarif"])) == ["report.sarif"]


def assert_schema(text):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(json.loads(text))] == []


def test_the_data_keep_to_their_schema(texts):
    assert_schema(texts["report.json"])


def test_the_schema_has_the_grades_severities_and_version():
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    assert schema["$defs"]["grade"]["enum"] == [*GRADES, "T", "M"]
    assert schema["$defs"]["finding"]["properties"]["severity"]["enum"] == list(SEVERITIES)
    assert re.match(schema["properties"]["schema"]["pattern"], _build.SCHEMA)
    history = schema["$defs"]["host"]["properties"]["history"]
    assert history["maxItems"] == _build.HOST_HISTORY
    assert history["items"]["properties"]["state"]["enum"] == list(_build.OUTCOMES)


def test_junit_counts_what_it_has(report, texts):
    suites = ET.fromstring(texts["junit.xml"])
    assert [suite.get("name") for suite in suites] == [entry["name"] for entry in report["hosts"]]
    for suite, entry in zip(suites, report["hosts"], strict=True):
        cases = suite.findall("testcase")
        assert len(cases) == int(suite.get("tests")) == 6
        for tag, key, verdict in (("failure", "failures", "fail"), ("error", "errors", "unknown")):
            found = [case for case in cases if case.find(tag) is not None]
            assert int(suite.get(key)) == len(found)
            steps = [case.get("name")[5] for case in found if case.get("name") != "policy"]
            assert steps == [step for step, value in entry["steps"].items() if value == verdict]
        assert (cases[-1].find("failure") is not None) is entry["failed"]
    for key in ("tests", "failures", "errors", "skipped"):
        assert int(suites.get(key)) == sum(int(suite.get(key)) for suite in suites)


SARIF = {
    # The part of the official schema that applies to what is written; names of properties are closed as there.
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/run"}},
    },
    "$defs": {
        "message": {
            "type": "object",
            "additionalProperties": False,
            "required": ["text"],
            "properties": {"text": {"type": "string"}, "markdown": {"type": "string"}},
        },
        "level": {"enum": ["none", "note", "warning", "error"]},
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "additionalProperties": False,
                    "properties": {
                        "driver": {
                            "type": "object",
                            "required": ["name"],
                            "additionalProperties": False,
                            "properties": {
                                "name": {"type": "string"},
                                "semanticVersion": {"type": "string"},
                                "informationUri": {"type": "string", "pattern": "^https://"},
                                "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
                            },
                        }
                    },
                },
                "automationDetails": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"id": {"type": "string"}},
                },
                "invocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["executionSuccessful"],
                        "additionalProperties": False,
                        "properties": {
                            "executionSuccessful": {"type": "boolean"},
                            "endTimeUtc": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                        },
                    },
                },
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "shortDescription": {"$ref": "#/$defs/message"},
                "fullDescription": {"$ref": "#/$defs/message"},
                "help": {"$ref": "#/$defs/message"},
                "helpUri": {"type": "string", "pattern": "^https://"},
                "defaultConfiguration": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"level": {"$ref": "#/$defs/level"}},
                },
                "properties": {"type": "object"},
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "kind": {"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/message"},
                "locations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "physicalLocation": {
                                "type": "object",
                                "required": ["artifactLocation"],
                                "additionalProperties": False,
                                "properties": {
                                    "artifactLocation": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {"uri": {"type": "string", "pattern": "^file://[!-~]+$"}},
                                    },
                                    "region": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {"startLine": {"type": "integer", "minimum": 1}},
                                    },
                                },
                            },
                            "logicalLocations": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {
                                        "name": {"type": "string"},
                                        "fullyQualifiedName": {"type": "string"},
                                    },
                                },
                            },
                        },
                    },
                },
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "suppressions": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {
                        "type": "object",
                        "required": ["kind"],
                        "additionalProperties": False,
                        "properties": {
                            "kind": {"enum": ["inSource", "external"]},
                            "status": {"enum": ["accepted", "underReview", "rejected"]},
                            "justification": {"type": "string"},
                        },
                    },
                },
                "properties": {"type": "object"},
            },
            # What the text of the standard adds: only a failure has a level.
            "if": {"properties": {"kind": {"not": {"const": "fail"}}}},
            "then": {"properties": {"level": {"const": "none"}}},
        },
    },
}


def test_sarif_is_valid(report, texts):
    jsonschema = pytest.importorskip("jsonschema")
    log = json.loads(texts["report.sarif"])
    assert [error.message for error in jsonschema.Draft202012Validator(SARIF).iter_errors(log)] == []
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == sum(len(entry["findings"]) for entry in report["hosts"])
    assert all(rules[item["ruleIndex"]]["id"] == item["ruleId"] for item in run["results"])
    waived = sum(bool(item["waived"]) for entry in report["hosts"] for item in entry["findings"])
    assert sum("suppressions" in item for item in run["results"]) == waived


def test_sarif_has_file_and_line_where_they_are_known():
    items = [
        bed.finding("frontend.tls.override", "/etc/apache2/sites-enabled/a b.conf:12"),
        bed.finding("caa.none", "mail.example.com:443 (192.0.2.1)"),
    ]
    log = json.loads(_files.render(bed.build({"web1": findings(*items)}), ["sarif"])["report.sarif"])
    places = {item["ruleId"]: item["locations"][0] for item in log["runs"][0]["results"]}
    assert places["frontend.tls.override"]["physicalLocation"] == {
        "artifactLocation": {"uri": "file://web1/etc/apache2/sites-enabled/a%20b.conf"},
        "region": {"startLine": 12},
    }
    assert "physicalLocation" not in places["caa.none"]


SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{((?:[a-z_][a-z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?\d+)')


@pytest.mark.parametrize("until", [None, "", "never", "0001-01-01"])
def test_a_support_whose_end_is_not_known_has_no_sample(until):
    """As that of a distribution that is not known here."""
    host = bed.build({"web1": {"updates": bed.updates("unknown", until)}})
    assert host["hosts"][0]["support"]["level"] == "unknown"
    lines = _files.render(host, ["prometheus"])["kopano_hardening.prom"].splitlines()
    assert sum("support_end" in line for line in lines) == 3 * (until == "0001-01-01")


def test_prometheus_can_read_it(report, texts):
    """The format, and what promtool says of names: help, a prefix, base units, no type and no total in a gauge's."""
    helped, typed, samples = set(), set(), set()
    for line in texts["kopano_hardening.prom"].removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            typed.add(line.split()[2])
            assert line.endswith(" gauge")
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            name = found.group(1)
            assert (name, found.group(2)) not in samples, "the same sample twice"
            samples.add((name, found.group(2)))
            assert name in helped & typed
            assert re.fullmatch(r"kopano_hardening_[a-z0-9_]+", name)
            assert not re.search(r"_(total|count|sum|bucket|gauge|counter|ms|milliseconds|days|minutes)(_|$)", name)
    assert ("kopano_hardening_report_timestamp_seconds", None) in samples
    hosts = [entry for entry in report["hosts"] if entry["state"] != "left_out"]
    assert len([1 for name, _labels in samples if name == "kopano_hardening_host_passed"]) == len(hosts)


def test_promtool_has_no_complaints(texts):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    text = texts["kopano_hardening.prom"]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- the page --------------------------------------------------------------------------------------------------------


class Text(HTMLParser):
    """The page's text, with a space between elements, and the cells of its first table that are for the eye."""

    def __init__(self, text):
        super().__init__()
        self.words, self.rows, self.classes, self._row, self._cell, self._skip = [], {}, {}, None, None, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("style", "script", "title") or given.get("class") in ("unseen", "narrow"):
            self._skip.append(tag)
        if tag == "tr":
            self._row = given.get("data-host")
        if tag == "td" and self._row is not None and "step" in given.get("class", ""):
            self.rows.setdefault(self._row, []).append("")
            self.classes.setdefault(self._row, []).append("")
            self._cell = self._row
        if self._cell is not None and given.get("class", "").startswith("sign "):
            self.classes[self._cell][-1] = given["class"].removeprefix("sign ")

    def handle_endtag(self, tag):
        if self._skip and self._skip[-1] == tag:
            self._skip.pop()
        self._cell = None if tag == "td" else self._cell

    def handle_data(self, data):
        if self._skip or not data.strip():
            return
        self.words += data.split()
        if self._cell is not None:
            self.rows[self._cell][-1] += data.strip()


def shown_page(report):
    return " ".join(Text(_files.render(report, ["html"])["index.html"]).words)


def every_state():
    unknown = bed.finding("caa.lookup.failed", severity="unknown")
    return {
        **bed.fleet(60),
        "fine": bed.fine(),
        "warn": findings(bed.finding("caa.none", severity="warn")),
        "unknown": findings(unknown),
        "graded": findings(bed.finding("certificate.chain.unknown", severity="unknown", step=5)),  # A+, and unknown
        "left": {"state": "left_out"},
        "lost": {"state": "unreachable", "message": "no route to host"},
        "sudo": {**bed.fine(), "state": "failed", "failures": [{"message": "Incorrect sudo password", "step": None}]},
        "half": {"state": "failed", "failures": [{"message": "port 443 is taken", "step": 2}]},
        "some": {"updates": bed.updates()},
    }


@pytest.mark.parametrize("refused", [False, True])
def test_the_page_has_the_columns_and_states_of_the_terminal(refused):
    failure = {"message": "no certificate", "step": 5, "role": "certificate"}
    more = {"refused": {**bed.fine(), "state": "failed", "failures": [failure]}} if refused else {}
    report = bed.build({**every_state(), **more})
    page = Text(_files.render(report, ["html"])["index.html"])
    shown = [line.split() for line in text_of(report).splitlines()]
    # The terminal only counts those that were left out.
    listed = [entry["name"] for entry in report["hosts"] if entry["state"] != "left_out"]
    columns = 7 if refused else 6
    lines = {words[0]: words[1 : columns + 1] for words in shown[1 : len(listed) + 1]}
    assert set(lines) == set(listed)
    assert {name: cells[:columns] for name, cells in page.rows.items() if name in lines} == lines
    assert {word for cells in lines.values() for word in cells} >= {"ok", "warn", "FAIL", "?", "-", "A+", "B"}
    certificate = "certificate " if refused else ""
    assert f"host reach updates TLS HSTS CAA {certificate}grade open fix first" in " ".join(page.words)


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ([], "pass"),
        ([bed.finding("tls.tickets", step=5, severity="info")], "pass"),
        ([bed.finding("caa.none")], "pass"),
        ([bed.finding("certificate.expiring", severity="warn", step=5)], "warn"),
        ([bed.finding("tls.certificate.untrusted", step=5)], "fail"),
    ],
)
def test_a_grade_has_the_colour_of_its_step(more, state):
    page = Text(_files.render(bed.build({"web1": findings(*more)}), ["html"])["index.html"])
    assert (page.rows["web1"][5], page.classes["web1"][5]) == ("A+", state)


def test_the_page_says_what_each_state_means():
    text = shown_page(bed.build({"web1": bed.fine()}))
    assert "- not chosen in this run, or the host was not reached" in text
    assert "? could not be found out; the findings say why" in text
    assert all(f" {word} " in text for word in ("ok", "warn", "FAIL"))


@pytest.mark.parametrize(
    ("hosts", "title"),
    [
        ({"web1": findings(bed.finding("caa.none")), "web2": bed.fine()}, "policy off, 1 finding"),
        ({"web1": bed.fine()}, "policy off, 0 findings"),
        ({"web1": bed.fine(), "web2": {"state": "unreachable"}}, "1 of 2 hosts fails"),
    ],
)
def test_a_policy_that_is_off_is_no_pass(hosts, title):
    report = bed.build(hosts, fail_on=[])
    text = _files.render(report, ["html"])["index.html"]
    assert f"<title>Kopano hardening: {title}</title>" in text
    assert text.count('<span class="tag quiet">policy off</span>') == len(_build.policy_off(report)) > 0
    assert "<dt>Pass</dt>" not in text and "<dt>Not judged</dt>" in text


def repairs(hosts, **policy):
    return [(one.text, one.failures, one.hosts) for one in _report_html._repairs(bed.build(hosts, **policy))]


def test_the_fix_that_clears_most_failures_is_the_first():
    """Kinds with one fix are one, what is waived or no failure does not count."""
    one, other = (bed.finding(f"tls.protocol.{name}", fix="TLS 1.2 and 1.3 only") for name in ("tls10", "sslv2"))
    hosts = {
        "web1": findings(one, other, bed.finding("caa.none", "a", fix="add a record")),
        "web2": findings(one, bed.finding("caa.none", "b", fix="add a record"), bed.finding("tls.compression", fix="")),
        "web3": findings(bed.finding("caa.none", "c", fix="add a record"), bed.finding("caa.iodef.none", fix="warn")),
        "web4": findings(bed.finding("caa.none", "d", fix="add a record"), bed.finding("tls.hsts.absent", fix="max")),
    }
    assert repairs(hosts) == [
        ("add a record", 4, 4),
        ("TLS 1.2 and 1.3 only", 3, 2),
        ("", 1, 1),
        ("max", 1, 1),
    ]
    waived = [waiver(id="caa.none"), waiver(id="tls.hsts.*")]
    assert repairs(hosts, waivers=waived) == [("TLS 1.2 and 1.3 only", 3, 2), ("", 1, 1)]
    page = shown_page(bed.build(hosts))
    assert page.index("clears 4 failures on 4 hosts") < page.index("clears 3 failures on 2 hosts")
    assert "Fix first" not in shown_page(bed.build({"web1": bed.fine()}))


def test_a_fix_that_differs_from_host_to_host_is_one_with_the_general_commands():
    hosts = {
        name: findings(bed.finding("certificate.key.permissions", fix=f"chmod 0600 /etc/ssl/{name}.key"))
        for name in ("web1", "web2")
    }
    (repair,) = _report_html._repairs(bed.build(hosts))
    assert (repair.text, repair.failures, repair.hosts) == ("", 2, 2)
    assert "chmod 0600 NAME.key" in repair.commands["host"]
    # Kinds that nobody knows a fix of have nothing in common.
    unknown = [{**bed.finding("caa.none"), "id": key, "fix": "", "severity": "fail"} for key in ("new.a", "new.b")]
    assert repairs({"web1": findings(*unknown)}) == [("", 1, 1), ("", 1, 1)]


def test_the_history_is_a_line_with_its_words():
    report = None
    for day, grade in enumerate(["B", "B", "A+", "A+"]):
        ids = ["tls.protocol.tls10"] if grade == "B" else []
        given = {"web1": {**bed.fine(), "results": [bed.result("a.example", grade, *ids)]}}
        report = bed.build(given, report, bed.MOMENT + datetime.timedelta(days=day))
        assert ('<th scope="col" class="past">' in _files.render(report, ["html"])["index.html"]) is (day > 0)
    line = _report_html._line(report["hosts"][0]["history"])
    assert line.text == "2026-11-25 to 2026-11-26: B, failed; 2026-11-27 to 2026-11-28: A+, passed"
    assert (line.before, line.width) == ("B", 16)
    assert line.paths == {"fail": "M2 7v6M6 7v6", "pass": "M10 7v-6M14 7v-6"}
    assert line.text in _files.render(report, ["html"])["index.html"]


# --- hostile text ----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would make of the page: its elements and attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.scripts = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in_script = tag == "script"

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False


def test_hostile_text_stays_text(texts):
    page = Page(texts["index.html"])
    assert [tag for tag, _attributes in page.tags if tag in ("img", "iframe", "object", "embed", "link", "base")] == []
    script = (ROOT / "plugins" / "plugin_utils" / "_report" / "report.js").read_text()
    assert page.scripts == [script]
    for tag, attributes in page.tags:
        assert [name for name in attributes if name.startswith("on") or name == "style"] == [], tag
        for name in ("href", "src", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "https://")), (tag, value)


def test_the_page_loads_nothing_and_lets_nothing_else_run(texts):
    text = texts["index.html"]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert policy.startswith("default-src &#39;none&#39;; ")
    assert "unsafe" not in policy
    assert re.findall(r"(?:src|url|@import)\s*[=(]", text.partition("<body>")[0]) == []


def test_control_characters_are_nowhere(texts):
    for name, text in texts.items():
        assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) == [], name
        text.encode()


def text_of(report, width=None, files=()):
    return "\n".join("".join(text for text, _colour in line) for line in _scorecard.lines(report, files, width))


def test_hostile_text_does_not_move_the_cursor():
    shown = text_of(bed.build(bed.hostile()))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_a_flood_of_text_is_cut():
    item = one(findings(bed.finding("caa.none", evidence="x" * 1_000_000)))["findings"][0]
    assert len(item["evidence"]) < _build.TEXT_LIMIT + 10


# --- the terminal ----------------------------------------------------------------------------------------------------


def test_a_host_is_one_line():
    hosts = {
        "web1": bed.fine(),
        "web10": findings(bed.finding("caa.none", evidence="a\nb")),
        "web2": {"state": "left_out"},
    }
    lines = text_of(bed.build(hosts), files=["/srv/report/index.html"]).splitlines()
    assert lines[0].split() == ["host", "reach", "updates", "TLS", "HSTS", "CAA", "grade", "fails", "because"]
    assert lines[1].split() == ["web1", "ok", "ok", "ok", "ok", "ok", "A+", "-"]
    assert lines[2].split()[:7] == ["web10", "ok", "ok", "ok", "ok", "FAIL", "A+"]
    assert lines[2].endswith("No CAA records: mail.example.com")
    assert lines[3] == "1 of 3 hosts passes, 1 failed, 1 left out"
    assert lines[4] == "report: /srv/report/index.html"


def test_what_was_not_chosen_is_a_dash_with_a_legend():
    lines = text_of(bed.build({"web1": {"state": "ok", "asked": [4], "caa": []}})).splitlines()
    assert lines[1].split()[:3] == ["web1", "ok", "-"]
    assert "- not checked in this run: updates TLS HSTS grade" in lines
    assert "not checked in this run" not in text_of(bed.build({"web1": bed.fine()}))


def test_changes_since_the_last_report_are_counted_and_a_single_one_is_named():
    first = bed.build({"web1": bed.fine(), "web2": bed.fine()})
    worse = {"web1": findings(bed.finding("caa.none", "a.test")), "web2": bed.fine()}
    second = bed.build(worse, previous=first)
    assert "1 new (web1 caa.none) since " in text_of(second)
    assert "1 gone (web1 caa.none) since " in text_of(bed.build({"web1": bed.fine()}, previous=second))
    assert "since" not in text_of(bed.build(worse, previous=second))


def test_what_keeps_a_host_from_being_inspected_is_no_failure_of_a_step():
    hosts = {
        "web1": {"state": "unreachable", "message": "no route to host"},
        "web2": {"state": "failed", "failures": [{"message": "Incorrect sudo password", "step": None}]},
        "web3": {"state": "failed", "failures": [{"message": "port 443 is taken", "step": 2}]},
        "web4": bed.fine(),
    }
    report = bed.build(hosts)
    assert [host["reach"] for host in report["hosts"]] == ["fail", "fail", "pass", "pass"]
    assert [host["failed"] for host in report["hosts"]] == [True, True, True, False]
    lines = text_of(report).splitlines()
    assert lines[0].split()[:2] == ["host", "reach"]
    assert [line.split()[:7] for line in lines[1:4]] == [
        ["web1", "FAIL", *"-----"],
        ["web2", "FAIL", *"-----"],
        ["web3", "ok", "?", "FAIL", *"???"],
    ]


def test_a_certificate_that_cannot_be_had_is_no_failure_of_a_step():
    refused = {"message": "no certificate from https://ca.test/dir", "step": 5, "role": "certificate"}
    hosts = {
        "web1": {**bed.fine(), "state": "failed", "message": refused["message"], "failures": [refused]},
        "web2": {**bed.fine(), "sources": ["certificate"]},
        "web3": bed.fine(),
        "web4": {"state": "failed", "failures": [{**refused, "step": None}]},
        # That the role succeeded makes no bad certificate good, nor one that could not be checked.
        "web5": {"sources": ["certificate"], "findings": [bed.finding("certificate.self_signed", severity="fail")]},
        "web6": {"findings": [bed.finding("certificate.not_checked", severity="unknown")]},
        "web7": {"state": "left_out"},
    }
    report = bed.build(hosts)
    assert [host["certificate"] for host in report["hosts"]] == [
        *("fail", "pass", "not_asked", "unknown", "fail", "unknown", "not_asked")
    ]
    assert [host["failed"] for host in report["hosts"]][:4] == [True, False, False, True]
    head, *lines = text_of(report).splitlines()
    assert head.split()[:8] == ["host", "reach", "updates", "TLS", "HSTS", "CAA", "cert", "grade"]
    assert [line.split()[:8] for line in lines[:4]] == [
        ["web1", "ok", "ok", "ok", "ok", "ok", "FAIL", "A+"],
        ["web2", "ok", "ok", "ok", "ok", "ok", "ok", "A+"],
        ["web3", "ok", "ok", "ok", "ok", "ok", "-", "A+"],
        ["web4", "FAIL", *"------"],
    ]
    assert "no certificate from https://ca.test/dir" in lines[0]
    # Where it fails on no host there is nothing to say of it.
    assert " cert " not in text_of(bed.build({"web2": hosts["web2"], "web3": hosts["web3"]}))


def test_what_is_unknown_is_listed_with_its_hosts():
    """A question mark says why it is one, once for all hosts."""
    unknown = bed.finding("updates.metadata.unknown", "apt", severity="unknown", fix="apt-get update")
    hosts = {f"web{number}": findings(unknown) for number in range(1, 8)}
    hosts["web8"] = bed.fine()
    title = _findings.catalogue()["updates.metadata.unknown"].title
    assert f"\n? web1 web2 web3 web4 web5 and 2 more: {title} (apt-get update)\n" in text_of(
        bed.build(hosts), files=["/srv/index.html"]
    )
    waived = {"id": "updates.metadata.unknown", "reason": "x", "until": "2999-01-01"}
    assert "\n? " not in text_of(bed.build(hosts, waivers=[waived]))


def test_a_line_fits_the_terminal():
    report = bed.build({"x" * 50: findings(bed.finding("caa.none", "y" * 300))})
    shown = text_of(report, 100).splitlines()
    assert max(map(len, shown)) <= 100 and sum("yyy" in line for line in shown) == _scorecard.REASON_LINES
    assert "…" in shown[1 + _scorecard.REASON_LINES - 1]


def test_a_failure_without_words_is_shown_as_one():
    host = bed.build({"web1": {"state": "failed", "failures": [{"step": None, "message": " "}]}})
    assert "web1" in text_of(host, 100) and host["summary"]["failed"] == ["web1"]


def test_reasons_without_a_finding_are_shown():
    host = bed.build({"web1": {"results": [bed.result(grade="A")]}}, minimum_grade="A+")
    assert "1 of 1 endpoint below A+" in text_of(host)


# --- what is given by hand -------------------------------------------------------------------------------------------


def test_hosts_of_the_bed_are_what_the_module_takes():
    for hosts in (bed.fleet(60), bed.hostile(), {"web1": bed.fine()}, {"web1": {}}):
        _gather.check(hosts)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("fine", "hosts.web1: must be a mapping of state, message"),
        ({"grades": []}, "hosts.web1: 'grades' is none of state, message"),
        ({"results": {}}, "hosts.web1.results: must be a list"),
        ({"results": ()}, "hosts.web1.results: must be a list"),
        ({"state": "good"}, "hosts.web1.state: 'good' is none of ok, failed, unreachable, left_out"),
        ({"minimum_grade": "Z"}, "hosts.web1.minimum_grade: 'Z' is none of A+"),
        ({"findings": ["x"]}, "hosts.web1.findings[0]: must be a mapping"),
        ({"findings": [{"id": "caa.none"}]}, "hosts.web1.findings[0]: step is missing"),
        ({"findings": [bed.finding("caa.none", step=9)]}, "hosts.web1.findings[0].step: 9 is none of 1, 2, 3, 4, 5"),
        ({"findings": [bed.finding("caa.none", step=True)]}, "hosts.web1.findings[0].step: True is none of 1, 2"),
        ({"findings": [bed.finding("caa.none", severity="bad")]}, "hosts.web1.findings[0].severity: 'bad' is none of"),
        ({"findings": [bed.finding("caa.none", severity=[])]}, "hosts.web1.findings[0].severity: [] is none of"),
        ({"findings": [bed.finding("caa.none", evidence=None)]}, "hosts.web1.findings[0].evidence: must be text"),
        ({"findings": [bed.finding("caa.none", more={1})]}, "hosts.web1.findings[0]: 'more' is none of id, step"),
        ({"ignore_trust": "yes"}, "hosts.web1.ignore_trust: must be true or false"),
        ({"asked": 1}, "hosts.web1.asked: must be a list"),
        ({"proven": ["all"]}, "hosts.web1.proven[0]: 'all' is none of 1, 2"),
        ({"sources": [[]]}, "hosts.web1.sources[0]: must be text"),
        ({"failures": [{"step": 2}]}, "hosts.web1.failures[0]: message is missing"),
        (
            {"failures": [{"message": "x", "step": "2"}]},
            "hosts.web1.failures[0].step: '2' is none of 1, 2, 3, 4, 5, null",
        ),
        ({"failures": [{"message": "x", "role": 1}]}, "hosts.web1.failures[0].role: must be text or null"),
        ({"results": [bed.result(port="443")]}, "hosts.web1.results[0].port: '443' is none of 0 to 65535"),
        ({"results": [bed.result(port=443.0)]}, "hosts.web1.results[0].port: 443.0 is none of 0 to 65535"),
        ({"results": [bed.result(grade_trust_ignored="Z")]}, "hosts.web1.results[0].grade_trust_ignored: 'Z' is none"),
        ({"results": [bed.result(caps=[{}])]}, "hosts.web1.results[0].caps[0]: id is missing"),
        ({"results": [bed.result(findings={})]}, "hosts.web1.results[0].findings: must be a list"),
        ({"results": [bed.result(certificate=[])]}, "hosts.web1.results[0].certificate: must be a mapping of"),
        (
            {"results": [bed.result(certificate={"others": [{"names": [1]}]})]},
            "hosts.web1.results[0].certificate.others[0].names[0]: must be text",
        ),
        ({"updates": {"support": "full"}}, "hosts.web1.updates.support: must be a mapping of"),
        (
            {"updates": {"support": {"until": datetime.date(2024, 1, 1)}}},
            "hosts.web1.updates.support.until: must be text",
        ),
        ({"updates": {"findings": None}}, "hosts.web1.updates.findings: must be a list"),
        ({"results": [{"grade": "A"}]}, "hosts.web1.results[0]: server_name is missing"),
        ({"updates": {"findings": [3]}}, "hosts.web1.updates.findings[0]: must be a mapping"),
    ],
)
def test_hosts_that_are_not_what_they_have_to_be_are_refused_by_name(given, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        _gather.check({"web1": given})


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ([], "hosts: must be a mapping"),
        ("web1", "hosts: must be a mapping"),
        ({1: {}}, "hosts: the name 1 must be text"),
        ({"web\n1": []}, "hosts.web\\x0a1: must be a mapping of"),
    ],
)
def test_hosts_that_are_no_mapping_of_names_are_refused(hosts, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        _gather.check(hosts)


@pytest.mark.parametrize("certificate", [None, {}, {"sha256": "00"}])
def test_a_certificate_of_which_little_is_known_is_one(certificate):
    given = {"web1": {"results": [bed.result(certificate=certificate)]}}
    _gather.check(given)
    assert len(bed.build(given)["hosts"][0]["certificates"]) == bool(certificate)


def test_what_is_null_in_results_of_modules_is_taken():
    nothing = dict.fromkeys(("grade", "grade_trust_ignored", "error", "score", "trust_unknown"))
    distribution = {"pretty_name": None, "name": "x", "id": None}
    updates = {"support": {"level": "unknown", "until": None}, "distribution": distribution, "findings": []}
    given = {"web1": {"results": [bed.result(**nothing)], "updates": updates}}
    _gather.check(given)
    assert bed.build(given)["hosts"][0]["support"]["distribution"] == "x"


def test_a_name_has_one_line_and_its_policy():
    report = bed.build({"web\n1": {"findings": [bed.finding("caa.none")]}}, fail_on=["info"])
    (entry,) = report["hosts"]
    assert (entry["name"], entry["failed"], entry["policy"]["fail_on"]) == ("web\\x0a1", False, ["info"])
    assert "web\\x0a1" in text_of(report, 100)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_files_are_replaced_whole(tmp_path):
    folder = tmp_path / "new" / "report"
    paths = _files.write(str(folder), {"a.txt": "one", "b.txt": "two"})
    before = os.stat(paths[0]).st_ino
    assert _files.write(str(folder), {"a.txt": "three"}) == paths[:1]
    assert os.stat(paths[0]).st_ino != before, "the file was written into"
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.txt"]
    assert (folder / "a.txt").read_text() == "three"
    mask = os.umask(0)
    os.umask(mask)
    assert os.stat(paths[0]).st_mode & 0o777 == 0o666 & ~mask


def test_when_one_file_cannot_be_written_all_stay_as_they_are(tmp_path, monkeypatch):
    _files.write(str(tmp_path), {"a.txt": "old", "b.txt": "old"})
    calls = []

    def full(_descriptor):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _files.write(str(tmp_path), {"a.txt": "new", "b.txt": "new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old", "b.txt": "old"}


# --- 500 hosts -------------------------------------------------------------------------------------------------------

MEASURE = r"""
import re, sys, time
sys.path[:0] = {paths}
from tests.unit import conftest, report_bed as bed
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build, files as _files
hosts, previous = bed.fleet(500), bed.build(bed.fleet(500))
# As many reports as are remembered, and each other one tells something else of each host.
for entry in previous["hosts"]:
    entry["history"] = [{{**entry["history"][0], "grade": "AB"[at % 2]}} for at in range(_build.HOST_HISTORY)]
began = time.process_time()
texts = _files.render(bed.build(hosts, previous), _files.FORMATS)
_files.write({folder!r}, texts)
seconds = time.process_time() - began
# Not getrusage(2), which counts what the process had been before it ran this program.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) * 1024
print(seconds, len(texts["index.html"].encode()), peak)
"""


@pytest.mark.slow
def test_five_hundred_hosts_are_no_burden(tmp_path):
    """Three seconds of a processor, as others may be busy here; 3 MB of page and 300 MB of memory."""
    code = textwrap.dedent(MEASURE).format(paths=[str(ROOT)], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, size, memory = map(float, done.stdout.split())
    assert seconds <= 3
    assert 500_000 < size <= 3_000_000
    assert memory < 300_000_000


# --- what the roles have left ----------------------------------------------------------------------------------------


def gathered(_expected=(), _active=None, _batch=None, **hosts):
    active, batch = (hosts if given is None else given for given in (_active, _batch))
    return _gather.gather(hosts, _expected, active, batch)


def endpoint(name):
    return {"host": "192.0.2.10", "port": 443, "server_name": name}


def fact(**parts):
    """Variables of a host of which the roles have kept this."""
    return _host_fact.update({}, **parts)


def graded_host(ignore_trust=False, *results):
    wanted = {"grade": "A+", "ignore_trust": ignore_trust, "pending": False, "fail": True}
    return {"wanted": wanted, "results": json.dumps(results), "clients": "{}"}


def test_each_host_gets_its_own_part_of_the_results_for_all():
    graded = {"a": bed.result("a.example"), "b": bed.result("b.example", "B", "tls.protocol.tls10")}
    caa = {
        "results": [
            {"name": "a.example", "verdict": "permitted", "findings": []},
            {"name": "b.example", "verdict": "error", "findings": [bed.finding("caa.lookup.failed", "b.example")]},
        ],
        "findings": [
            bed.finding("caa.lookup.failed", "b.example"),
            bed.finding("caa.dnssec.unverified", "127.0.0.53:53"),
        ],
    }
    hosts = {
        key: {
            **fact(
                verify=graded_host(key == "b", graded[key]),
                caa={"request": {"host": key, "names": [f"{key}.example"]}},
            ),
            "caa_lookups": {"lookups": [{"hosts": ["c"], "failed": True}, {"hosts": ["a", "b"], **caa}]},
        }
        for key in "ab"
    }
    found = gathered(**hosts)
    assert [[one["server_name"] for one in found[key]["results"]] for key in "ab"] == [["a.example"], ["b.example"]]
    assert [found[key]["ignore_trust"] for key in "ab"] == [False, True]
    assert [found[key]["proven"] for key in "ab"] == [[4], []]
    ids = [[item["subject"] for item in found[key]["findings"]] for key in "ab"]
    assert ids == [["127.0.0.53:53"], ["b.example", "127.0.0.53:53"]]
    report = bed.build(found)
    assert [list(host["steps"].values()) for host in report["hosts"]] == [
        ["not_asked", "pass", "pass", "unknown", "pass"],
        ["not_asked", "fail", "pass", "unknown", "fail"],  # a B where an A+ is required
    ]


def test_a_grade_below_what_is_required_fails_its_step():
    hosts = {"web1": {"results": [bed.result(grade="A")]}, "web2": {"results": [bed.result(grade="A+")]}}
    report = bed.build(hosts, minimum_grade="A+")
    assert [host["steps"]["5"] for host in report["hosts"]] == ["fail", "pass"]
    junit = _files.render(report, ["junit"])["junit.xml"]
    assert "the grade A is below what is required" in junit
    assert [host["steps"]["5"] for host in bed.build(hosts, minimum_grade="A")["hosts"]] == ["pass", "pass"]


def test_a_step_that_fails_without_a_finding_has_its_reason_also_in_a_dry_run():
    """Which judges no host, so that no reason is listed."""
    host = {"results": [bed.result(grade="A")], "pending": True}
    report = bed.build({"web1": host}, minimum_grade="A+")
    assert report["hosts"][0]["steps"]["5"] == "fail" and report["hosts"][0]["reasons"] == []
    assert text_of(report, 100).splitlines()[1].endswith("the grade A is below what is required")


def test_a_policy_that_is_off_is_not_green():
    ((text, colour),) = _scorecard.lines(bed.build({"web1": {"asked": [4]}}, fail_on=[]), [])[2]
    assert text.startswith("policy off") and colour is None


def test_every_column_begins_below_its_head():
    report = bed.build({"web1": findings(bed.finding("caa.none", "a.test")), "web2": {"state": "unreachable"}})
    head, *lines = text_of(report).splitlines()
    for column, word in (("reach", "ok"), ("CAA", "FAIL"), ("grade", "A+"), ("fails because", "No CAA records")):
        assert lines[0].index(word, head.index(column)) == head.index(column)


@pytest.mark.parametrize(
    "looked_up",
    [
        {},
        {"caa_lookups": {"lookups": []}},
        {"caa_lookups": {"lookups": [{"hosts": ["web1"], "failed": True, "msg": "no", "record_sets": []}]}},
        {"caa_lookups": {"failed": True, "msg": "no"}},
    ],
)
def test_a_result_without_content_leaves_the_step_unknown(looked_up):
    found = gathered(
        web1={
            **fact(
                host={"updates": {"failed": True, "msg": "no"}, "frontend": {"failed": True}},
                verify=graded_host(),
                caa={"request": {"host": "web1", "names": ["a.example"]}},
            ),
            **looked_up,
        }
    )
    assert set(bed.build(found)["hosts"][0]["steps"].values()) == {"unknown"}


@pytest.mark.parametrize(
    ("more", "subjects"),
    [
        # Other roles query certificates for their issuers. They are in the report where they were inspected.
        ({}, ["vhost"]),
        ({"certificate": {"result": {}}}, ["vhost"]),
        ({"certificate": {"inspected": "found"}}, ["vhost", "certificate"]),
    ],
)
def test_certificates_that_no_role_has_inspected_are_not_in_the_report(more, subjects):
    found = {"results": [{"findings": [bed.finding("certificate.expiring", "certificate")]}]}
    host = {
        "updates": bed.updates(),
        "frontend": {"findings": [bed.finding("frontend.tls.override", "vhost")]},
        "certificates": found,
    }
    if "inspected" in more.get("certificate", {}):
        more = {"certificate": {"inspected": found}}
    given = gathered(web1=fact(host=host, frontend={"changed": False}, **more))["web1"]
    assert sorted(item["subject"] for item in given["findings"]) == sorted(subjects)
    assert sorted(given["asked"]) == [1, 2] and "updates" in given
    # What no tag has chosen was not queried.
    assert gathered(web1=fact(**more))["web1"].get("updates") is None


LOOKED = {"findings": [bed.finding("frontend.tls.override", "vhost")]}
# As a cache of facts has it, from last week.
OLD_FACT = {"run": "0123456789abcdef", "version": _host_fact.VERSION, "host": {"frontend": LOOKED}}


@pytest.mark.parametrize(
    ("variables", "subjects"),
    [
        (fact(host={"frontend": LOOKED}, frontend={"changed": False}), ["vhost"]),
        # A role that only needs names queries it, too. Where something failed it may explain why.
        (fact(host={"frontend": LOOKED}), []),
        (fact(host={"frontend": LOOKED}, failures=[{"step": 2, "message": "no"}]), ["vhost"]),
        (fact(host={"frontend": {"failed": True, "msg": "no"}}, frontend={"changed": False}), []),
        ({"ansible_facts": {"kopano_hardening": OLD_FACT}}, []),
    ],
)
def test_what_this_run_has_found_is_in_the_report(variables, subjects):
    assert [item["subject"] for item in gathered(web1=variables)["web1"]["findings"]] == subjects


CRASH = {"msg": "MemoryError: too many"}
FAILED = {"failed": True, **CRASH}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # As the role inspects them itself, ...
        ({"certificate": {"inspected": CRASH}}, ["certificate"]),
        ({"certificate": {"inspected": FAILED}}, ["certificate"]),
        # ... as they were queried for all roles, ...
        ({"host": {"updates": FAILED}}, ["updates"]),
        # ... also of a host on which no role came to inspect them, ...
        ({"host": {"certificates": FAILED}, "failures": [{"step": 2, "message": "no web server"}]}, ["certificate"]),
        # ... and what was not queried is no crash.
        ({"certificate": {"result": {}}}, []),
        ({"certificate": {"inspected": {"results": []}}, "host": {"certificates": FAILED}}, []),
        ({}, []),
    ],
)
def test_a_check_that_crashed_is_unknown_with_its_reason(parts, expected):
    variables = fact(**parts)
    found = gathered(web1=variables)
    (host,) = bed.build(found)["hosts"]
    findings = [item for item in host["findings"] if item["id"].endswith(".not_checked")]
    assert [item["id"] for item in findings] == [f"{kind}.not_checked" for kind in expected]
    for item in findings:
        assert (item["severity"], item["evidence"]) == ("unknown", "MemoryError: too many")
        step = {"certificate": 5, "updates": 1}[item["id"].partition(".")[0]]
        assert item["step"] == step and host["steps"][str(step)] in ("unknown", "fail")
    # What was not looked at is not gone from the host.
    assert not set(expected) & set(host["sources"])


def test_hosts_that_are_not_there_are_not_forgotten():
    found = gathered(
        ["web1", "web5"],
        ["web1", "web2"],
        web1={},
        web2=fact(unreachable="No route to host", failures=[{"step": 2, "message": "query: No route to host"}]),
        web3={},
        web4=fact(failures=[{"step": 2, "message": "frontend: no"}], host={"updates": bed.updates()}),
    )
    assert {name: given["state"] for name, given in found.items()} == {
        "web1": "ok",
        "web2": "unreachable",
        "web3": "failed",
        "web4": "failed",
        "web5": "left_out",
    }
    report = bed.build(found)
    by_name = {host["name"]: host for host in report["hosts"]}
    assert by_name["web2"]["findings"][0]["evidence"] == "No route to host"
    assert by_name["web4"]["steps"]["1"] == "pass"
    assert by_name["web4"]["steps"]["2"] == "fail"
    # Of web1 nothing was checked.
    assert report["summary"]["failed"] == ["web1", "web2", "web3", "web4"]
    assert by_name["web1"]["reasons"] == ["nothing was checked"]


def test_hosts_of_a_batch_that_has_not_been_run_do_not_fail():
    seen = fact(host={"updates": bed.updates()})
    found = gathered([], ["web1", "web2", "web4"], ["web2", "web4"], web1=seen, web2=seen, web3={}, web4={}, web5={})
    assert {name: given["state"] for name, given in found.items()} == {
        "web1": "ok",
        "web2": "ok",
        "web3": "failed",  # lost
        "web4": "ok",  # of which nothing was checked
        "web5": "failed",
    }
    later = gathered([], ["web1", "web2"], ["web1"], web1=seen, web2={})
    assert later["web2"] == {"state": "left_out", "message": _gather.LATER}
    assert bed.build(later)["summary"]["failed"] == []


def test_hosts_that_pass_with_failures_are_counted():
    """Numbers and words do not contradict each other where the policy is lenient."""
    hosts = {"web1": bed.fine(), "web2": findings(bed.finding("caa.none", "a.test", severity="fail"))}
    report = bed.build(hosts, fail_on=["warn"])
    assert report["summary"]["passed"] == ["web1", "web2"]
    assert "2 of 2 hosts pass, 1 of them with failures that report_fail_on does not count" in text_of(report)
    some = shown_page(report)
    assert "Pass 2 1 with findings that report_fail_on does not count" in some
    off = bed.build(hosts, fail_on=[])
    assert "\npolicy off, 1 finding" in text_of(off) and "pass" not in text_of(off)
    page = shown_page(off)
    assert "Not judged 2 policy off, 1 finding" in page
    assert "pass" not in page.partition("Hosts host reach")[0].lower()
    strict = bed.build(hosts)
    assert "does not count" not in text_of(strict) + _files.render(strict, ["html"])["index.html"]


def options(**given):
    """A host's options of the role, as it has read them."""
    return {"path": "report", "formats": ["all"], "title": "", "scorecard": True, "fail_on": ["fail"],
            "minimum_grade": "", "waivers": [], "fail": True, "expected": [], **given}  # fmt: skip


def test_each_host_has_its_own_policy():
    waiver = {"id": "caa.none", "reason": "January", "until": "2999-01-31"}
    bad = findings(bed.finding("caa.none", "a.test", severity="fail"))
    hosts = dict.fromkeys(("web1", "web2", "web3", "web4"), bad)
    policies = _roles_report.policies(
        {
            "web1": options(),
            "web2": options(waivers=[waiver]),
            "web3": options(fail_on=[], waivers=[waiver]),
            "web4": options(),
        }
    )
    assert policies["web1"] is policies["web4"]
    hosts["web5"] = {"state": "left_out"}
    report = _build.build(hosts, policies, bed.MOMENT)
    assert report["summary"]["failed"] == ["web1", "web4"]
    assert [host["policy"] and host["policy"]["fail_on"] for host in report["hosts"]] == [
        ["fail"], ["fail"], [], ["fail"], None,
    ]  # fmt: skip
    # One waiver for both hosts, which covers a finding of each.
    assert [(one["state"], one["findings"]) for one in report["policy"]["waivers"]] == [("active", 2)]
    assert report["policy"]["fail_on"] == ["fail"]
    page = _files.render(report, ["html"])["index.html"]
    assert "3 hosts (web1, web2, web4): a host fails on fail, and below the grade A+." in page
    assert "1 host (web3): a host fails on no finding, and below the grade A+." in page


@pytest.mark.parametrize("name", ["path", "formats", "title"])
def test_hosts_must_agree_about_the_one_report(name):
    values = {"path": "a", "formats": ["json"], "title": "T"}
    kept = {"web1": options(), "web2": options(), "web3": options(**{name: values[name]})}
    words = f"must be the same on all hosts of the report: it is {values[name]!r} here and {options()[name]!r} on web1"
    assert _roles_report.disagreements(kept) == {"web3": f"report_{name} {words}"}
    assert _roles_report.shared(kept)[name] == options()[name]
    del kept["web3"]
    assert _roles_report.disagreements(kept) == {}


def test_hosts_that_any_host_expects_are_expected():
    kept = {"web1": options(expected=["a", "b"], scorecard=False), "web2": options(expected=["b", "c"])}
    found = _roles_report.shared(kept)
    assert (found["expected"], found["scorecard"]) == (["a", "b", "c"], True)


def test_a_waiver_that_ends_on_a_date_of_yaml_is_kept_as_text():
    waiver = {"id": "caa.none", "reason": "January", "until": datetime.date(2027, 1, 31)}
    kept = _roles_report.kept(options(waivers=[waiver]))
    assert json.loads(json.dumps(kept))["options"]["waivers"][0]["until"] == "2027-01-31"


def test_options_that_are_wrong_are_the_hosts_failure_once():
    wrong = "argument 'report_fail' is of type str"
    found = gathered(
        web1=fact(report={"error": wrong}),
        web2=fact(report={"error": wrong}, failures=[{"step": 2, "message": f"Check the options: {wrong}"}]),
    )
    assert [[one["message"] for one in found[host]["failures"]] for host in found] == [
        [wrong],
        [f"Check the options: {wrong}"],
    ]
    assert {given["state"] for given in found.values()} == {"failed"}


def test_a_host_that_was_restored_is_unknown_and_does_not_fail():
    report = bed.build(gathered(web1=fact(host={}, frontend={"changed": True})))
    (host,) = report["hosts"]
    assert (host["steps"]["2"], host["failed"], host["reasons"]) == ("unknown", False, [])


@pytest.mark.parametrize("fail_on", [["fail"], []])
def test_a_host_of_which_nothing_was_checked_does_not_pass(fail_on):
    """Whatever the policy is: it has nothing to judge."""
    report = bed.build({"a": {"state": "ok"}, "b": {"state": "ok", "asked": [4]}}, fail_on=fail_on)
    assert (report["summary"]["failed"], report["summary"]["passed"]) == (["a"], ["b"])
    shown = ["".join(text for text, _colour in line) for line in _scorecard.lines(report, [])]
    assert "nothing was checked" in shown[1] and "nothing was checked" not in shown[2]
    assert shown[3] == ("1 of 2 hosts passes, 1 failed" if fail_on else "policy off, 0 findings, 1 failed")


def test_nothing_that_was_given_is_changed():
    hosts = bed.fleet(10)
    before = copy.deepcopy(hosts)
    bed.build(hosts)
    assert hosts == before


# --- clients ---------------------------------------------------------------------------------------------------------


def test_the_page_has_a_column_for_hosts_with_the_same_clients():
    all_but_old = {"android-4.1.1": False, "android-9.0": True, "java-8u161": None}
    hosts = {f"web{number}": {**bed.fine(), "clients": all_but_old} for number in range(5)}
    hosts["dirty"] = {**bed.fine(), "clients": {**all_but_old, "android-4.1.1": True}}
    hosts["quick"] = bed.fine()
    report = bed.build(hosts)
    assert {entry["name"]: entry["clients"] for entry in report["hosts"]}["dirty"]["android-4.1.1"] is True
    table = _report_html._clients(report)
    assert table.hosts == [[f"web{number}" for number in range(5)], ["dirty"]]
    assert table.rows == [
        ("Android 4.1.1", "android-4.1.1", ["fail", "pass"]),
        ("Android 9.0", "android-9.0", ["pass", "pass"]),
        ("Java 8u161", "java-8u161", ["unknown", "unknown"]),
    ]
    assert table.refused == 1
    assert "3 simulated clients, of which 1 cannot connect everywhere" in _report_html.render(report)
    assert _report_html._clients(bed.build({"quick": bed.fine()})) is None
    assert "simulated client" not in _report_html.render(bed.build({"quick": bed.fine()}))

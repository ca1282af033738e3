# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role verify: its specification, what it asks of a host, and what it says of the answers."""

from __future__ import annotations

import json
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._tls import rules as _rules
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import gather as _gather
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import action as _action
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

ROLE = Path(__file__).parents[2] / "roles" / "verify"
SPEC = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]

HERE = "192.0.2.10"
GROUPS = ["x25519"]


# --- the specification -----------------------------------------------------------------------------------------------


def test_every_grade_may_be_required():
    assert SPEC["verify_minimum_grade"]["choices"] == list(_rules.GRADES)


def test_an_endpoint_has_the_module_s_options():
    module = yaml.safe_load(tls_grade_info.DOCUMENTATION)["options"]["endpoints"]["suboptions"]
    role = SPEC["verify_endpoints"]["options"]
    assert set(role) == set(module) - {"server_groups", "group"}
    assert {name: entry["type"] for name, entry in role.items()} == {name: module[name]["type"] for name in role}


# --- what is asked ---------------------------------------------------------------------------------------------------


def vhost(**values: t.Any) -> dict[str, t.Any]:
    where = {"file": "/etc/nginx/site", "line": 1, "address": "*", "port": 443}
    found = {"server": "nginx", "names": ["mail.example"], "tls": True, "tls_group": None, **where, **values}
    return {"listen": [{"address": found["address"], "port": found["port"]}], **found}


def asked(*vhosts: dict[str, t.Any], address: str = HERE, more: t.Sequence[t.Any] = (), **servers: bool) -> t.Any:
    running = servers or {"nginx": True}
    known = [{"server": name, "running": runs, "openssl": {"groups": GROUPS}} for name, runs in running.items()]
    return _verify.scope_of({"servers": known, "vhosts": list(vhosts)}, address, more)


def places(found: dict[str, t.Any]) -> list[tuple[str, int, str | None]]:
    return [(entry["host"], entry["port"], entry["server_name"]) for entry in found["endpoints"]]


def test_every_name_is_queried_at_the_inventorys_address():
    found = asked(vhost(names=["mail.example", "*.example", "~^regex$"]), vhost(tls=False, port=80))
    assert places(found) == [(HERE, 443, "mail.example"), (HERE, 443, "probe.example")]
    assert found["inside"] == []
    assert {entry["server_groups"] for entry in found["endpoints"]} == {",".join(GROUPS)}


def test_the_names_of_virtual_hosts_that_are_set_up_in_the_same_way_are_a_group():
    alike = vhost(names=["a.example", "b.example"], tls_group="5f2b"), vhost(names=["c.example"], tls_group="5f2b")
    endpoints = asked(*alike, vhost(names=["d.example"], tls_group="0c1d"), vhost(names=["e.example"]))["endpoints"]
    assert [entry.get("group") for entry in endpoints] == ["5f2b", "5f2b", "5f2b", "0c1d", None]


@pytest.mark.parametrize(
    "names",
    [
        {"names": []},
        {"names": ["_"]},
        {"names": ["some-machine"], "named": False},
        {"names": ["unknown.invalid"]},
        {"names": ["localhost"]},
    ],
)
def test_what_has_no_name_is_queried_without_one(names):
    assert places(asked(vhost(**names))) == [(HERE, 443, None)]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.1", "[::1]"])
def test_the_loopback_is_no_endpoint_from_outside(address):
    found = asked(vhost(address=address), vhost(names=["open.example"]))
    assert places(found) == [(HERE, 443, "open.example")]
    assert found["inside"] == ["mail.example:443"]


def test_one_for_all_addresses_is_queried_where_the_server_listens():
    here = [{"address": HERE, "port": 443}]
    found = asked(vhost(listen=here), vhost(names=["any.example"], port=None, listen=here))
    assert places(found) == [(HERE, 443, "mail.example"), (HERE, 443, "any.example")]
    assert found["own"] == [[HERE], [HERE]]


def test_a_users_own_endpoint_is_queried_on_the_host_where_its_server_listens():
    found = asked(
        vhost(address="[2001:db8::1]"), vhost(address=HERE), vhost(port=8443, address="[::1]"), vhost(port=8443),
        more=[{"port": 443, "server_name": "a.example"}, {"port": 8443}, {"port": 993}, {"host": "b.example"}],
    )  # fmt: skip
    assert found["own"][-4:] == [["2001:db8::1"], ["127.0.0.1"], ["127.0.0.1"], []]


def test_one_for_all_addresses_is_no_endpoint_where_the_server_listens_on_the_loopback():
    found = asked(vhost(listen=[{"address": "127.0.0.1", "port": 443}]), vhost(names=["lost.example"], listen=[]))
    assert (places(found), found["inside"]) == ([], ["mail.example:443"])


def test_own_addresses_are_queried_where_they_are_those_of_the_network():
    bound = [vhost(address=HERE), vhost(address="192.0.2.11", names=["other.example"]), vhost(address="[2001:db8::1]")]
    assert places(asked(*bound)) == [
        (HERE, 443, "mail.example"),
        ("192.0.2.11", 443, "other.example"),
        ("2001:db8::1", 443, "mail.example"),
    ]


def test_behind_translated_addresses_the_inventorys_counts():
    assert places(asked(vhost(address="10.0.0.5"))) == [(HERE, 443, "mail.example")]
    assert places(asked(vhost(address="10.0.0.5"), address="web.example")) == [("web.example", 443, "mail.example")]


def test_a_server_that_is_stopped_does_not_count_beside_one_that_runs():
    both = vhost(), vhost(server="apache", names=["old.example"])
    assert places(asked(*both, apache=False, nginx=True)) == [(HERE, 443, "mail.example")]
    assert places(asked(*both, apache=False, nginx=False)) == [(HERE, 443, "old.example"), (HERE, 443, "mail.example")]


def test_an_endpoint_that_the_user_names_too_is_queried_once_and_as_the_user_names_it():
    more = {"port": 443, "server_name": "mail.example", "addresses": ["192.0.2.99"]}
    assert asked(vhost(), more=[more, more])["endpoints"] == [{"host": HERE, **more}]


def test_the_users_endpoints_are_on_the_host_unless_they_have_another_one():
    found = asked(more=[{"port": 993}, {"host": "mail.example"}])
    assert found["endpoints"] == [{"host": HERE, "port": 993}, {"host": "mail.example"}]


def test_behind_a_proxy_the_virtual_hosts_need_not_count():
    info = {"servers": [{"server": "nginx", "running": True, "openssl": {"groups": []}}], "vhosts": [vhost()]}
    assert _verify.scope_of(info, HERE, [{"host": "proxy.example"}], False)["endpoints"] == [{"host": "proxy.example"}]


# --- what is said ----------------------------------------------------------------------------------------------------

TRUST = {"id": "tls.certificate.untrusted", "grade": "T", "rule": "Not trusted.", "evidence": "self-signed"}
HSTS = {"id": "tls.hsts.absent", "grade": "A", "rule": "A+ needs HSTS.", "evidence": "none"}
OLD = {"id": "tls.protocol.tls10", "grade": "B", "rule": "No TLS 1.0.", "evidence": "TLSv1.0"}


def result(*limits: dict[str, t.Any], name: str | None = "mail.example", **values: t.Any) -> dict[str, t.Any]:
    """What tls_grade_info returns, with as much as is read of it."""
    letters = [limit["grade"] for limit in limits if limit["grade"] in _rules.GRADES]
    ignored = max(letters or ["A+"], key=_rules.GRADES.index)
    beside = [limit["grade"] for limit in limits if limit["grade"] == "T"]
    return {
        "host": HERE,
        "address": HERE,
        "port": 443,
        "server_name": name or HERE,
        "named": name is not None,
        "trust_unknown": None,
        "starttls": "none",
        "grade": [*beside, ignored][0],
        "grade_trust_ignored": ignored,
        "score": 93,
        "caps": [limit for limit in limits if not limit["grade"].startswith("A")],
        "warnings": [limit for limit in limits if limit["grade"].startswith("A")],
        "error": None,
        "hsts": {"status": "present", "reason": None},
        "findings": [{"id": limit["id"], "fix": "mend " + limit["id"]} for limit in limits],
        **values,
    }


def broken(words: str, **values: t.Any) -> dict[str, t.Any]:
    gone = {"grade": None, "grade_trust_ignored": None, "score": None, "error": words}
    return {**result(**values), **gone, "findings": [{"id": "tls.endpoint.error", "fix": "make it reachable"}]}


def wanted(minimum: str = "A+", ignore: bool = False, pending: bool = False, fail: bool = True) -> dict[str, t.Any]:
    return {"grade": minimum, "ignore_trust": ignore, "pending": pending, "fail": fail}


def report(*results: dict[str, t.Any], endpoints: t.Any = None, **more: t.Any) -> t.Any:
    inside = more.pop("inside", [])
    entry = {"host": HERE, "port": 443, "server_name": "mail.example"}
    asked = {"endpoints": endpoints or [entry], "inside": inside}
    return _verify.report(list(results), asked, wanted(**more))


MISSED = "1 of 1 endpoint is below {}"


def test_a_good_endpoint_is_one_line():
    assert report(result()) == {"lines": ["A+  mail.example:443 (192.0.2.10)"], "bad": []}


def test_one_that_misses_has_what_caps_it_and_what_to_do():
    found = report(result(HSTS, OLD))
    assert found["lines"] == [
        MISSED.format("A+"),
        "B   mail.example:443 (192.0.2.10): No TLS 1.0. [TLSv1.0] A+ needs HSTS. [none]",
        "To do: mend tls.hsts.absent",
        "To do: mend tls.protocol.tls10",
    ]
    assert found["bad"] == [MISSED.format("A+")]
    assert report(result(HSTS, OLD), fail=False) == {**found, "bad": []}


def test_what_a_dry_run_would_change_is_not_to_be_fixed():
    found = report(result(HSTS, OLD), pending=True)
    assert len(found["lines"]) == 2 and found["lines"][0].startswith("B   mail.example:443")
    assert found["lines"][1] == "This is the state before hardening; the predicted grades are above."
    assert found["bad"] == []


def todo(found: dict[str, t.Any]) -> list[str]:
    return [line.removeprefix("To do: ") for line in found["lines"] if line.startswith("To do: ")]


def test_only_what_keeps_it_below_the_minimum_is_to_be_fixed():
    assert todo(report(result(HSTS, OLD), minimum="A")) == ["mend tls.protocol.tls10"]
    assert report(result(HSTS), minimum="A")["bad"] == []


def test_trust_counts_unless_it_is_ignored():
    assert report(result(TRUST))["bad"]
    assert todo(report(result(TRUST))) == ["mend tls.certificate.untrusted"]
    assert report(result(TRUST), minimum="F")["bad"]
    assert report(result(TRUST), ignore=True) == {
        "lines": ["A+  mail.example:443 (192.0.2.10), trust ignored (T)"], "bad": [],
    }  # fmt: skip
    assert report(result(TRUST, OLD), ignore=True)["bad"]


def test_no_certificate_could_be_for_what_has_no_name():
    """What the module makes of it is what counts here, and the line says why."""
    nameless = [{"host": HERE, "port": 443, "server_name": None}]
    assert report(result(name=None), endpoints=nameless) == {
        "lines": [f"A+  {HERE}:443, no name: trust and name do not count"], "bad": [],
    }  # fmt: skip
    assert report(result(OLD, name=None), endpoints=nameless)["bad"]


def test_trust_that_is_not_known_is_no_grade():
    """Unless trust is ignored."""
    doubt = {"id": "tls.certificate.trust_unknown", "fix": "configure the chain"}
    unknown = result(grade=None, trust_unknown="x was issued by y", findings=[doubt])
    found = report(unknown)
    assert found["lines"][1:] == [
        "no grade  mail.example:443 (192.0.2.10): whether the certificate is trusted is not known: x was issued by y",
        "To do: configure the chain",
    ]
    assert found["bad"] == [MISSED.format("A+")] and report(unknown, minimum="F")["bad"]
    assert report(unknown, ignore=True) == {
        "lines": ["A+  mail.example:443 (192.0.2.10), trust ignored (not known)"], "bad": [],
    }  # fmt: skip


@pytest.mark.parametrize("minimum", _rules.GRADES)
@pytest.mark.parametrize("ignore", [True, False])
def test_what_has_no_grade_never_passes(minimum, ignore):
    found = report(broken("cannot connect: timed out"), minimum=minimum, ignore=ignore)
    assert found["lines"][1] == "no grade  mail.example:443 (192.0.2.10): cannot connect: timed out"
    assert found["bad"] == [MISSED.format(minimum)] and todo(found) == ["make it reachable"]
    assert report(minimum=minimum, ignore=ignore)["bad"]
    nothing = _verify.report([], {"endpoints": [], "inside": []}, wanted(minimum, ignore))
    assert nothing["bad"] and todo(nothing) == ["Name in verify_endpoints what serves TLS, or leave the host out."]


def test_results_of_other_hosts_do_not_count():
    others = [result(OLD, host="192.0.2.11"), result(OLD, name="other.example"), result(OLD, port=444)]
    assert report(result(), *others)["bad"] == []
    assert report(*others)["lines"][1] == "no grade  mail.example:443 (192.0.2.10): it was not graded"


def test_every_address_of_a_name_counts():
    found = report(result(), result(OLD, address="2001:db8::1"))
    assert found["bad"]
    assert found["lines"][2].startswith("B   mail.example:443 (2001:db8::1): ")


def test_what_is_out_of_reach_is_reported():
    assert report(result(), inside=["admin.example:443"])["lines"][1].startswith("not graded  admin.example:443: ")


def test_names_that_share_a_result_are_one_line():
    """However many there are; those with another result are not hidden among them."""
    names = [f"site{number}.example" for number in range(500)]
    entries = [{"host": HERE, "port": 443, "server_name": name} for name in names]
    results = [result(*([OLD] if name == "site7.example" else [HSTS]), name=name) for name in names]
    found = report(*results, endpoints=entries)
    assert found["lines"] == [
        "500 of 500 endpoints are below A+",
        "A   site0.example:443 (192.0.2.10) and 498 more: A+ needs HSTS. [none]",
        "B   site7.example:443 (192.0.2.10): No TLS 1.0. [TLSv1.0]",
        "To do: mend tls.hsts.absent",
        "To do: mend tls.protocol.tls10",
    ]
    assert report(*results[:3], endpoints=entries[:3], minimum="A")["lines"] == [
        "A   site0.example:443 (192.0.2.10), site1.example:443 (192.0.2.10), site2.example:443 (192.0.2.10): "
        "A+ needs HSTS. [none]"
    ]
    assert report(endpoints=entries)["lines"][1:] == [
        "no grade  site0.example:443 (192.0.2.10) and 499 more: it was not graded"
    ]
    assert report(result(), inside=[f"{name}:443" for name in names])["lines"][1:] == [
        "not graded  site0.example:443 and 499 more: on the loopback, not reachable from outside"
    ]
    foreseen_all = [foreseen("A+", "B", server_name=name) for name in names]
    assert _verify.predicted(foreseen_all) == ["site0.example:443 and 499 more: now B, after hardening A+"]


def test_a_score_below_the_scale_is_a_reason():
    low = result(grade="B", grade_trust_ignored="B", score=70)
    assert report(low)["lines"][1] == "B   mail.example:443 (192.0.2.10): score 70"


def simulated(**verdicts):
    """A result with clients."""
    clients = [
        {"id": ident.replace("_", "-"), "ok": ok, "reason": None if ok else "alert"} for ident, ok in verdicts.items()
    ]
    return {**result(), "clients": clients}


def test_a_client_gets_on_with_a_host_that_serves_it_everywhere():
    results = [simulated(a=True, b=True, c=True, d=None), simulated(a=True, b=False, c=None, d=False)]
    assert _verify.clients_of(results, {}) == {"a": True, "b": False, "c": None, "d": False}
    earlier = {"a": None, "b": True, "e": True}
    assert _verify.clients_of(results, earlier) == {"a": None, "b": False, "c": None, "d": False, "e": True}
    assert _verify.clients_of([{**result(), "clients": []}], {}) == {}


def test_a_required_client_that_is_refused_is_a_finding():
    served = simulated(java_8=True, java_7=False, java_6=None, old=False)
    _verify.require_clients([served], ["java-8", "java-7", "java-6"])
    assert [(item["id"], item["severity"], item["subject"], item["evidence"]) for item in served["findings"]] == [
        ("tls.client.refused", "fail", "mail.example:443", "java-7: alert"),
        ("tls.client.unknown", "unknown", "mail.example:443", "java-6: alert"),
    ]


def test_the_report_has_the_results_that_the_role_keeps():
    kept = {"results": json.dumps([result(HSTS)]), "clients": '{"android-4.4.2": false}', "wanted": wanted()}
    given = _gather.of_host(_host_fact.update({}, verify=kept), True)
    assert given["results"] == [result(HSTS)] and given["minimum_grade"] == "A+"
    assert given["clients"] == {"android-4.4.2": False}


# --- what is to come -------------------------------------------------------------------------------------------------


def foreseen(after: str | None, now: str | None, *limits: dict[str, t.Any], **values: t.Any) -> dict[str, t.Any]:
    earlier = {"grade_trust_ignored": now}
    return {
        "address": "127.0.0.1", "port": 443, "server_name": "mail.example", "grade": "T", "grade_trust_ignored": after,
        "caps": [TRUST, *limits], "warnings": [], "error": None, "now": earlier, **values,
    }  # fmt: skip


def test_a_prediction_has_both_grades_once_for_all_addresses():
    both = [foreseen("A+", "B"), foreseen("A+", "B", address="::1"), foreseen("A+", "B", server_name=None)]
    both.append(foreseen("A+", "B", server_name="unknown.invalid"))
    both.append({**foreseen("A+", None, address="::2"), "now": None})
    assert _verify.predicted(both) == [
        "mail.example:443, (no name):443: now B, after hardening A+",
    ]


def test_a_prediction_has_what_is_still_missing():
    assert _verify.predicted([foreseen("B", "B", OLD)]) == ["mail.example:443: now B, after hardening B: No TLS 1.0."]
    assert _verify.predicted([foreseen(None, None, error="refused")]) == [
        "mail.example:443: now no grade, after hardening no grade: refused"
    ]
    assert _verify.predicted([{**foreseen("A+", None), "now": None}]) == [
        "mail.example:443: not there now, after hardening A+"
    ]


# --- may a change stay -----------------------------------------------------------------------------------------------


def test_a_change_may_stay_when_all_can_be_reached():
    assert _verify.unreachable([result(TRUST, OLD)], []) == []


def test_a_change_may_not_stay_that_cannot_be_reached():
    silent = result(hsts={"status": "error", "reason": "timed out"})
    assert _verify.unreachable([result(), broken("cannot connect: timed out"), silent], []) == [
        "mail.example:443 (192.0.2.10): cannot connect: timed out",
        "mail.example:443 (192.0.2.10): no response to a request: timed out",
    ]


def test_an_f_from_outside_counts_unless_the_host_is_one_by_itself():
    weak = {"id": "tls.certificate.key_very_weak", "grade": "F", "rule": "Broken key.", "evidence": "RSA 512"}
    assert _verify.unreachable([result(weak)], [foreseen("A+", "B")]) == [
        "mail.example:443 (192.0.2.10): it is an F from here: Broken key."
    ]
    assert _verify.unreachable([result(weak)], [foreseen("F", "F")]) == []


def test_what_listens_on_the_loopback_only_is_out_of_reach():
    targets = [{"port": port, "outside": True} for port in (443, 444, 445)]
    _probes.mark_inside(targets, {("127.0.0.1", 443), ("127.0.0.1", 444), ("0.0.0.0", 444)})
    assert [target["outside"] for target in targets] == [False, True, True]


@pytest.mark.parametrize(("earlier", "calls"), [({}, 0), ({"verify": {}}, 1)])
def test_the_host_is_queried_again_where_the_role_is_called_again(earlier, calls):
    """What other roles have seen counts. What this one has seen may be from before a change."""
    queried = []

    class Action(_action.RoleAction):
        ROLE = "verify"

        def __init__(self):
            """Without what Ansible would bring."""
            self._task = types.SimpleNamespace(check_mode=False)

        def _execute_module(self, name, module_args, task_vars):
            queried.append((name, module_args))
            return {"frontend": {"servers": ["now"]}}

    parts = {"host": {"frontend": {"servers": ["earlier"]}}, "play": "Harden", **earlier}
    variables = {"ansible_play_name": "Harden", **_host_fact.update({}, **parts)}
    known = Action().query(variables, "frontend")
    assert known["frontend"]["servers"] == (["now"] if calls else ["earlier"])
    assert queried == [("kopano.hardening.host_info", {"frontend": {"server": "auto", "clients": False}})] * calls


OPTIONS = {"timeout": 10, "concurrency": 32, "endpoints": [], "ca_file": "", "frontend_clients_required": []}


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({}, []),
        ({"ca_file": __file__, "endpoints": [{"host": "a.test"}, {"port": 993}]}, []),
        (
            {"timeout": 0, "concurrency": -1},
            ["verify_timeout: 0 is less than 1", "verify_concurrency: -1 is less than 1"],
        ),
        ({"endpoints": [{}, {"port": 70000}]}, ["verify_endpoints[1].port: 70000 is not a port"]),
        ({"ca_file": "/a\0b"}, ["verify_ca_file: '/a\\x00b' is no path"]),
        (
            {"ca_file": "/nowhere.pem"},
            ["verify_ca_file: '/nowhere.pem' cannot be read on the controller: No such file or directory"],
        ),
        ({"frontend_clients_required": ["android-9.0"]}, []),
        # An id that is not known would never be refused by an endpoint.
        (
            {"frontend_clients_required": ["zzz"]},
            ["frontend_clients_required: 'zzz' is no client that is known here"],
        ),
    ],
)
def test_options_that_cannot_work_are_refused_by_name_and_value(changes, errors):
    assert _verify.option_errors({**OPTIONS, **changes}) == errors

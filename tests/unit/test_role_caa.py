# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role caa: its specification, what it asks, and what it makes of the answer."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.modules import caa_info, caa_publish
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa

from .role_frontend import host, vhost

ROLE = Path(__file__).parents[2] / "roles" / "caa"


def load(name):
    return yaml.safe_load((ROLE / name).read_text())


DEFAULTS = load("defaults/main.yml")
SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
LE = "letsencrypt.org"


def options(**changes):
    """The role's options as its action reads them, and what that knows beside them."""
    values = {name.removeprefix("caa_"): copy.deepcopy(value) for name, value in DEFAULTS.items()}
    values.update(server_names=[], host="mail1")
    assert set(changes) <= set(values)
    return {**values, **changes}


def info(*vhosts):
    return {**host("nginx", "debian"), "vhosts": list(vhosts)}


def mail(**values):
    return vhost("nginx", **{"names": ["mail.example.com"], "certificate": "/c.pem", **values})


def read(path, text):
    return {"path": path, "chain": [{"pem": text}] if text else []}


def result(name, verdict="permitted", *findings, found_at="example.com", error=None):
    return {
        "name": name,
        "found_at": found_at,
        "dnssec": "secure",
        "verdict": verdict,
        "error": error,
        "findings": list(findings),
    }


def finding(name, severity, subject, evidence="", fix="x. IN CAA 0 issue"):
    return {"id": name, "severity": severity, "subject": subject, "message": "Words.", "evidence": evidence, "fix": fix}


def record_set(name, *names, complete=True, changed=True):
    current, lines = [], f'{name}. IN CAA 0 issue "{LE}"'
    wanted = [f'0 issue "{LE}"'] if changed and complete else []
    return {
        "name": name,
        "zone": name,
        "names": list(names),
        "current": current,
        "wanted": wanted,
        "records": [{"flags": 0, "tag": "issue", "value": LE}] if wanted else [],
        "complete": complete,
        "lines": lines,
    }


def answer(*results, sets=(), more=()):
    findings = [item for entry in results for item in entry["findings"]]
    return {"results": list(results), "record_sets": list(sets), "findings": [*findings, *more]}


# --- the options -----------------------------------------------------------------------------------------------------


def test_options_are_those_of_the_modules():
    """Every option of the two modules can be reached, and has the same default."""
    for name, spec in caa_info.ARGUMENTS.items():
        if name not in ("names", "certificates", "expect", "concurrency"):
            assert DEFAULTS[f"caa_{name}"] == (spec.get("default") or DEFAULTS[f"caa_{name}"].__class__()), name
    for name, spec in caa_publish.ARGUMENTS.items():
        if name not in ("name", "records", "replaces", "nameservers", "timeout"):
            assert DEFAULTS[f"caa_publish_{name}"] == spec.get("default", ""), name
    assert SPEC["caa_publish_key_algorithm"]["choices"] == caa_publish.ARGUMENTS["key_algorithm"]["choices"]


def test_the_secret_is_never_shown():
    bad = options(publish=True, publish_server="nowhere", publish_key_secret="c2VjcmV0", timeout=0)
    assert "c2VjcmV0" not in " ".join(_roles_caa.option_errors(bad))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "Let's Encrypt"}, ["caa_issuer", "Let's Encrypt"]),
        ({"account_uri": "a b"}, ["caa_account_uri", "a b"]),
        ({"validation_method": "http_01"}, ["caa_validation_method", "http_01"]),
        ({"nameservers": ["192.0.2.1", "ns.example"]}, ["caa_nameservers", "ns.example"]),
        ({"timeout": 0}, ["caa_timeout", "0"]),
        ({"publish_wait": -1}, ["caa_publish_wait", "-1"]),
        ({"publish_ttl": -1}, ["caa_publish_ttl", "-1"]),
        ({"publish": True, "publish_key_name": "k", "publish_key_secret": "s"}, ["caa_publish_server"]),
        ({"publish": True, "publish_server": "::1", "publish_key_name": "k"}, ["caa_publish_key_secret"]),
        ({"publish": True, "publish_server": "::1", "publish_key_secret": "s"}, ["caa_publish_key_name"]),
    ],
)
def test_a_bad_option_is_refused_by_name_and_value(changes, words):
    (error,) = _roles_caa.option_errors(options(**changes))
    assert all(word in error for word in words)


def test_good_options_are_taken():
    assert _roles_caa.option_errors(options()) == []
    assert _roles_caa.option_errors(options(issuer=LE, nameservers=["192.0.2.1", "[::1]:53"], timeout=7)) == []


# --- what to ask -----------------------------------------------------------------------------------------------------


def test_names_are_those_of_tls_virtual_hosts_of_the_options_and_of_a_site_to_come():
    served = info(
        mail(names=["mail.example.com", "_", "Mail.Example.com", "~^www"]),
        mail(names=["www.example.com", "localhost", "unknown.invalid"]),
        mail(names=["plain.example.com"], tls=False),
        mail(names=["srv1.example.com"], named=False),
    )
    wish = _roles_caa.request_of(served, [], options(names=["example.com"], server_names=["webapp.example.com"]))
    assert wish["names"] == ["mail.example.com", "~^www", "webapp.example.com", "example.com"]
    # What is no host name is asked for, so that somebody hears of it, and nothing is expected of it.
    assert set(wish["expect"]) == {"mail.example.com", "webapp.example.com", "example.com"}
    assert "www.example.com" in _roles_caa.request_of(served, [], options(names_off=[]))["names"]


def test_the_ca_is_that_of_the_certificate_unless_one_is_named():
    served = info(mail(), mail(names=["old.example.com"], certificate="/old.pem"), mail(names=["x.example.com"]))
    files = [read("/c.pem", "NEW"), read("/old.pem", "")]
    wish = _roles_caa.request_of(served, files, options(names=["example.com", "a..b"]))
    assert wish["certificates"] == {
        "mail.example.com": "NEW",
        "old.example.com": "",  # cannot be read, which is said
        "x.example.com": "NEW",
        "example.com": "NEW",
    }
    assert wish["expect"]["mail.example.com"]["issuer"] is None
    named = _roles_caa.request_of(served, files, options(issuer=LE, wildcard=True))
    assert named["certificates"] == {}
    assert named["expect"]["mail.example.com"] == {
        "issuer": LE,
        "account_uri": None,
        "validation_method": None,
        "wildcard": True,
    }


def test_a_host_without_tls_has_only_its_own_names_and_no_certificate():
    wish = _roles_caa.request_of(info(), [], options(names=["example.com"]))
    assert (wish["names"], wish["certificates"]) == (["example.com"], {})


def test_hosts_with_the_same_options_share_a_lookup():
    requests = [
        _roles_caa.request_of(info(mail()), [read("/c.pem", "ONE")], options(names=["example.com"])),
        _roles_caa.request_of(info(mail(names=["MAIL.example.com."])), [read("/c.pem", "TWO")], options(host="mail2")),
        _roles_caa.request_of(info(mail(names=["b.example.com"])), [], options(host="mail3", issuer=LE)),
    ]
    (group,) = _roles_caa.groups(requests)
    assert group["hosts"] == ["mail1", "mail2", "mail3"]
    assert group["names"] == ["mail.example.com", "example.com", "b.example.com"]
    assert group["certificates"] == {"mail.example.com": "ONE", "example.com": "ONE"}
    assert {name: entry["issuer"] for name, entry in group["expect"].items()} == {
        "mail.example.com": None,
        "example.com": None,
        "b.example.com": LE,
    }
    caa_info.check({**{name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}, **group})
    for request in requests:
        assert _roles_caa.lookup_for(request["host"], [group]) == group


def test_two_hosts_may_expect_different_things_of_a_name():
    requests = [
        _roles_caa.request_of(info(mail()), [], options(host=name, issuer=ca))
        for name, ca in (("a", LE), ("b", ""), ("c", LE))
    ]
    groups = _roles_caa.groups(requests)
    assert [group["hosts"] for group in groups] == [["a", "c"], ["b"]]
    assert [group["expect"]["mail.example.com"]["issuer"] for group in groups] == [LE, None]


@pytest.mark.parametrize(
    ("theirs", "more", "differing"),
    [
        ("mail.example.com", {"issuer": "digicert.com"}, "caa_issuer"),
        # Of the same zone: what one publishes decides about the other one as well, also if that publishes nothing.
        ("Other.example.com.", {"timeout": 9}, "caa_timeout"),
        ("other.example.com", {"publish": False}, "caa_publish"),
        ("mail.example.net", {"timeout": 9}, None),
    ],
)
def test_a_set_that_decides_about_hosts_with_other_options_is_withheld(theirs, more, differing):
    ours = _roles_caa.request_of(info(mail()), [], options(host="a", issuer=LE, publish=True))
    other = _roles_caa.request_of(info(mail(names=[theirs])), [], options(**{"host": "b", "publish": True, **more}))
    groups = _roles_caa.groups([ours, other])
    sets = [record_set("example.com", "mail.example.com")]
    _roles_caa.withhold(groups[0], groups, sets)
    reason = f"b has names there as well, and other options than a: {differing}"
    assert sets[0].get("withheld") == (reason if differing else None)
    bad = report(answer(result("mail.example.com"), sets=sets), "mail.example.com", publish=True)["bad"]
    assert bad == [f"example.com: {reason if differing else 'no result of publishing it is known'}"]


@pytest.mark.parametrize("name", _roles_caa.SHARED)
def test_each_option_of_a_lookup_counts_for_its_own_host(name):
    other = not DEFAULTS[f"caa_{name}"] if isinstance(DEFAULTS[f"caa_{name}"], bool) else f"another {name}"
    publish = {"publish": True} if name.startswith("publish_") else {}
    requests = [
        _roles_caa.request_of(info(mail()), [], options(**publish)),
        _roles_caa.request_of(info(mail()), [], options(host="mail2", **publish, **{name: other})),
        _roles_caa.request_of(info(mail()), [], options(host="mail3", **publish)),
    ]
    groups = _roles_caa.groups(requests)
    assert [group["hosts"] for group in groups] == [["mail1", "mail3"], ["mail2"]]
    assert [group["shared"][name] for group in groups] == [DEFAULTS[f"caa_{name}"], other]


def test_where_nothing_is_published_the_options_of_publishing_do_not_count():
    requests = [
        _roles_caa.request_of(info(mail()), [], options(host="mail1", publish_server="192.0.2.1")),
        _roles_caa.request_of(info(mail()), [], options(host="mail2", publish_server="192.0.2.2", publish_ttl=9)),
    ]
    assert [group["hosts"] for group in _roles_caa.groups(requests)] == [["mail1", "mail2"]]


def test_the_secret_is_kept_nowhere():
    request = _roles_caa.request_of(info(), [], options(publish=True, publish_key_secret="c2VjcmV0"))
    assert "c2VjcmV0" not in repr(_roles_caa.groups([request]))


# --- what the answer says --------------------------------------------------------------------------------------------


def report(found, *names, publish=False, published=()):
    return _roles_caa.report(found, {"names": list(names)}, publish, published, must_permit=True)


def test_a_host_gets_the_lines_of_its_own_names_and_unknown_is_reported_as_unknown():
    found = answer(
        result("a.example.com", "error", error="192.0.2.1 does not respond"),
        result("b.example.com", "permitted", finding("caa.iodef.none", "info", "example.com")),
        result("c.example.com"),
        result("d.example.com", "not_applicable", finding("caa.not_applicable", "info", "d.example.com")),
        result("other.example.net", "forbidden"),
        more=[finding("caa.dnssec.unverified", "unknown", "192.0.2.1", fix="Use another.")],
    )
    said = report(found, "A.example.com.", "b.example.com", "c.example.com", "d.example.com")
    assert said["lines"] == [
        "unknown: a.example.com (192.0.2.1 does not respond)",
        "permitted: b.example.com c.example.com (records at example.com, DNSSEC secure)",
        "not applicable: d.example.com (the certificate comes from a private CA)",
        "unknown: caa.dnssec.unverified (192.0.2.1): Words.",
        "  fix: Use another.",
        "info: caa.iodef.none (example.com): Words.",
    ]
    assert said["bad"] == []


def test_findings_come_once_for_all_that_they_are_about_and_the_worst_first():
    names = ["a.example.com", "b.example.com"]
    found = answer(
        *(
            result(
                name,
                "forbidden",
                finding("caa.iodef.none", "info", "example.com"),
                finding("caa.forbidden", "fail", name, "CA:\nline ; why"),
            )
            for name in names
        )
    )
    said = report(found, *names)
    assert said["lines"][1:] == [
        "fail: caa.forbidden (a.example.com b.example.com): Words. [CA: line ; why]",
        "info: caa.iodef.none (example.com): Words.",
    ]
    assert said["bad"] == ["forbidden: a.example.com", "forbidden: b.example.com"]
    assert _roles_caa.report(found, {"names": names})["bad"] == []


def test_what_was_reported_already_is_not_repeated():
    words = "SERVFAIL; EDE 6"
    bogus = finding("caa.dnssec.bogus", "fail", "a.example.com", words, "Repair it.")
    said = report(answer(result("a.example.com", "forbidden", bogus, error=words)), "a.example.com")
    assert " ".join(said["lines"]).count(words) == 1
    assert said["lines"][1].endswith("Words.") and said["lines"][2] == "  fix: Repair it."


def test_names_with_the_same_trouble_share_a_line():
    names = ("a.example.com", "B.example.com")
    words = "192.0.2.1 returns SERVFAIL for {}; EDE 6"
    found = answer(*(result(name, "forbidden", error=words.format(name.lower())) for name in names))
    assert report(found, *names)["lines"] == [
        "forbidden: a.example.com B.example.com (192.0.2.1 returns SERVFAIL; EDE 6)"
    ]


def test_a_host_without_names_reports_that():
    assert report(answer(), *())["lines"] == ["no names to check"]


def published(entry, *states, **values):
    """A result of publishing a record set: by default it is new, and every name server has it."""
    servers = [{"server": f"ns{number}", "state": state, "fault": ""} for number, state in enumerate(states)]
    return {"item": entry, "changed": True, "records": entry["wanted"], "servers": servers, **values}


def test_what_is_new_is_told_with_the_verdict_from_before_and_what_was_refused_fails_its_hosts():
    ours, theirs = record_set("example.com", "a.example.com"), record_set("example.net", "a.example.net")
    found = answer(result("a.example.com"), result("a.example.net", "forbidden"), sets=[ours, theirs])
    found["before"] = {"a.example.com": "forbidden", "a.example.net": "forbidden"}
    done = published(ours, "published", "published")
    refused = {"item": theirs, "changed": False, "failed": True, "msg": "refused"}
    said = report(found, "a.example.com", publish=True, published=[done, refused])
    assert said["bad"] == []
    assert said["lines"] == ["permitted: a.example.com (records at example.com, DNSSEC secure)"]
    assert said["outcome"] == ["published: example.com (2 of 2 name servers have it); before: forbidden: a.example.com"]
    said = report(found, "a.example.net", publish=True, published=[done, refused])
    assert said["bad"] == ["example.net: refused", "forbidden: a.example.net"]
    assert said["lines"][-1] == "not published: example.net: refused"


def test_a_name_that_is_forbidden_after_publishing_fails_its_host():
    ours = record_set("example.com", "a.example.com")
    found = answer(result("a.example.com", "forbidden"), sets=[ours])
    said = report(found, "a.example.com", publish=True, published=[published(ours, "published")])
    assert said["bad"] == ["forbidden: a.example.com"]


def test_a_dry_run_does_not_fail_for_what_it_would_publish():
    ours = record_set("example.com", "a.example.com")
    found = answer(result("a.example.com", "forbidden"), sets=[ours])
    said = report(found, "a.example.com", publish=True, published=[published(ours)])
    assert said["bad"] == []
    assert said["outcome"] == ["would be published: example.com"]


# --- after publishing ------------------------------------------------------------------------------------------------

LATE = "after 60 s other records for example.com still come from ns2"


@pytest.mark.parametrize(
    ("current", "done", "reason"),
    [
        ("wanted", ["published"], None),
        ("before", ["published"], _roles_caa.STALE),
        # A name server that is behind; the resolver may have found either.
        ("wanted", ["published", "different", {"failed": True, "msg": LATE}], LATE),
        ("wanted", [{"failed": True, "msg": LATE}], LATE),
        # Published by an earlier run.
        ("before", ["published", {"changed": False}], _roles_caa.STALE),
        # Behind for longer than the run: that is wrong, and told as it was found.
        ("wanted", ["published", "different", {"changed": False, "failed": True, "msg": LATE}], None),
        ("before", [{"changed": False, "failed": True, "msg": "refused", "servers": None}], None),
        ("before", [], None),  # check mode
    ],
)
def test_what_is_published_and_not_seen_yet_is_unknown(current, done, reason):
    wanted = record_set("example.com", "A.example.com")
    states = [one for one in done if isinstance(one, str)]
    values = next((one for one in done if isinstance(one, dict)), {})
    entry = published(wanted, *states, **values)
    if entry["servers"] is None:
        del entry["servers"]
    none = finding("caa.none", "fail", "A.example.com")
    other = finding("caa.none", "fail", "b.example.net")
    resolver = finding("caa.dnssec.unverified", "unknown", "192.0.2.1")
    now = {**wanted, "current": wanted["wanted"] if current == "wanted" else wanted["current"]}
    found = answer(
        result("A.example.com", "unrestricted", none), result("b.example.net", "unrestricted", other),
        sets=[now], more=[resolver],
    )  # fmt: skip
    _roles_caa.settle(found, [entry])
    first, second = found["results"]
    assert (second["verdict"], second["findings"]) == ("unrestricted", [other])
    if reason is None:
        assert (first["verdict"], first["error"], first["findings"]) == ("unrestricted", None, [none])
        assert found["findings"] == [none, other, resolver]
    else:
        assert (first["verdict"], first["error"]) == ("error", reason)
        (pending,) = first["findings"]
        assert [pending[key] for key in ("id", "severity", "evidence")] == ["caa.publish.pending", "unknown", reason]
        assert found["findings"] == [pending, other, resolver]


def test_what_is_new_does_not_hide_that_dnssec_fails():
    wanted = record_set("example.com", "a.example.com")
    bogus = finding("caa.dnssec.bogus", "fail", "a.example.com", "SERVFAIL")
    found = answer(result("a.example.com", "forbidden", bogus, error="SERVFAIL"))
    _roles_caa.settle(found, [published(wanted, "published")])
    assert (found["results"][0]["verdict"], found["findings"]) == ("forbidden", [bogus])


def test_a_set_that_lacks_a_ca_is_not_published_and_fails_the_host_that_requires_it():
    found = answer(result("a.example.com", "unrestricted"), sets=[record_set("example.com", complete=False)])
    assert report(found, "a.example.com")["bad"] == []
    (words,) = report(found, "a.example.com", publish=True)["bad"]
    assert "caa_issuer" in words
    assert report(found, "a.example.net", publish=True)["bad"] == []


def test_many_names_and_many_zones_are_no_more_lines_than_a_few():
    names = [f"mail.site{number}.example" for number in range(500)]
    sets = [record_set(f"site{number}.example") for number in range(500)]
    said = report(answer(*(result(name, "forbidden") for name in names), sets=sets), *names)
    heading = said["lines"].index("lines for the zone files:")
    assert said["lines"][0].startswith("forbidden: mail.site0.example and 499 more (")
    assert said["lines"][heading + 1 :] == [
        *(f'site{number}.example. IN CAA 0 issue "{LE}"' for number in range(_roles_caa.PLACES_SHOWN)),
        "; those for 490 more places are in the report",
    ]
    assert said["bad"] == ["forbidden: mail.site0.example and 499 more"]


def test_a_host_gets_the_zone_lines_of_sets_that_are_not_complete():
    sets = [record_set("a.example"), record_set("b.example", changed=False), record_set("c.example", complete=False)]
    found = answer(*(result(f"mail.{name}.example") for name in "abc"), sets=sets)
    said = report(found, "mail.a.example", "mail.b.example")["lines"]
    assert said[1:] == ["lines for the zone files:", f'a.example. IN CAA 0 issue "{LE}"']
    assert report(found, "mail.b.example")["lines"][1:] == []
    assert report(found, "mail.c.example")["lines"][-1].startswith("c.example. IN CAA")
    # What was to be published and was not is reported as that.
    (line,) = report(found, "mail.a.example", publish=True)["lines"][1:]
    assert line == "not published: a.example: no result of publishing it is known"

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings and their fixes: what the zone-file lines say has to heal what they were found for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._caa import catalogue as _caa_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._caa import findings as _caa_findings
from ansible_collections.kopano.hardening.plugins.module_utils._caa import issuers as _issuers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.findings import Case, Claim
from ansible_collections.kopano.hardening.plugins.module_utils._caa.lookup import (
    Comparison,
    Level,
    Lookup,
    Problem,
    Survey,
    Zone,
)
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Property, Request

pytestmark = pytest.mark.slow

rdata = pytest.importorskip("dns.rdata", reason="dnspython is not installed")

LE = "letsencrypt.org"
ZONE = Zone("kopano.test", "dns@kopano.test")
BOULDER = Request((LE,), literal=True)


def record(text):
    """A property from its text in a zone file."""
    data = rdata.from_text("IN", "CAA", text)
    return Property(data.flags, data.tag.decode(), data.value)


def lookup(name, records=(), found_at=None, zone=ZONE, problem=None):
    """A climb that found these records at that place."""
    levels = [Level(name, name, (), None)] if found_at != name else []
    if records:
        levels.append(Level(found_at, found_at, tuple(records), None))
    return Lookup(name, levels, problem, "secure", zone, zone)


def case(looked_up, request=BOULDER, expected=True, **more):
    issuer = "Let's Encrypt" if request.domains else ""
    claim = Claim(issuer, request, _records.evaluate(looked_up.records, request))
    return Case(looked_up.name, looked_up, claim, None if expected else claim, expected=expected, **more)


def findings(*cases, related=(), comparisons=()):
    """What is found about the first of the cases."""
    lookups = {looked_up.name: looked_up for looked_up in (*related, *(case.lookup for case in cases))}
    survey = Survey(lookups, {comparison.zone.name: comparison for comparison in comparisons}, ())
    return {item["id"]: item for item in _caa_findings.of_cases(cases, survey)[0]}


def apply(records, fixes):
    """The record set after an administrator did what the fixes say."""
    result = set(records)
    for line in "\n".join(fixes).splitlines():
        if line.startswith("; remove "):
            result.discard(record(line.partition(" IN CAA ")[2]))
        elif not line.startswith(";"):
            result.add(record(line.partition(" IN CAA ")[2]))
    return tuple(sorted(result))


VALUES = st.sampled_from(
    [
        LE,
        LE.upper(),
        f"{LE}; accounturi=https://a.example/1",
        f"{LE}; validationmethods=dns-01",
        f"{LE}; accounturi=a; accounturi=a",
        "CA.example",
        "ca.example",
        ";",
        "",
        "%%",
        "mailto:a@kopano.test",
        "ftp://kopano.test/",
    ]
).map(str.encode)
TAGS = st.sampled_from(["issue", "issuewild", "iodef", "Issue", "issuemail", "contactemail", "contactphone", "tbs"])
RECORDS = st.lists(st.builds(Property, st.sampled_from([0, 1, 2, 128, 129]), TAGS, VALUES), max_size=5)


@settings(max_examples=500, deadline=None)
@given(RECORDS, st.booleans(), st.sampled_from(["", "https://a.example/1"]), st.sampled_from(["", "http-01"]))
def test_the_fixes_heal_every_record_set(records, wildcard, account, method):
    request = BOULDER._replace(wildcard=wildcard, account_uri=account, validation_method=method)
    place = "kopano.test"

    def found(records):
        return _caa_findings.of_cases([case(lookup(place, records, place), request)], Survey({}, {}, ()))[0]

    healed = tuple(records)
    for _run in range(2):  # a critical record hides what else keeps the CA away
        healed = apply(healed, [item["fix"] for item in found(healed) if item["severity"] in ("fail", "warn")])
    assert _records.evaluate(healed, request).verdict == _records.PERMITTED
    rest = found(healed)
    assert {item["severity"] for item in rest} <= {"info", "unknown"}
    # And who follows the advice that is only information does not lose the permission.
    advice = [item["fix"] for item in rest if item["severity"] == "info"]
    assert _records.evaluate(apply(healed, advice), request).verdict == _records.PERMITTED


def test_a_zone_without_records_gets_a_set_for_all_that_is_in_it():
    other = Request(("digicert.com", "www.digicert.com"))
    cases = [case(lookup("webmail.kopano.test")), case(lookup("meet.kopano.test"), other), case(lookup("kopano.test"))]
    fixes = {findings(*cases[start:], *cases[:start])["caa.none"]["fix"] for start in range(3)}
    assert fixes == {
        'kopano.test. IN CAA 0 issue "digicert.com"\n'
        'kopano.test. IN CAA 0 issue "letsencrypt.org"\n'
        'kopano.test. IN CAA 0 issuewild ";"\n'
        'kopano.test. IN CAA 0 iodef "mailto:dns@kopano.test"'
    }


def test_no_wildcard_certificate_is_shut_out_by_a_proposal():
    wild = case(lookup("b.kopano.test"), BOULDER._replace(wildcard=True))
    assert "issuewild" not in findings(case(lookup("a.kopano.test")), wild)["caa.none"]["fix"]
    records = [record(f'0 issue "{LE}"')]
    wild = case(lookup("b.kopano.test", records, "kopano.test"), BOULDER._replace(wildcard=True))
    plain = case(lookup("a.kopano.test", records, "kopano.test"))
    assert "caa.wildcard.unrestricted" in findings(plain)
    assert "caa.wildcard.unrestricted" not in findings(plain, wild)


def test_no_ca_is_invented_where_it_is_not_known():
    fix = findings(case(lookup("a.kopano.test"), Request()))["caa.none"]["fix"]
    assert next(line for line in fix.splitlines() if " issue " in line).startswith("; kopano.test. IN CAA 0 issue")
    assert apply([], [fix])  # the other lines can be used


@pytest.mark.parametrize("zone", [Zone("test", "x@nic.test"), None])
def test_records_are_never_proposed_for_a_registry(zone):
    fix = findings(case(lookup("absent.test", zone=zone)))["caa.none"]["fix"]
    assert all(line.startswith("absent.test. IN CAA") for line in fix.splitlines())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('0 issue "digicert.com"', {"caa.forbidden"}),
        ('0 issue ";"', {"caa.forbidden"}),
        ('0 issuewild ";"', {"caa.issue.none"}),
        ('0 issue "LetsEncrypt.org"', {"caa.forbidden", "caa.domain.uppercase"}),
        ('0 issue "letsencrypt.org;;"', {"caa.forbidden", "caa.value.malformed"}),
        ('128 contactemail "a@kopano.test"', {"caa.critical"}),
        ('129 contactemail "a@kopano.test"', {"caa.critical"}),
        ('64 issue "letsencrypt.org"', {"caa.flags.unknown"}),
        ('0 issue "letsencrypt.org; accounturi=a"', {"caa.terms.unchecked"}),
        ('0 iodef "kopano.test"', {"caa.iodef.invalid", "caa.issue.none"}),
    ],
)
def test_what_is_found_in_a_record(text, expected):
    found = findings(case(lookup("kopano.test", [record(text)], "kopano.test")))
    assert set(found) - {"caa.iodef.none", "caa.wildcard.unrestricted"} == expected


def test_terms_do_not_matter_where_another_record_has_none():
    records = [record(f'0 issue "{LE}; accounturi=a"'), record(f'128 issue "{LE}"')]
    assert "caa.terms.unchecked" not in findings(case(lookup("kopano.test", records, "kopano.test")))


def test_contact_that_blocks_is_published_without_its_flag():
    records = [record('128 contactemail "a@kopano.test"'), record(f'0 issue "{LE}"')]
    fix = findings(case(lookup("kopano.test", records, "kopano.test")))["caa.critical"]["fix"]
    assert fix == (
        '; remove kopano.test. IN CAA 128 contactemail "a@kopano.test"\n'
        'kopano.test. IN CAA 0 contactemail "a@kopano.test"'
    )


def test_a_certificate_whose_ca_is_no_longer_permitted_is_a_warning():
    records = [record('0 issue "digicert.com"')]
    found = findings(case(lookup("kopano.test", records, "kopano.test"), expected=False))
    assert "caa.forbidden" not in found
    assert found["caa.renewal.refused"]["severity"] == "warn"
    assert "names another CA" in found["caa.renewal.refused"]["evidence"]
    assert found["caa.renewal.refused"]["fix"] == 'kopano.test. IN CAA 0 issue "letsencrypt.org"'


def test_both_the_expected_ca_and_the_served_one_are_judged():
    records = (record('0 issue "digicert.com"'),)
    looked_up = lookup("kopano.test", records, "kopano.test")
    digicert = Request(("digicert.com",))
    expected = Claim("DigiCert", digicert, _records.evaluate(records, digicert))
    served = Claim("Let's Encrypt", BOULDER, _records.evaluate(records, BOULDER))
    found = findings(Case("kopano.test", looked_up, expected, served, expected=True))
    assert "caa.renewal.refused" in found
    assert "caa.forbidden" not in found


def test_records_that_let_no_ca_issue():
    records = [record('0 issue ";"')]
    assert "caa.nobody" in findings(case(lookup("kopano.test", records, "kopano.test"), Request(), expected=False))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"kind": _issuers.PRIVATE}, {"caa.not_applicable"}),
        ({"kind": _issuers.UNKNOWN}, {"caa.issuer.unknown", "caa.none"}),
        ({"unreadable": "no PEM"}, {"caa.certificate.unreadable", "caa.none"}),
    ],
)
def test_certificates_that_name_no_ca(more, expected):
    assert set(findings(case(lookup("kopano.test"), Request(), expected=False, **more))) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (_lookup.BOGUS, "caa.dnssec.bogus"),
        (_lookup.INVALID, "caa.name.invalid"),
        (_lookup.SILENT, "caa.lookup.failed"),
        (_lookup.FAILED, "caa.lookup.failed"),
    ],
)
def test_problems(kind, expected):
    found = findings(case(lookup("kopano.test", problem=Problem(kind, "words"))))
    assert set(found) == {expected}
    assert found[expected]["evidence"] == "words"


def test_mail_domain_and_autodiscover_have_to_be_covered_too():
    records = [record(f'0 issue "{LE}"'), record('0 issuewild ";"'), record('0 iodef "mailto:a@kopano.test"')]
    mail = case(lookup("mail.kopano.test", records, "mail.kopano.test"))
    domain, autodiscover = lookup("kopano.test"), lookup("autodiscover.kopano.test")
    assert set(findings(mail, related=[domain, autodiscover])) == {"caa.related.uncovered"}
    # Found for the domain, and healed by lines for the domain.
    item = _caa_findings.of_cases([mail], Survey({x.name: x for x in (domain, autodiscover)}, {}, ()))[0][0]
    assert item["subject"] == "kopano.test"
    assert 'kopano.test. IN CAA 0 issue "letsencrypt.org"' in item["fix"]

    covered = [record('0 issue "digicert.com"')]
    domain = lookup("kopano.test", covered, "kopano.test")
    assert findings(mail, related=[domain]) == {}  # its web site may have another CA
    autodiscover = lookup("autodiscover.kopano.test", covered, "kopano.test")
    assert set(findings(mail, related=[domain, autodiscover])) == {"caa.related.uncovered"}
    # Names that were asked for have findings of their own.
    assert findings(mail, case(domain), case(autodiscover)) == {}
    broken = lookup("autodiscover.kopano.test", problem=Problem(_lookup.FAILED, "down"))
    assert findings(mail, related=[domain, broken])["caa.lookup.failed"]["subject"] == "autodiscover.kopano.test"


def test_servers():
    ours = frozenset([record(f'0 issue "{LE}"'), record('0 issuewild ";"'), record('0 iodef "mailto:a@kopano.test"')])
    looked_up = lookup("kopano.test", ours, "kopano.test")
    views = {"kopano.test": {"ns1": ours, "ns2": frozenset()}}
    found = findings(case(looked_up), comparisons=[Comparison(ZONE, views, {"ns3": "it does not respond"})])
    assert set(found) == {"caa.servers.disagree", "caa.servers.faulty"}
    assert "ns2: none" in found["caa.servers.disagree"]["evidence"]
    found = findings(case(looked_up), comparisons=[Comparison(ZONE, {}, {"ns3": "it does not respond"})])
    assert set(found) == {"caa.servers.unchecked"}
    views["kopano.test"]["ns2"] = ours
    assert findings(case(looked_up), comparisons=[Comparison(ZONE, views, {})]) == {}


def test_the_catalogue_can_be_relied_on():
    for key, entry in _caa_catalogue.CATALOGUE.items():
        assert key.startswith("caa.")
        assert entry.step == 4
        assert entry.severity in ("fail", "warn", "info", "unknown")
        assert entry.message.endswith(".")

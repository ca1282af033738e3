# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Complete record sets: what all fixes together come to."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._caa import findings as _caa_findings
from ansible_collections.kopano.hardening.plugins.module_utils._caa import record_sets as _record_sets
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.lookup import BOGUS, Level, Problem, Survey, Zone
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Request

from .test_caa_findings import BOULDER, LE, RECORDS, ZONE, case, lookup, record

pytestmark = pytest.mark.slow

WHOLE = ['0 issue "letsencrypt.org"', '0 issuewild ";"', '0 iodef "mailto:dns@kopano.test"']


def sets(*cases, related=()):
    lookups = {found.name: found for found in (*related, *(case.lookup for case in cases))}
    return {entry.place: entry for entry in _record_sets.record_sets(cases, Survey(lookups, {}, ()))}


def texts(records):
    return [str(item) for item in records]


def bare(name, zone=ZONE):
    """A climb from a name to its zone that finds nothing."""
    found = lookup(name, zone=zone)
    if name != zone.name:
        found.levels.append(Level(zone.name, zone.name, (), None))
    return found


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.booleans(), st.sampled_from(["", "https://a.example/1"]), st.sampled_from(["", "http-01"]))
def test_whatever_is_there_the_wanted_set_permits_and_leaves_nothing_to_do(records, wildcard, account, method):
    request = BOULDER._replace(wildcard=wildcard, account_uri=account, validation_method=method)
    climb = dataclasses.replace(
        lookup("kopano.test"), levels=[Level("kopano.test", "kopano.test", tuple(records), None)]
    )
    entry = sets(case(climb, request))["kopano.test"]
    assert entry.current == _record_sets.in_order(records)
    assert entry.wanted, "there is always something to publish"
    assert _records.evaluate(entry.wanted, request).verdict == _records.PERMITTED
    healed = case(lookup("kopano.test", entry.wanted, "kopano.test"), request)
    rest = _caa_findings.of_cases([healed], Survey({}, {}, ()))[0]
    assert [item["id"] for item in rest if item["severity"] in ("fail", "warn")] == []
    again = sets(healed)["kopano.test"]
    assert again.wanted == again.current == entry.wanted


def test_a_zone_without_records_gets_a_whole_set_with_its_names():
    entry = sets(case(bare("mail.kopano.test")), case(bare("webapp.kopano.test")))["kopano.test"]
    assert (texts(entry.current), texts(entry.wanted)) == ([], WHOLE)
    assert entry.names == ("mail.kopano.test", "webapp.kopano.test")
    assert entry.lines.splitlines() == [f"kopano.test. IN CAA {text}" for text in WHOLE]


def test_what_has_to_go_stands_in_comments_and_other_cas_stay():
    there = [record(text) for text in ('0 issue "digicert.com"', '128 contactemail "a@kopano.test"', *WHOLE[1:])]
    entry = sets(case(lookup("mail.kopano.test", there, "kopano.test")))["kopano.test"]
    assert entry.lines.splitlines() == [
        '; remove kopano.test. IN CAA 128 contactemail "a@kopano.test"',
        'kopano.test. IN CAA 0 issue "digicert.com"',
        *(f"kopano.test. IN CAA {text}" for text in WHOLE),
        'kopano.test. IN CAA 0 contactemail "a@kopano.test"',
    ]


def test_nothing_to_do_is_a_set_that_stays():
    entry = sets(case(lookup("mail.kopano.test", map(record, WHOLE), "kopano.test")))["kopano.test"]
    assert texts(entry.wanted) == texts(entry.current) == WHOLE


def test_the_mail_domain_is_covered_too():
    name = lookup("mail.kopano.test", map(record, WHOLE), "mail.kopano.test")
    entries = sets(case(name), related=[bare("kopano.test"), bare("autodiscover.kopano.test")])
    assert texts(entries["kopano.test"].wanted) == WHOLE
    assert entries["kopano.test"].names == ()
    assert texts(entries["mail.kopano.test"].wanted) == WHOLE


def test_without_a_known_ca_nothing_is_wanted():
    entry = sets(case(bare("mail.kopano.test"), Request(), expected=False))["kopano.test"]
    assert entry.wanted is None
    assert "DOMAIN" in entry.lines
    assert not [line for line in entry.lines.splitlines() if "issue " in line and not line.startswith(";")]


def test_what_is_left_of_a_set_decides_on_and_no_other_place_is_touched():
    critical = [record('128 tbs "Unknown"')]
    entries = sets(case(lookup("mail.kopano.test", critical, "mail.kopano.test")))
    assert set(entries) == {"mail.kopano.test"}
    assert texts(entries["mail.kopano.test"].wanted) == WHOLE


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("bogus", lookup("mail.kopano.test", problem=Problem(BOGUS, "bogus"))),
        ("a registry's", bare("mail.test", Zone("test", "dns@test"))),
        (
            "at the end of an alias, in a zone of somebody else",
            dataclasses.replace(
                lookup("mail.kopano.test", [record('0 issue "digicert.com"')], "host.other.test"),
                home=Zone("other.test", "dns@other.test"),
            ),
        ),
    ],
)
def test_what_is_not_ours_gets_no_set(what, found):
    assert sets(case(found)) == {}


def test_what_the_certificate_s_ca_needs_is_wanted_too():
    there = [record('0 issue "digicert.com"'), *map(record, WHOLE[1:])]
    served = case(lookup("mail.kopano.test", there, "kopano.test"), BOULDER, expected=False)
    assert f'0 issue "{LE}"' in texts(sets(served)["kopano.test"].wanted)

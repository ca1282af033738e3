# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CAA values and host names, whatever their bytes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records

pytestmark = pytest.mark.slow

# A busy machine is no failure.
UNHURRIED = settings(deadline=None)

WORDS = st.from_regex(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,5}", fullmatch=True)
DOMAINS = st.one_of(st.just(""), st.lists(WORDS, min_size=1, max_size=4).map(".".join))
VALUES = st.text(st.sampled_from([chr(code) for code in range(0x21, 0x7F) if chr(code) != ";"]), max_size=20)
GRANTS = st.builds(_records.Grant, DOMAINS, st.lists(st.tuples(WORDS.map(str.lower), VALUES), max_size=4).map(tuple))
BLANKS = st.text(" \t", max_size=3)
PROPERTIES = st.builds(
    _records.Property,
    st.integers(0, 255),
    st.one_of(st.sampled_from(["issue", "issuewild", "iodef", "ISSUE", "contactemail"]), st.text(max_size=8)),
    st.one_of(st.binary(max_size=60), GRANTS.map(lambda grant: str(grant).encode())),
)
REQUESTS = st.builds(
    _records.Request,
    st.lists(WORDS.map(str.lower), max_size=2).map(tuple),
    st.booleans(),
    st.text(max_size=10),
    st.text(max_size=10),
    st.booleans(),
)


@UNHURRIED
@given(st.binary(max_size=300))
def test_any_bytes_are_read_and_reading_what_was_printed_gives_the_same(value):
    grant = _records.parse_grant(value)
    if grant is not None:
        assert _records.parse_grant(str(grant).encode()) == grant


@UNHURRIED
@given(GRANTS, st.lists(BLANKS, min_size=20, max_size=20))
def test_a_valid_value_survives_printing_with_any_blanks(grant, blanks):
    assert _records.parse_grant(str(grant).encode()) == grant
    space = iter(blanks)
    parts = [grant.domain] + [f"{tag}{next(space)}={next(space)}{value}" for tag, value in grant.parameters]
    spaced = ";".join(f"{next(space)}{part}{next(space)}" for part in parts)
    assert _records.parse_grant(spaced.encode()) == grant


@UNHURRIED
@given(st.lists(PROPERTIES, max_size=6), REQUESTS)
def test_no_record_set_raises_and_every_verdict_is_one_of_three(records, request):
    judgement = _records.evaluate(records, request)
    assert judgement.verdict in (_records.PERMITTED, _records.FORBIDDEN, _records.UNRESTRICTED)
    assert all(str(record) and isinstance(_records.reports_to(record), bool) for record in records)


@UNHURRIED
@given(st.lists(PROPERTIES, max_size=6), REQUESTS)
def test_what_a_named_ca_may_some_ca_may(records, request):
    # Without a CA the question is weaker, so it cannot be answered more strictly.
    anyone = request._replace(domains=(), account_uri="", validation_method="", literal=False)
    if _records.evaluate(records, anyone).verdict == _records.FORBIDDEN:
        assert _records.evaluate(records, request).verdict == _records.FORBIDDEN


@UNHURRIED
@given(st.binary(max_size=80))
def test_the_text_of_a_value_has_every_byte(value):
    # RFC 1035 section 5.1: a backslash before three digits is a byte, and before anything else that character.
    text = _records.Property(0, "issue", value).text
    assert text.isascii()
    assert text.isprintable()
    assert re.sub(r"\\(\d{3}|.)", lambda m: chr(int(m[1])) if m[1].isdigit() else m[1], text).encode("latin-1") == value


@UNHURRIED
@given(st.text(max_size=80))
def test_any_text_is_a_host_name_or_a_reason(text):
    try:
        name, _wildcard = _records.host_name(text)
    except ValueError as error:
        assert str(error)
    else:
        assert _records.host_name(name) == (name, False)
        assert _records.host_name(name.upper() + ".") == (name, False)


@pytest.mark.parametrize(
    ("text", "name", "wildcard"),
    [
        ("Mail.Kopano.TEST.", "mail.kopano.test", False),
        ("*.kopano.test", "kopano.test", True),
        ("m\u00fcller.example", "xn--mller-kva.example", False),
        ("\u65e5\u672c\u3002example", "xn--wgv71a.example", False),
        ("stra\u00dfe.example", "xn--strae-oqa.example", False),
        ("*.fa\u00df.test", "xn--fa-hia.test", True),
    ],
)
def test_host_names_as_people_write_them(text, name, wildcard):
    assert _records.host_name(text) == (name, wildcard)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.1", "address"),
        ("2001:db8::1", "address"),
        ("[2001:db8::1]", "address"),
        ("192.0.2", "number"),
        ("", "empty"),
        (" kopano.test", "blanks"),
        (".", "label"),
        ("a..b", "label"),
        ("mail_x.kopano.test", "label"),
        ("a.*.kopano.test", "label"),
        ("*", "label"),
        ("https://kopano.test/", "label"),
        ("kopano.test:443", "label"),
        ("\u2615.example", "not a letter"),
        ("a\u200db.example", "not a letter"),
        ("x" * 64 + ".example", "label"),
        (".".join(["x" * 60] * 5), "253"),
    ],
)
def test_what_is_no_host_name_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        _records.host_name(text)


@UNHURRIED
@given(st.integers(0, 255), st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True), st.binary(max_size=60))
def test_a_record_survives_printing_and_reading(flags, tag, value):
    record = _records.Property(flags, tag, value)
    assert _records.parse_record(str(record)) == record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 issue letsencrypt.org",
        '256 issue "x"',
        '-1 issue "x"',
        '0 is-sue "x"',
        '0 issue "x" "y"',
        '0 issue "x',
        '0 issue "\\256"',
        '0 issue "\u20ac"',
        '\u0661 issue "x"',
        '0 issue "x"\n0 issue "y"',
    ],
)
def test_what_is_no_record_is_an_error(text):
    with pytest.raises(ValueError, match=r"FLAGS TAG|flags above"):
        _records.parse_record(text)

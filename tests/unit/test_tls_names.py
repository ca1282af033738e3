# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""International names by IDNA 2008, as browsers convert them, and names that cannot be."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._common import idna as _idna
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import http
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mail.example.com", "mail.example.com"),
        ("Mail.example.com.", "Mail.example.com"),
        ("_acme.example.com", "_acme.example.com"),
        ("faß.test", "xn--fa-hia.test"),
        ("FAẞ.test", "xn--fa-hia.test"),
        ("fass.test", "fass.test"),
        ("xn--fa-hia.test", "xn--fa-hia.test"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("ΒΌΛΟΣ.com", "xn--nxasmq6b.com"),
        ("\u03f2.test", "xn--4xa.test"),
        ("Bücher.Example", "xn--bcher-kva.Example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("\uff46\uff55\uff4c\uff4c.test", "full.test"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("::1", "::1"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
    ],
)
def test_a_labels(name, wanted):
    assert _idna.to_ascii(name) == wanted
    assert _x509_certificate.ascii_name(name) == wanted


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("a" * 64 + ".test", "it has a label of 64 characters, 63 are the most"),
        ("ü" * 60 + ".test", "it has a label of 66 characters, 63 are the most"),
        ("a..test", "it has an empty label"),
        (".test", "it has an empty label"),
        ("", "it has an empty label"),
        (".".join(["a" * 60] * 5), "it has 304 characters, 253 are the most"),
        ("i♥.test", "U+2665 is not a letter or a digit; write its xn-- form"),
        ("a\u200db.test", "U+200D is not a letter or a digit"),
        ("\u0308a.test", "it has no IDNA form"),
        ("xn--ü.test", "it has no IDNA form"),
    ],
)
def test_names_that_cannot_be(name, cause):
    with pytest.raises(ValueError, match=f"^{re.escape(cause)}"):
        _idna.to_ascii(name)
    assert _x509_certificate.ascii_name(name) == name
    if name:
        peer = _handshake.Peer({"host": "127.0.0.1", "address": "127.0.0.1", "port": 1, "server_name": name}, 1)
        assert peer.fault and peer.sni is None


@settings(max_examples=300)
@given(st.text(max_size=80))
def test_arbitrary_text_has_a_form_or_a_cause(text):
    try:
        made = _idna.to_ascii(text)
    except ValueError as error:
        assert str(error)
    else:
        assert made.isascii() and len(made) <= 253


def test_a_name_that_cannot_be_is_not_looked_up():
    assert "a label of 64 characters" in _handshake.resolve("a" * 64 + ".test", 443, 1)


def test_the_converted_name_is_looked_up(monkeypatch):
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *_rest, **_options: asked.append(host) or [])
    assert _handshake.resolve("faß.test", 443, 1) == []
    assert asked == ["xn--fa-hia.test"]


@pytest.mark.parametrize(
    ("location", "name", "status"),
    [
        ("https://xn--fa-hia.test/", "faß.test", "https"),
        ("https://faß.test/", "faß.test", "https"),
        ("https://faß.test/", "xn--fa-hia.test", "https"),
        ("https://fa%C3%9F.test:443/", "faß.test", "https"),
        ("https://fass.test/", "faß.test", "https_elsewhere"),
        ("https://FAẞ.TEST./", "faß.test", "https"),
        ("https://user@faß.test/", "faß.test", "https"),
        ("https://faß.test@other.test/", "faß.test", "https_elsewhere"),
        ("https://[::1]/", "::1", "https"),
        ("https://i♥.test/", "faß.test", "https_elsewhere"),
        ("https://%FF.test/", "faß.test", "https_elsewhere"),
        ("https://a.test:x/", "a.test", "https_elsewhere"),
    ],
)
def test_redirects_between_forms_of_a_name(location, name, status):
    """A header is bytes, UTF-8 where a browser takes more than ASCII."""
    field = location.encode("utf-8").decode("latin-1")
    assert http.read_redirect(http.Head(301, [("location", field)]), (name,))["status"] == status


INTERIM = b"HTTP/1.1 103 Early Hints\r\nStrict-Transport-Security: max-age=1\r\n\r\n"
FINAL = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"


def test_interim_responses_are_passed_over():
    head = http.read_head(b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM + FINAL, False)
    assert head == http.Head(200, [("x", "y")])
    for size in range(len(INTERIM)):
        assert http.read_head(INTERIM + FINAL[: len(FINAL) - 3], False) is None
        assert http.read_head(INTERIM[:size], False) is None
    with pytest.raises(http.HttpError) as found:
        http.read_head(INTERIM, True)
    assert found.value.cut


def test_interim_responses_without_end():
    with pytest.raises(http.HttpError):
        http.read_head(INTERIM * 2000, False)


def test_fields_with_names_that_are_none_are_left_out():
    head = http.read_head(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security : max-age=1\r\n: x\r\nA: b\r\n\r\n", False)
    assert head.fields == [("a", "b")]


@pytest.mark.parametrize("answer", [b"500 x", b"421 x", b"502 5.5.2 Error", b"-ERR x", b"* BYE", b"554 no"])
def test_an_error_is_no_greeting_of_a_mail_server(answer):
    with pytest.raises(http.HttpError) as found:
        http.read_head(answer, complete=True)
    assert not found.value.other

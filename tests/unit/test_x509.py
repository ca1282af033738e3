# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate reader on a recorded certificate and on arbitrary bytes."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._tls import issuer as _issuer
from ansible_collections.kopano.hardening.plugins.module_utils._tls import ocsp as _ocsp
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

pytestmark = pytest.mark.slow

# Made for this test: ECDSA P-256, CN=recorded.test, 2026-01-01 to 2026-04-01, DNS and IPv4 and IPv6 names,
# OCSP and CA issuers URIs, must-staple.
RECORDED = base64.b64decode(
    """
MIICHjCCAcSgAwIBAgICBNIwCgYIKoZIzj0EAwIwODELMAkGA1UEBhMCREUxETAPBgNVBAoMCFJlY29yZGVkMRYwFAYDVQQDDA1y
ZWNvcmRlZC50ZXN0MB4XDTI2MDEwMTAwMDAwMFoXDTI2MDQwMTAwMDAwMFowODELMAkGA1UEBhMCREUxETAPBgNVBAoMCFJlY29y
ZGVkMRYwFAYDVQQDDA1yZWNvcmRlZC50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkMOyZwzHEUOVdkaZZSizipe4fraI
RFnSQ583QiK7NJTOiYcMRKjpAs+CBjqqS9bfJE257QCCs+4sKn88vyiLdqOBvTCBujBBBgNVHREEOjA4gg1yZWNvcmRlZC50ZXN0
gg8qLnJlY29yZGVkLnRlc3SHBMAAAgGHECABDbgAAAAAAAAAAAAAAAEwYgYIKwYBBQUHAQEEVjBUMCYGCCsGAQUFBzABhhpodHRw
Oi8vb2NzcC5yZWNvcmRlZC50ZXN0LzAqBggrBgEFBQcwAoYeaHR0cDovL2NhLnJlY29yZGVkLnRlc3QvY2EuZGVyMBEGCCsGAQUF
BwEYBAUwAwIBBTAKBggqhkjOPQQDAgNIADBFAiEArACFC9WWv0WiSRwknKdvd/eS6T+1Tk9zNO6cQlGXsHcCIHbOxzTTMEsrPSKz
NO8gk6Uxcie6yg0wwy+loMDEdH9c
"""
)


def test_recorded_certificate():
    one = _x509_certificate.read_certificate(RECORDED)
    assert one.subject == "C=DE, O=Recorded, CN=recorded.test"
    assert one.subject == one.issuer
    assert (one.not_before, one.not_after) == (1767225600, 1775001600)
    assert one.key == _x509_certificate.Key("EC", 256, "secp256r1")
    assert (one.signature, one.digest) == ("ecdsa-with-SHA256", "sha256")
    assert one.dns_names == ["recorded.test", "*.recorded.test"]
    assert one.addresses == ["192.0.2.1", "2001:db8::1"]
    assert one.ocsp_urls == ["http://ocsp.recorded.test/"]
    assert one.issuer_urls == ["http://ca.recorded.test/ca.der"]
    assert one.must_staple
    assert one.self_signed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recorded.test", True),
        ("RECORDED.test.", True),
        ("a.recorded.test", True),
        ("a.b.recorded.test", False),
        ("other.test", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8:0::1", True),
        ("", False),
        (".recorded.test", False),
    ],
)
def test_names(name, expected):
    assert _x509_certificate.matches(_x509_certificate.read_certificate(RECORDED), name) is expected


def test_a_wildcard_needs_two_labels():
    one = _x509_certificate.read_certificate(RECORDED)._replace(dns_names=["*.test"])
    assert not _x509_certificate.matches(one, "recorded.test")


@settings(max_examples=400)
@given(st.binary(max_size=300))
def test_arbitrary_bytes(data):
    for read in (_x509_certificate.read_certificate, _ocsp.read, _issuer.read):
        with contextlib.suppress(ParseError):
            read(data)


@settings(max_examples=1500)
@given(st.integers(0, len(RECORDED) - 1), st.integers(0, 255), st.integers(0, len(RECORDED)))
def test_flipped_and_cut_bytes(at, value, end):
    data = bytearray(RECORDED)
    data[at] = value
    for damaged in (bytes(data), bytes(data[:end])):
        try:
            one = _x509_certificate.read_certificate(damaged)
        except ParseError:
            continue
        _x509_certificate.matches(one, "recorded.test")
        _x509_certificate.chain_of([one, one])


def test_names_cannot_move_the_cursor():
    evil = RECORDED.replace(b"Recorded", b"\x1b[2J\r\n<b")
    assert _x509_certificate.read_certificate(evil).subject == "C=DE, O=\\x1b[2J\\x0d\\x0a<b, CN=recorded.test"
    assert _x509_certificate.printable("a\u202eb\u200bc") == "a\\x202eb\\x200bc"

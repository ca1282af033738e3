# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wire format on recorded answers and on arbitrary bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import issuer as _issuer
from ansible_collections.kopano.hardening.plugins.module_utils._tls import ocsp as _ocsp
from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

from .tls_recorded import RECORDED

pytestmark = pytest.mark.slow


def events(answer, size=0):
    """What a stream makes of an answer, fed in one piece or in pieces of a size."""
    stream = wire.RecordStream()
    found = []
    for at in range(0, len(answer), size or len(answer) or 1):
        found += stream.feed(answer[at : at + (size or len(answer))])
    return found


@pytest.mark.parametrize("size", [0, 1, 2, 7, 100])
def test_tls12(size):
    hello, certificate, exchange, done = events(RECORDED["tls12"], size)
    kinds = [event.kind for event in (hello, certificate, exchange, done)]
    assert kinds == [wire.SERVER_HELLO, wire.CERTIFICATE, wire.SERVER_KEY_EXCHANGE, wire.SERVER_HELLO_DONE]
    seen = wire.read_server_hello(hello.body)
    assert (seen.version, seen.compression, seen.retry, seen.group, seen.key) == (0x0303, 0, False, None, None)
    assert data.SUITES[seen.suite].name == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    assert set(seen.extensions) == {
        wire.SERVER_NAME,
        wire.ALPN,
        wire.RENEGOTIATION_INFO,
        wire.EC_POINT_FORMATS,
        wire.SESSION_TICKET,
        wire.EXTENDED_MASTER_SECRET,
    }
    assert seen.alpn == "http/1.1"
    assert [len(der) > 300 for der in wire.read_certificates(certificate.body)] == [True, True]
    parameters = wire.read_key_exchange(exchange.body, "ECDHE_ECDSA")
    assert (parameters.group, len(parameters.key), parameters.bits) == (0x001D, 32, None)


def test_retry():
    (hello,) = [event for event in events(RECORDED["retry"]) if isinstance(event, wire.Message)]
    seen = wire.read_server_hello(hello.body)
    assert (seen.version, seen.suite, seen.retry, seen.group, seen.key) == (0x0304, 0x1302, True, 0x11EC, None)


def test_refusal():
    assert events(RECORDED["refusal"]) == [wire.Alert(2, 40)]
    assert data.ALERTS[40] == "handshake_failure"


def test_dhe():
    hello, _certificate, exchange, _done = events(RECORDED["dhe"])
    assert wire.read_server_hello(hello.body).version == 0x0302
    assert wire.read_key_exchange(exchange.body, "DHE_RSA").bits == 1024


def test_ssl3_has_no_extensions_but_the_signalled_one():
    hello = wire.read_server_hello(events(RECORDED["ssl3"])[0].body)
    assert (hello.version, set(hello.extensions)) == (0x0300, {wire.RENEGOTIATION_INFO})


def test_ssl2():
    hello = wire.read_ssl2_server_hello(RECORDED["ssl2"])
    assert (hello.version, [data.SSL2_SUITES[suite] for suite in hello.suites]) == (
        2,
        [("SSL_CK_DES_192_EDE3_CBC_WITH_MD5", 112)],
    )
    assert len(hello.certificate) > 500
    assert all(wire.read_ssl2_server_hello(RECORDED["ssl2"][:size]) is None for size in range(50))


def test_messages_that_share_a_record_and_messages_that_span_records():
    one, other = wire.message(2, b"a" * 300), wire.message(11, b"b" * 500)
    whole = wire.record(22, 0x0303, one + other)
    assert [event.raw for event in events(whole)] == [one, other]
    cut = (one + other)[:400], (one + other)[400:]
    split = b"".join(wire.record(22, 0x0303, part) for part in cut)
    assert [event.raw for event in events(split, 3)] == [one, other]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"<html>",
        b"SSH-2.0-x",
        b"\x16\x02\x00\x00\x00",
        b"\x80\x2e\x01\x00\x02",
        b"\x16\x03\x03\xff\xff",
        b"\x15\x03\x03\x00\x01\x02",
        b"\x16\x03\x03\x00\x00",
        b"\x16\x03\x03\x00\x04\x0b\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("size", [0, 1])
def test_what_is_no_tls(answer, size):
    with pytest.raises(wire.ParseError):
        events(answer, size)


# Arbitrary bytes

PARSERS = [
    wire.read_server_hello,
    wire.read_certificates,
    wire.read_certificates13,
    wire.read_certificate_status,
    wire.read_ssl2_server_hello,
    wire.read_alpn,
    lambda body: wire.read_extensions(wire.Reader(body, "extensions")),
    *(
        (lambda body, exchange=exchange: wire.read_key_exchange(body, exchange))
        for exchange in ("ECDHE_RSA", "DHE_RSA", "ECDHE_PSK", "RSA_PSK", "RSA", "DH_anon", "")
    ),
    events,
    lambda body: events(body, 1),
    x509.read_certificate,
    _ocsp.read,
    _issuer.read,
]


def check_parsers(body):
    for parser in PARSERS:
        with contextlib.suppress(wire.ParseError):
            parser(body)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400))
def test_parsers_on_arbitrary_bytes(body):
    check_parsers(body)


def bodies():
    """Messages and whole answers that are fine, to be damaged."""
    for name, answer in RECORDED.items():
        yield answer
        if name != "ssl2":
            for event in events(answer):
                if isinstance(event, wire.Message):
                    yield event.body
                    if event.kind == wire.CERTIFICATE:
                        yield from wire.read_certificates(event.body)


BODIES = [body for body in bodies() if body]


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(BODIES), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6), st.floats(0, 1)
)
def test_parsers_on_damaged_responses(body, changes, keep):
    damaged = bytearray(body)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    check_parsers(bytes(damaged[: int(len(damaged) * keep) + 1]))


def test_an_error_of_ssl2_is_no_hello():
    assert wire.read_ssl2_server_hello(b"\x80\x03\x00\x00\x01") == wire.Ssl2Error(1)
    assert wire.read_ssl2_server_hello(b"\x80\x03\x00\x00") is None


@pytest.mark.parametrize("response", [b"H", b"HTTP/1.1 400 Bad Request\r\n", b"<html>"])
@pytest.mark.parametrize("read", [wire.read_ssl2_server_hello, lambda data: wire.RecordStream().feed(data)])
def test_a_web_server_without_tls_is_named_whatever_it_was_asked(read, response):
    with pytest.raises(wire.ParseError, match="plain HTTP, not TLS"):
        read(response)


@pytest.mark.parametrize("response", [b"S", b"SSH-2.0-OpenSSH_9.9\r\n"])
def test_what_else_is_no_record_of_ssl2_is_not_taken_for_it(response):
    with pytest.raises(wire.ParseError, match=r"not an SSL 2\.0 record"):
        wire.read_ssl2_server_hello(response)


def test_no_hello_has_more_suites_than_every_server_reads():
    from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
    from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober

    for protocol in ("SSLv3", "TLSv1.0", "TLSv1.1"):
        # The signalling suite of SSL 3.0 is one more.
        assert len(data.old_suites(protocol)) + (protocol == "SSLv3") <= data.MAX_SUITES
    # What an older protocol could take is offered with it, or at least with TLS 1.2.
    assert set(data.old_suites("TLSv1.1")) < set(data.suites_of("SSLv3")) <= set(data.suites_of("TLSv1.2"))
    assert not set(prober.UNKNOWN) & set(data.SUITES)
    offers = data.offers_of(data.suites_of("TLSv1.2"))
    assert [suite for offer in offers for suite in offer] == list(data.suites_of("TLSv1.2"))
    lanes = prober.lanes_of(data.suites_of("TLSv1.2"))
    assert max(map(len, [*offers, *lanes])) <= data.MAX_SUITES
    assert sorted(code for lane in lanes for code in lane) == sorted(one.code for one in data.suites_of("TLSv1.2"))

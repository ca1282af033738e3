# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What TLS servers send: records, messages, whole handshakes, and endpoints that send something else each time.

Servers are sockets in memory. What is not to depend on time is that a query is made again: pauses are left out.
"""

from __future__ import annotations

import contextlib
import functools
import typing as t
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto, wire
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError
from tests.fuzz import seeds
from tests.fuzz.checks import check_shown, texts_in
from tests.fuzz.frame import target
from tests.fuzz.targets.http import Socket
from tests.unit.tls_recorded import RECORDED

FLIGHTS = tuple(RECORDED[name] for name in ("tls12", "retry", "refusal", "dhe", "ssl3"))


def _events(answer: bytes, size: int) -> list[wire.Alert | wire.Message | wire.Protected]:
    """What comes of a server's bytes in pieces of a size."""
    stream = wire.RecordStream()
    return [event for at in range(0, len(answer), size) for event in stream.feed(answer[at : at + size])]


@target("tls.records", seeds=FLIGHTS, declared=ParseError)
def records(case: bytes) -> None:
    """How the bytes come in pieces makes no difference."""
    whole = _events(case, len(case) or 1)
    if len(case) <= 8192:
        assert _events(case, 7) == whole
    assert sum(len(event.raw) for event in whole if isinstance(event, wire.Message)) <= len(case)


MESSAGES = [event for flight in FLIGHTS for event in _events(flight, len(flight)) if isinstance(event, wire.Message)]


def _bodies(kind: int) -> tuple[bytes, ...]:
    return tuple(message.body for message in MESSAGES if message.kind == kind)


STAPLED = b"\x01" + wire.vector(3, b"0\x03\x0a\x01\x00")
CHAIN13 = b"\0" + wire.vector(
    3,
    wire.vector(3, seeds.LEAF)
    + wire.vector(2, b"\x00\x05" + wire.vector(2, STAPLED))
    + wire.vector(3, seeds.MIDDLE)
    + b"\0\0",
)


@target("tls.server_hello", seeds=_bodies(wire.SERVER_HELLO), declared=ParseError)
def server_hello(case: bytes) -> None:
    """A hello has a version that there is, and a key only with its group."""
    found = wire.read_server_hello(case)
    assert found.version in data.PROTOCOL_OF and len(found.random) == 32
    assert found.group is not None or found.key is None
    assert found.alpn is None or found.alpn.isascii()


@target("tls.certificates", seeds=_bodies(wire.CERTIFICATE), declared=ParseError)
def certificates(case: bytes) -> None:
    """A chain is made of pieces of its message."""
    assert all(one in case for one in wire.read_certificates(case))


@target("tls.certificates13", seeds=(CHAIN13,), declared=ParseError)
def certificates13(case: bytes) -> None:
    """The same for TLS 1.3, and the OCSP response in it."""
    chain, staple = wire.read_certificates13(case)
    assert all(one in case for one in chain) and (staple is None or staple in case)


@target("tls.key_exchange", seeds=_bodies(wire.SERVER_KEY_EXCHANGE))
def key_exchange(case: bytes) -> None:
    """Parameters of all kinds."""
    for exchange in ("ECDHE_RSA", "ECDH_anon", "DHE_RSA", "DH_anon", "ECDHE_PSK", "DHE_PSK", "RSA_PSK", "RSA"):
        with contextlib.suppress(ParseError):
            found = wire.read_key_exchange(case, exchange)
            assert found is None or (found.key in case and (found.bits or 0) <= 8 * len(case))


@target("tls.ssl2", seeds=(RECORDED["ssl2"], b"\x80\x03\0\0\1"), declared=ParseError)
def ssl2(case: bytes) -> None:
    """A hello is whole, or an error, or still to come."""
    found = wire.read_ssl2_server_hello(case)
    if isinstance(found, wire.Ssl2Hello):
        assert found.certificate in case and len(case) >= 11 + 3 * len(found.suites)


# Handshakes


class Peer(_handshake.Peer):
    """An endpoint whose connections have this content, one after the other; each query is made once."""

    def __init__(self, *contents: bytes, starttls: str = "none") -> None:
        super().__init__({"host": "good.test", "address": "192.0.2.1", "port": 443, "starttls": starttls}, 600)
        self._contents = contents

    def persist(self, query: t.Callable[[], _handshake.Response]) -> _handshake.Response:
        return query()

    def _connection(self, _port: int, _deadline: _handshake.Deadline) -> t.Any:
        return self._server(self._contents[(self.connections - 1) % len(self._contents)])

    @staticmethod
    def _server(content: bytes) -> t.Any:
        return Socket(content)


OUTCOMES = (
    _handshake.ACCEPTED,
    _handshake.REFUSED,
    _handshake.CLOSED,
    _handshake.SILENT,
    _handshake.GARBAGE,
    _handshake.UNTRIED,
)
SUITES = {name: [suite.code for suite in data.suites_of(name)] for name in ("SSLv3", "TLSv1.1", "TLSv1.2")}


def _check(response: _handshake.Response, protocol: str, suites: t.Sequence[int], case: bytes) -> None:
    """Accepted is what was offered; refused, what an alert that refuses says."""
    assert response.outcome in OUTCOMES
    check_shown(response.message)
    if response.outcome == _handshake.ACCEPTED:
        assert response.protocol and response.suite in suites
        assert data.WIRE_VERSION[response.protocol] <= data.WIRE_VERSION[protocol]
    if response.outcome == _handshake.REFUSED:
        assert any(bytes((2, number)) in case for number in _handshake.REFUSING)


@target("tls.flight", seeds=FLIGHTS)
def flight(case: bytes) -> None:
    """A hello of some protocols, and the flight that comes."""
    for protocol, suites in SUITES.items():
        _check(_handshake.query_tls(Peer(case), protocol, suites, flight=True), protocol, suites, case)


@target("tls.ssl2_query", seeds=(RECORDED["ssl2"], RECORDED["refusal"]))
def ssl2_query(case: bytes) -> None:
    response = _handshake.query_ssl2(Peer(case))
    assert response.outcome in OUTCOMES
    check_shown(response.message)
    assert response.outcome != _handshake.ACCEPTED or response.chain[0] in case


@functools.cache
def _server_random() -> bytes:
    return bytes(range(32))


class _Server13(Socket):
    """Finishes its part of a TLS 1.3 handshake with these messages, under the right keys."""

    SUITE, GROUP = 0x1301, 0x001D

    def __init__(self, content: bytes) -> None:
        super().__init__(b"")
        self._inner = content

    def sendall(self, payload: bytes) -> None:
        share = crypto.Share(self.GROUP)
        key = wire.vector(2, self.GROUP.to_bytes(2, "big") + wire.vector(2, share.public))[2:]
        extensions = b"\x00\x2b\x00\x02\x03\x04\x00\x33" + wire.vector(2, key)
        body = b"\x03\x03" + bytes(range(32)) + b"\0" + self.SUITE.to_bytes(2, "big") + b"\0"
        hello = wire.message(wire.SERVER_HELLO, body + wire.vector(2, extensions))
        keys = crypto.Reader13(crypto.CIPHERS13[self.SUITE], share.agree(share.public), payload[5:] + hello)
        sealed = wire.record(wire.HANDSHAKE, 0x0303, hello)
        size = len(self._inner) + 17
        header = b"\x17\x03\x03" + size.to_bytes(2, "big")
        sealed += header + AESGCM(keys._key).encrypt(keys._iv, self._inner + b"\x16", header)
        self._content.write(sealed)
        self._content.seek(0)


class _Peer13(Peer):
    _server = staticmethod(_Server13)


SUITES13 = list(crypto.CIPHERS13)
INNER = wire.message(wire.ENCRYPTED_EXTENSIONS, wire.vector(2, b"\x00\x10" + wire.vector(2, wire.alpn_names(["h2"]))))


@target("tls.tls13_inside", seeds=(INNER + wire.message(wire.CERTIFICATE, CHAIN13),), seconds=3)
def tls13_inside(case: bytes) -> None:
    """Messages of a TLS 1.3 server after its hello, rightly protected."""
    case = case[:16000]
    response = _handshake.query_tls13(_Peer13(case), SUITES13, data.ALL_SIGNATURES)
    _check(response, "TLSv1.3", SUITES13, b"\x02\x28")
    assert all(one in case for one in response.chain)


@target("tls.tls13_outside", seeds=FLIGHTS)
def tls13_outside(case: bytes) -> None:
    """What a server sends to a TLS 1.3 hello without protecting it: no certificate is ever taken from that."""
    response = _handshake.query_tls13(Peer(case), SUITES13, data.ALL_SIGNATURES)
    _check(response, "TLSv1.3", SUITES13, case)
    assert not response.chain


FINISHED = wire.record(20, 0x0303, b"\x01") + wire.record(wire.HANDSHAKE, 0x0303, bytes(40))
RENEGOTIATIONS = tuple(
    RECORDED["tls12"] + FINISHED + after
    for after in (wire.record(wire.HANDSHAKE, 0x0303, bytes(90)), wire.record(wire.ALERT, 0x0303, bytes(26)), b"")
)


@target("tls.renegotiation", seeds=RENEGOTIATIONS, seconds=3)
def renegotiation(case: bytes) -> None:
    """Renegotiation is accepted if something follows the handshake, and not by less."""
    suites = list(crypto.CIPHERS12)
    response = _handshake.query_renegotiation(Peer(case), suites)
    assert response.outcome in OUTCOMES
    check_shown(response.message)
    if response.outcome == _handshake.ACCEPTED:
        assert case.count(b"\x16\x03") + case.count(b"\x16") >= 3 and len(case) > 42 + 16 + 5


# Endpoints


@functools.cache
def _trust() -> _prober.Trust:
    return _prober.Trust()


PAGE = b"HTTP/1.1 301 Moved\r\nLocation: https://good.test/\r\n\r\n"
ENDPOINTS = (*FLIGHTS, RECORDED["ssl2"], PAGE)


@target("tls.endpoint", seeds=ENDPOINTS, seconds=5)
def endpoint(case: bytes) -> None:
    """An endpoint of which no certificate is trusted never gets a good letter, whatever it sends in turn."""

    def connection(peer: _handshake.Peer, _port: int, _deadline: _handshake.Deadline) -> Socket:
        return Socket(case if peer.connections % 3 else ENDPOINTS[peer.connections % len(ENDPOINTS)])

    where = {"host": "good.test", "address": "192.0.2.1", "port": 443}
    with mock.patch.object(_handshake.Peer, "_connection", connection), mock.patch("time.sleep"):
        seen = _prober.probe(where, "quick", 600, trust=_trust(), peak=1)
    result = _grade.grade(seen)
    assert result["grade"] in (None, "T", "F"), result["grade"]
    check_shown(*texts_in(result["findings"]))

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Do a server's responses show attackers how their messages were malformed? A few such messages, one a connection.

Such a server can be made to decrypt for an attacker, in thousands of attempts. Half a dozen are enough to find that the
responses differ, and do no harm: every server must expect damaged messages. A difference counts only if it is the same
in a second round, and a connection that is lost is no response.

ROBOT: RFC 5246, 7.4.7.1. Padding oracles: RFC 5246, 6.2.3.2.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import socket
import struct
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto, wire
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

# How long a server may think about a message before it counts as silent. Seconds.
PATIENCE = 2.0
# Records that are read of a response; one or two are what there should be.
_MAX_EVENTS = 8
_AES_CBC = re.compile(r"TLS_(RSA|ECDHE_RSA|ECDHE_ECDSA)_WITH_AES_(128|256)_CBC_(SHA|SHA256|SHA384)\Z")


class Lost(Exception):
    """The connection ended before there was a response."""


class Hello(t.NamedTuple):
    """A handshake up to ServerHelloDone."""

    stream: _handshake.Stream
    events: t.Iterator[wire.Alert | wire.Message | wire.Protected]
    random: bytes
    transcript: bytes
    server: wire.ServerHello
    key: x509.Key
    exchange: wire.KeyExchange | None
    certificate_requested: bool


@contextlib.contextmanager
def _greeted(peer: _handshake.Peer, protocol: str, suites: t.Sequence[int]) -> t.Iterator[Hello]:
    """Begin a handshake. Raises L(Lost)."""
    version = data.WIRE_VERSION[protocol]
    hello = wire.client_hello(
        version,
        suites,
        server_name=peer.sni,
        alpn=peer.alpn,
        groups=crypto.Share.GROUPS,
        signatures=data.ALL_SIGNATURES,
    )
    try:
        with peer.turn(), peer.connect() as (sock, deadline):
            stream = _handshake.Stream(sock, deadline.part(PATIENCE))
            stream.send(wire.hello_record(version, hello))
            events = iter(stream)
            transcript, bodies = hello, {}
            for event in events:
                if not isinstance(event, wire.Message):
                    raise Lost
                transcript += event.raw
                bodies[event.kind] = event.body
                if event.kind == wire.SERVER_HELLO_DONE:
                    break
            if wire.SERVER_HELLO_DONE not in bodies:
                raise Lost
            server = wire.read_server_hello(bodies[wire.SERVER_HELLO])
            if server.suite not in suites:
                raise Lost
            (leaf, *_others) = wire.read_certificates(bodies[wire.CERTIFICATE])
            parameters = bodies.get(wire.SERVER_KEY_EXCHANGE)
            exchange = (
                wire.read_key_exchange(parameters, data.SUITES[server.suite].exchange)
                if parameters is not None
                else None
            )
            yield Hello(
                stream,
                events,
                # It follows the message's header and version.
                hello[6:38],
                transcript,
                server,
                x509.read_certificate(leaf).key,
                exchange,
                wire.CERTIFICATE_REQUEST in bodies,
            )
    except (OSError, KeyError, ValueError, _handshake.Unreachable) as error:
        raise Lost from error


def _response(hello: Hello) -> str:
    """A server's response to a message. How it closes the connection depends on the network as well."""
    found = []
    try:
        for event in hello.events:
            if isinstance(event, wire.Alert):
                found.append(f"alert {event.description}")
            elif isinstance(event, wire.Protected):
                found.append(f"record {event.content_type} of {len(event.payload)} bytes")
            else:
                found.append(f"message {event.kind}")
            if len(found) == _MAX_EVENTS:
                break
    except socket.timeout:
        found.append("silent")
    except (OSError, ValueError):
        pass
    return ", ".join(found) or "closed"


def _compare(attempt: t.Callable[[str], str], variants: t.Iterable[str]) -> str | bool | None:
    """False if all variants get the same response, else how they differ; None if that cannot be found out."""
    try:
        rounds = [{name: attempt(name) for name in variants}]
        if len(set(rounds[0].values())) == 1:
            return False
        rounds.append({name: attempt(name) for name in variants})
    except Lost:
        return None
    if rounds[0] != rounds[1]:
        return None
    return "; ".join(f"{name}: {response}" for name, response in rounds[0].items())


# RSA key exchange

_RSA_VARIANTS = ("well formed", "another block type", "no end of padding", "end of padding too late", "another version")


def _rsa_block(variant: str, size: int) -> bytes:
    """What is encrypted for a premaster secret of 48 bytes, PKCS #1 v1.5, well formed or not."""
    version = b"\x02\x02" if variant == "another version" else b"\x03\x03"
    secret = version + bytes(byte % 255 + 1 for byte in os.urandom(46))
    padding = bytes(byte % 255 + 1 for byte in os.urandom(size - 51))
    begin, end = b"\x00\x02", b"\x00"
    if variant == "another block type":
        begin = b"\x41\x17"
    elif variant == "no end of padding":
        end = b"\x11"
    elif variant == "end of padding too late":
        end, secret = b"\x11", secret[:-1] + b"\x00"
    return begin + padding + end + secret


def _rsa_message(key: x509.Key, block: bytes) -> bytes:
    """A ClientKeyExchange."""
    if not (key.modulus and key.exponent):
        raise crypto.CryptoError("the key is no RSA key")
    size = (key.bits + 7) // 8
    sealed = pow(int.from_bytes(block, "big"), key.exponent, key.modulus).to_bytes(size, "big")
    return wire.message(wire.CLIENT_KEY_EXCHANGE, wire.vector(2, sealed))


def rsa(peer: _handshake.Peer, protocol: str, suites: t.Sequence[int]) -> str | bool | None:
    """How the responses to malformed RSA key exchanges differ from those to others (ROBOT); False if they do not."""
    version = data.WIRE_VERSION[protocol]

    def attempt(variant: str) -> str:
        with _greeted(peer, protocol, suites) as hello:
            size = (hello.key.bits + 7) // 8
            if hello.key.modulus is None or size < 64:
                raise Lost
            client = wire.message(wire.CERTIFICATE, wire.vector(3, b"")) if hello.certificate_requested else b""
            client += _rsa_message(hello.key, _rsa_block(variant, size))
            hello.stream.send(
                wire.record(wire.HANDSHAKE, version, client)
                + wire.record(wire.CHANGE_CIPHER_SPEC, version, b"\x01")
                + wire.record(wire.HANDSHAKE, version, os.urandom(64))
            )
            return _response(hello)

    return _compare(attempt, _RSA_VARIANTS)


# CBC records


class Sealer:
    """Protects records of TLS 1.2 with AES-CBC and a MAC, damaged on request."""

    def __init__(self, suite: data.Suite, premaster: bytes, randoms: tuple[bytes, bytes]) -> None:
        found = _AES_CBC.match(suite.name)
        if not found:
            raise crypto.CryptoError(f"{suite.name} does not protect records with AES-CBC")
        self._digest = {"SHA": "sha1"}.get(found.group(3), found.group(3).lower())
        self._prf = "sha384" if self._digest == "sha384" else "sha256"
        self.size = hashlib.new(self._digest).digest_size
        self._master = crypto.prf(self._prf, premaster, b"master secret", b"".join(randoms), 48)
        key_size = int(found.group(2)) // 8
        keys = crypto.prf(
            self._prf, self._master, b"key expansion", b"".join(reversed(randoms)), 2 * (self.size + key_size)
        )
        self._mac_key = keys[: self.size]
        self._aes = crypto.Aes(keys[2 * self.size : 2 * self.size + key_size])
        self._sequence = 0

    def finished(self, transcript: bytes) -> bytes:
        digest = hashlib.new(self._prf, transcript).digest()
        verify = crypto.prf(self._prf, self._master, b"client finished", digest, 12)
        return self.seal(wire.HANDSHAKE, wire.message(wire.FINISHED, verify))

    def seal(self, content_type: int, plain: bytes, *, bad_mac: bool = False, padding: str = "good") -> bytes:
        """One record; C(padding) is good, bad (its content) or long (more than there is room for)."""
        head = struct.pack("!QBHH", self._sequence, content_type, 0x0303, len(plain))
        self._sequence += 1
        mac = bytearray(hmac.new(self._mac_key, head + plain, self._digest).digest())
        if bad_mac:
            mac[0] ^= 1
        # One block more than needed, so that there is padding to be damaged.
        fill = 31 - (len(plain) + len(mac)) % 16
        tail = bytearray([fill] * (fill + 1))
        if padding == "bad":
            tail[0] ^= 1
        elif padding == "long":
            tail[-1] = 255
        iv = os.urandom(16)
        sealed, block = iv, iv
        body = plain + bytes(mac) + bytes(tail)
        for at in range(0, len(body), 16):
            block = self._aes.block(bytes(one ^ other for one, other in zip(body[at : at + 16], block)))
            sealed += block
        return wire.record(content_type, 0x0303, sealed)


_TEXT = b"x" * 32
_CBC_VARIANTS: dict[str, tuple[bytes, dict[str, t.Any]]] = {
    "wrong MAC": (_TEXT, {"bad_mac": True}),
    "wrong padding": (_TEXT, {"padding": "bad"}),
    "padding too long": (_TEXT, {"padding": "long"}),
    "wrong MAC and padding": (_TEXT, {"bad_mac": True, "padding": "bad"}),
    "empty, wrong MAC": (b"", {"bad_mac": True}),
    "empty, wrong padding": (b"", {"padding": "bad"}),
}


def cbc_suites(suites: t.Iterable[int]) -> list[int]:
    """Those that can be tested here."""
    return [code for code in suites if _AES_CBC.match(data.SUITES[code].name)]


def cbc(peer: _handshake.Peer, suites: t.Sequence[int]) -> str | bool | None:
    """How the responses of TLS 1.2 to differently malformed CBC records differ; False if they do not."""

    def attempt(variant: str) -> str:
        with _greeted(peer, "TLSv1.2", suites) as hello:
            premaster, message = _key_exchange(hello)
            client = wire.message(wire.CERTIFICATE, wire.vector(3, b"")) if hello.certificate_requested else b""
            client += message
            sealer = Sealer(data.SUITES[hello.server.suite], premaster, (hello.random, hello.server.random))
            hello.stream.send(
                wire.record(wire.HANDSHAKE, 0x0303, client)
                + wire.record(wire.CHANGE_CIPHER_SPEC, 0x0303, b"\x01")
                + sealer.finished(hello.transcript + client)
            )
            finished = next((event for event in hello.events if isinstance(event, wire.Protected)), None)
            if finished is None or finished.content_type != wire.HANDSHAKE:
                raise Lost
            plain, damage = _CBC_VARIANTS[variant]
            hello.stream.send(sealer.seal(wire.APPLICATION_DATA, plain, **damage))
            return _response(hello)

    return _compare(attempt, _CBC_VARIANTS)


def _key_exchange(hello: Hello) -> tuple[bytes, bytes]:
    """A premaster secret and the ClientKeyExchange that brings it."""
    if hello.exchange is None:
        block = _rsa_block("well formed", (hello.key.bits + 7) // 8)
        return block[-48:], _rsa_message(hello.key, block)
    if hello.exchange.group not in crypto.Share.GROUPS:
        raise Lost
    share = crypto.Share(hello.exchange.group)
    return share.agree(hello.exchange.key), wire.message(wire.CLIENT_KEY_EXCHANGE, wire.vector(1, share.public))

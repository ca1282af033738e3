# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The TLS wire format, as much of it as a prober needs: ClientHellos out, everything up to ServerHelloDone in.

Building never fails. Every parser takes bytes and gives a value or raises L(ParseError), whatever the bytes are; it
never reads past their end and never loops without consuming. Format: RFC 5246, RFC 8446, RFC 6101 (SSL 3.0), the
SSL 2.0 draft, and the extensions' own documents.
"""

from __future__ import annotations

import os
import struct
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

# Content types of records.
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
_CONTENT_TYPES = (CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, 24)

# Handshake messages.
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS, CERTIFICATE = 1, 2, 4, 8, 11
SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE = (
    12,
    13,
    14,
    15,
    16,
)
FINISHED, CERTIFICATE_STATUS = 20, 22

# Extensions.
SERVER_NAME, STATUS_REQUEST, SUPPORTED_GROUPS, EC_POINT_FORMATS, SIGNATURE_ALGORITHMS, HEARTBEAT, ALPN = (
    0,
    5,
    10,
    11,
    13,
    15,
    16,
)
ENCRYPT_THEN_MAC, EXTENDED_MASTER_SECRET, SESSION_TICKET, SUPPORTED_VERSIONS, KEY_SHARE = 22, 23, 35, 43, 51
RENEGOTIATION_INFO = 0xFF01

RENEGOTIATION_SCSV = 0x00FF

# The random value that makes a ServerHello a HelloRetryRequest (RFC 8446, 4.1.3).
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

# A record's payload: 2**14 and what compression and encryption may add (RFC 5246, 6.2.3).
MAX_RECORD = (1 << 14) + 2048
# OpenSSL takes chains up to 100 kB; a longer handshake message is refused.
MAX_MESSAGE = 128 * 1024


class Reader:
    """Reads big-endian fields off a byte string and refuses to go past its end."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ParseError(f"{self._what}: {size} bytes wanted, {self.left} left")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, length_size: int) -> bytes:
        """A vector: its length in C(length_size) bytes, then its bytes."""
        return self.take(self.number(length_size))

    def inner(self, length_size: int) -> Reader:
        return Reader(self.block(length_size), self._what)

    def end(self) -> None:
        if self.left:
            raise ParseError(f"{self._what}: {self.left} bytes too many")


def vector(length_size: int, data: bytes) -> bytes:
    """The bytes with their length in front."""
    return len(data).to_bytes(length_size, "big") + data


def _numbers(numbers: t.Sequence[int]) -> bytes:
    return struct.pack("!%dH" % len(numbers), *numbers)


def record(content_type: int, version: int, payload: bytes) -> bytes:
    return struct.pack("!BHH", content_type, version, len(payload)) + payload


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(3, body)


def client_hello(
    version: int,
    suites: t.Sequence[int],
    *,
    server_name: str | None = None,
    groups: t.Sequence[int] = (),
    signatures: t.Sequence[int] = (),
    alpn: t.Sequence[str] = (),
    compressions: t.Sequence[int] = (0,),
    extras: bool = False,
    key_shares: t.Sequence[tuple[int, bytes]] = (),
    renegotiation: bytes = b"",
    random: bytes | None = None,
    older: t.Sequence[int] = (),
) -> bytes:
    """A ClientHello message (without its record) for protocol C(version) (0x0300 to 0x0304) and nothing newer.

    With 0x0304 it offers TLS 1.3 only, unless C(older) names other versions. C(extras) offers what is only there to
    see whether the server takes it: session ticket, extended master secret, encrypt-then-MAC, heartbeat, a stapled OCSP
    response. C(renegotiation) is the verify data when this renegotiates. Of the extensions an SSL 3.0 hello carries
    only what a server may insist on, the names: RFC 6101 has servers ignore what follows the compression methods.
    """
    suites = list(suites)
    extensions: list[tuple[int, bytes]] = []
    if server_name:
        extensions.append((SERVER_NAME, names(server_name)))
    if groups:
        extensions.append((SUPPORTED_GROUPS, numbers(groups)))
        extensions.append((EC_POINT_FORMATS, b"\x01\x00"))
    if version >= 0x0303 and signatures:
        extensions.append((SIGNATURE_ALGORITHMS, numbers(signatures)))
    if alpn:
        extensions.append((ALPN, alpn_names(alpn)))
    if extras:
        extensions.append((STATUS_REQUEST, OCSP_REQUEST))
    if version >= 0x0304:
        extensions.append((SUPPORTED_VERSIONS, versions([version, *older])))
        extensions.append((KEY_SHARE, shares(key_shares)))
    if version < 0x0304 or older:
        extensions.append((RENEGOTIATION_INFO, vector(1, renegotiation)))
        if extras:
            extensions.extend(
                ((SESSION_TICKET, b""), (EXTENDED_MASTER_SECRET, b""), (ENCRYPT_THEN_MAC, b""), (HEARTBEAT, b"\x01"))
            )
    if version == 0x0300:
        extensions = [(kind, content) for kind, content in extensions if kind in (SERVER_NAME, ALPN)]
        suites.append(RENEGOTIATION_SCSV)
    return plain_hello(version, suites, extensions, compressions, random)


def plain_hello(
    version: int,
    suites: t.Sequence[int],
    extensions: t.Sequence[tuple[int, bytes]],
    compressions: t.Sequence[int] = (0,),
    random: bytes | None = None,
) -> bytes:
    """A ClientHello message with just these extensions (number and content) for protocols up to C(version)."""
    body = struct.pack("!H", min(version, 0x0303)) + (random or os.urandom(32))
    # A session identifier makes TLS 1.3 look like a resumption to middleboxes (RFC 8446, D.4).
    body += vector(1, os.urandom(32) if version >= 0x0304 else b"")
    body += vector(2, _numbers(suites)) + vector(1, bytes(compressions))
    if extensions:
        body += vector(2, b"".join(struct.pack("!HH", kind, len(data)) + data for kind, data in extensions))
    return message(CLIENT_HELLO, body)


# Contents of extensions.


def names(server_name: str) -> bytes:
    return vector(2, b"\0" + vector(2, server_name.encode("ascii", "replace")))


def alpn_names(protocols: t.Sequence[str]) -> bytes:
    return vector(2, b"".join(vector(1, name.encode("ascii")) for name in protocols))


def shares(keys: t.Sequence[tuple[int, bytes]]) -> bytes:
    return vector(2, b"".join(struct.pack("!H", group) + vector(2, key) for group, key in keys))


def numbers(values: t.Sequence[int]) -> bytes:
    """A list of code points, as groups and signature algorithms are."""
    return vector(2, _numbers(values))


def versions(values: t.Sequence[int]) -> bytes:
    return vector(1, _numbers(values))


OCSP_REQUEST = b"\x01\x00\x00\x00\x00"


def hello_record(version: int, hello: bytes) -> bytes:
    """The record around a first ClientHello: 0x0301 at most, which every server has learnt to accept."""
    return record(HANDSHAKE, min(version, 0x0301), hello)


def ssl2_client_hello(suites: t.Sequence[int], version: int = 0x0002) -> bytes:
    """An SSL 2.0 CLIENT-HELLO with its record header; suites have three bytes each.

    With a C(version) of TLS it is the hello of a client that spoke SSL 2.0 too (RFC 5246, E.2).
    """
    challenge = os.urandom(16)
    specs = b"".join(suite.to_bytes(3, "big") for suite in suites)
    body = b"\x01" + struct.pack("!H", version) + struct.pack("!HHH", len(specs), 0, len(challenge)) + specs + challenge
    return struct.pack("!H", 0x8000 | len(body)) + body


class Alert(t.NamedTuple):
    level: int
    description: int

    @property
    def fatal(self) -> bool:
        return self.level == 2


class Message(t.NamedTuple):
    """A handshake message. C(raw) is it all, as it goes into the transcript."""

    kind: int
    body: bytes
    raw: bytes


class Protected(t.NamedTuple):
    """A record whose content we have no key for here: C(header) is its five bytes, as additional data needs them."""

    content_type: int
    header: bytes
    payload: bytes


class MessageBuffer:
    """Puts handshake messages together again that were split over records, or shared one."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        messages = []
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[1:4], "big")
            if size > MAX_MESSAGE:
                raise ParseError(f"a handshake message of {size} bytes")
            if len(self._buffer) < 4 + size:
                break
            raw, self._buffer = self._buffer[: 4 + size], self._buffer[4 + size :]
            messages.append(Message(raw[0], raw[4:], raw))
        return messages


def _check_http(start: bytes) -> None:
    """Raises ParseError where a response can only be one of a web server without TLS."""
    if b"HTTP/".startswith(start[:5]) or start[:1] == b"<":
        raise ParseError("plain HTTP, not TLS")


class RecordStream:
    """Cuts what a server sends into alerts, handshake messages and protected records, byte by byte if need be.

    A handshake record after ChangeCipherSpec is protected too.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._messages = MessageBuffer()
        self._protected = False

    def feed(self, data: bytes) -> list[Alert | Message | Protected]:
        self._buffer += data
        events: list[Alert | Message | Protected] = []
        while self._buffer:
            self._check_start()
            if len(self._buffer) < 5:
                break
            content_type, _version, length = struct.unpack("!BHH", self._buffer[:5])
            if length > MAX_RECORD:
                raise ParseError(f"a record of {length} bytes")
            if len(self._buffer) < 5 + length:
                break
            header, payload, self._buffer = self._buffer[:5], self._buffer[5 : 5 + length], self._buffer[5 + length :]
            events.extend(self._read(content_type, header, payload))
        return events

    def _check_start(self) -> None:
        """Find out early that this is no TLS: the first byte is a known type, the second the major version."""
        start = self._buffer[:2]
        if start[0] in _CONTENT_TYPES and start[1:] in (b"", b"\x03"):
            return
        _check_http(self._buffer)
        raise ParseError(f"not a TLS record: it begins with {self._buffer[:8].hex()}")

    def _read(self, content_type: int, header: bytes, payload: bytes) -> t.Iterable[Alert | Message | Protected]:
        if content_type == CHANGE_CIPHER_SPEC:
            # TLS 1.3 sends one for show, before protected application data: nothing is lost by taking it seriously.
            self._protected = True
        elif content_type == APPLICATION_DATA or self._protected:
            yield Protected(content_type, header, payload)
        elif content_type == ALERT:
            if len(payload) != 2:
                raise ParseError(f"an alert of {len(payload)} bytes")
            yield Alert(payload[0], payload[1])
        elif content_type == HANDSHAKE:
            if not payload:
                raise ParseError("an empty handshake record")
            yield from self._messages.feed(payload)


def read_extensions(reader: Reader) -> dict[int, bytes]:
    """Extension number to data of the block that comes next; an absent block is an empty one."""
    found: dict[int, bytes] = {}
    if not reader.left:
        return found
    block = reader.inner(2)
    while block.left:
        kind = block.number(2)
        if kind in found:
            raise ParseError(f"extension {kind} twice")
        found[kind] = block.block(2)
    return found


class ServerHello(t.NamedTuple):
    """The content of a ServerHello. C(version) is the negotiated one (0x0300 to 0x0304); with C(retry) it is a
    HelloRetryRequest. C(group) is the group of the key share or of the retry, C(key) the server's share (or None)."""

    version: int
    random: bytes
    suite: int
    compression: int
    extensions: dict[int, bytes]
    retry: bool
    group: int | None
    key: bytes | None

    @property
    def downgraded(self) -> bool:
        """Whether a server with TLS 1.3 (or 1.2) marks that it had to choose an older one (RFC 8446, 4.1.3)."""
        return self.random[24:31] == b"DOWNGRD"

    @property
    def alpn(self) -> str | None:
        data = self.extensions.get(ALPN)
        return None if data is None else read_alpn(data)


def read_alpn(data: bytes) -> str:
    names = Reader(data, "ALPN").inner(2)
    name = names.block(1)
    names.end()
    return name.decode("ascii", "backslashreplace")


def read_server_hello(body: bytes) -> ServerHello:
    reader = Reader(body, "ServerHello")
    version = reader.number(2)
    random = reader.take(32)
    if len(reader.block(1)) > 32:
        raise ParseError("ServerHello: a session identifier of more than 32 bytes")
    suite = reader.number(2)
    compression = reader.number(1)
    extensions = read_extensions(reader)
    reader.end()
    retry = random == _RETRY
    group = key = None
    if SUPPORTED_VERSIONS in extensions:
        selected = Reader(extensions[SUPPORTED_VERSIONS], "supported_versions")
        version = selected.number(2)
        selected.end()
    if version not in (0x0300, 0x0301, 0x0302, 0x0303, 0x0304):
        raise ParseError(f"ServerHello: version {version:#06x}")
    if retry and version != 0x0304:
        raise ParseError(f"HelloRetryRequest: version {version:#06x}")
    if KEY_SHARE in extensions:
        share = Reader(extensions[KEY_SHARE], "key_share")
        group = share.number(2)
        if not retry:
            key = share.block(2)
        share.end()
    return ServerHello(version, random, suite, compression, extensions, retry, group, key)


def read_certificates(body: bytes) -> list[bytes]:
    """The chain (DER) of a Certificate message up to TLS 1.2, the server's own first."""
    reader = Reader(body, "Certificate")
    chain = reader.inner(3)
    reader.end()
    certificates = []
    while chain.left:
        certificates.append(chain.block(3))
    return certificates


def read_certificates13(body: bytes) -> tuple[list[bytes], bytes | None]:
    """The chain (DER) of a TLS 1.3 Certificate message and the OCSP response stapled to its first entry, if any."""
    reader = Reader(body, "Certificate")
    reader.block(1)
    chain = reader.inner(3)
    reader.end()
    certificates: list[bytes] = []
    staple = None
    while chain.left:
        certificates.append(chain.block(3))
        extensions = read_extensions(chain)
        if len(certificates) == 1 and STATUS_REQUEST in extensions:
            staple = read_certificate_status(extensions[STATUS_REQUEST])
    return certificates, staple


def read_certificate_status(body: bytes) -> bytes:
    """The OCSP response (DER) of a CertificateStatus message."""
    reader = Reader(body, "CertificateStatus")
    if reader.number(1) != 1:
        raise ParseError("CertificateStatus: not OCSP")
    response = reader.block(3)
    reader.end()
    return response


class KeyExchange(t.NamedTuple):
    """Parameters of a ServerKeyExchange: either a named group with the server's point, or a prime of C(bits) bits."""

    group: int | None
    key: bytes
    bits: int | None


def read_key_exchange(body: bytes, exchange: str) -> KeyExchange | None:
    """The parameters of a ServerKeyExchange for C(exchange) (C(ECDHE_RSA), C(DHE_RSA), …); None for other kinds."""
    reader = Reader(body, "ServerKeyExchange")
    if exchange.startswith(("ECDHE_PSK", "DHE_PSK", "PSK", "RSA_PSK")):
        reader.block(2)
    if exchange.startswith("ECDH"):
        kind = reader.number(1)
        if kind != 3:
            # An explicit curve: legal once, now unused, so there is no parser for it.
            raise ParseError("ServerKeyExchange: an explicit curve")
        group = reader.number(2)
        return KeyExchange(group, reader.block(1), None)
    if exchange.startswith("DH"):
        prime, _generator, key = reader.block(2), reader.block(2), reader.block(2)
        return KeyExchange(None, key, int.from_bytes(prime, "big").bit_length())
    return None


class Ssl2Hello(t.NamedTuple):
    version: int
    suites: list[int]
    certificate: bytes


class Ssl2Error(t.NamedTuple):
    """An ERROR message of SSL 2.0: no cipher, no certificate, and so on."""

    code: int


def read_ssl2_server_hello(data: bytes) -> Ssl2Hello | Ssl2Error | None:
    """The SERVER-HELLO of SSL 2.0, or the ERROR instead of it; None while bytes are missing."""
    if data and not data[0] & 0x80:
        _check_http(data)
        raise ParseError("not an SSL 2.0 record")
    if len(data) < 2:
        return None
    size = int.from_bytes(data[:2], "big") & 0x7FFF
    if len(data) < 2 + size:
        return None
    reader = Reader(data[2 : 2 + size], "SSL 2.0 SERVER-HELLO")
    kind = reader.number(1)
    if kind == 0 and size == 3:
        return Ssl2Error(reader.number(2))
    if kind != 4:
        raise ParseError("SSL 2.0: not a SERVER-HELLO")
    reader.take(2)
    version = reader.number(2)
    sizes = reader.number(2), reader.number(2), reader.number(2)
    certificate, specs = reader.take(sizes[0]), reader.take(sizes[1])
    reader.take(sizes[2])
    reader.end()
    if version != 2 or len(specs) % 3:
        raise ParseError("SSL 2.0: not a SERVER-HELLO")
    suites = [int.from_bytes(specs[at : at + 3], "big") for at in range(0, len(specs), 3)]
    return Ssl2Hello(version, suites, certificate)

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Reads from an X.509 certificate (DER) what a TLS verifier wants to know. It checks no signature.

Every reader raises L(ParseError) for bytes that are no certificate, whatever they are. Names come out as text in which
control and formatting characters are escaped: a certificate is written by a stranger.

RFC 5280, RFC 5912, RFC 7633.
"""

from __future__ import annotations

import calendar
import hashlib
import ipaddress
import re
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.idna import to_ascii
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

_BOOLEAN, _INTEGER, _BITS, _OCTETS, _OID, _SEQUENCE, _SET = 0x01, 0x02, 0x03, 0x04, 0x06, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18

# Signature algorithms: name, and the digest that the rules check.
SIGNATURES = {
    "1.2.840.113549.1.1.2": ("md2WithRSAEncryption", "md2"),
    "1.2.840.113549.1.1.3": ("md4WithRSAEncryption", "md4"),
    "1.2.840.113549.1.1.4": ("md5WithRSAEncryption", "md5"),
    "1.2.840.113549.1.1.5": ("sha1WithRSAEncryption", "sha1"),
    "1.2.840.113549.1.1.10": ("rsassaPss", "sha1"),
    "1.2.840.113549.1.1.11": ("sha256WithRSAEncryption", "sha256"),
    "1.2.840.113549.1.1.12": ("sha384WithRSAEncryption", "sha384"),
    "1.2.840.113549.1.1.13": ("sha512WithRSAEncryption", "sha512"),
    "1.2.840.113549.1.1.14": ("sha224WithRSAEncryption", "sha224"),
    "1.2.840.10040.4.3": ("dsa-with-SHA1", "sha1"),
    "2.16.840.1.101.3.4.3.2": ("dsa-with-SHA256", "sha256"),
    "1.2.840.10045.4.1": ("ecdsa-with-SHA1", "sha1"),
    "1.2.840.10045.4.3.1": ("ecdsa-with-SHA224", "sha224"),
    "1.2.840.10045.4.3.2": ("ecdsa-with-SHA256", "sha256"),
    "1.2.840.10045.4.3.3": ("ecdsa-with-SHA384", "sha384"),
    "1.2.840.10045.4.3.4": ("ecdsa-with-SHA512", "sha512"),
    "1.3.101.112": ("Ed25519", "sha512"),
    "1.3.101.113": ("Ed448", "shake256"),
    "2.16.840.1.101.3.4.3.17": ("ML-DSA-44", "shake256"),
    "2.16.840.1.101.3.4.3.18": ("ML-DSA-65", "shake256"),
    "2.16.840.1.101.3.4.3.19": ("ML-DSA-87", "shake256"),
}
_DIGESTS = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_RSA_KEYS = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10")
_EC_KEY, _DSA_KEY = "1.2.840.10045.2.1", "1.2.840.10040.4.1"
# Keys whose algorithm decides everything: type and bits.
_FIXED_KEYS = {
    "1.3.101.112": ("Ed25519", 256),
    "1.3.101.113": ("Ed448", 456),
    "2.16.840.1.101.3.4.3.17": ("ML-DSA", 10496),
    "2.16.840.1.101.3.4.3.18": ("ML-DSA", 15616),
    "2.16.840.1.101.3.4.3.19": ("ML-DSA", 20736),
}
CURVES = {
    "1.2.840.10045.3.1.1": ("secp192r1", 192),
    "1.3.132.0.33": ("secp224r1", 224),
    "1.2.840.10045.3.1.7": ("secp256r1", 256),
    "1.3.132.0.10": ("secp256k1", 256),
    "1.3.132.0.34": ("secp384r1", 384),
    "1.3.132.0.35": ("secp521r1", 521),
    "1.3.36.3.3.2.8.1.1.7": ("brainpoolP256r1", 256),
    "1.3.36.3.3.2.8.1.1.11": ("brainpoolP384r1", 384),
    "1.3.36.3.3.2.8.1.1.13": ("brainpoolP512r1", 512),
}
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_TIMESTAMPS = "1.3.6.1.4.1.11129.2.4.2"
_SKI, _SAN, _BASIC, _AKI, _AIA, _TLS_FEATURE, _EXTENDED_KEY_USAGE, _CRL_POINTS = (
    "2.5.29.14",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.35",
    "1.3.6.1.5.5.7.1.1",
    "1.3.6.1.5.5.7.1.24",
    "2.5.29.37",
    "2.5.29.31",
)
# Seconds that an intermediate certificate should last, whatever the server's does: one for a day at a time never lasts
# longer than it.
CHAIN_SOON = 30 * 86400
_AIA_OCSP, _AIA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"


class Node(t.NamedTuple):
    """One DER element: C(raw) with tag and length, C(body) without."""

    tag: int
    body: bytes
    raw: bytes


class Der:
    """Reads DER elements one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def peek(self) -> int | None:
        return self._data[self._at] if self.left else None

    def node(self, tag: int | None = None) -> Node:
        data, start = self._data, self._at
        if self.left < 2:
            raise ParseError("certificate: it ends too early")
        found, length = data[start], data[start + 1]
        if found & 0x1F == 0x1F:
            raise ParseError("certificate: a tag of more than one byte")
        head = 2
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or self.left < 2 + size:
                raise ParseError("certificate: a length that is none")
            length = int.from_bytes(data[start + 2 : start + 2 + size], "big")
            head += size
        if self.left < head + length:
            raise ParseError("certificate: it ends too early")
        if tag is not None and found != tag:
            raise ParseError(f"certificate: tag {found:#04x} where {tag:#04x} should be")
        self._at = start + head + length
        return Node(found, data[start + head : self._at], data[start : self._at])

    def inside(self, tag: int = _SEQUENCE) -> Der:
        return Der(self.node(tag).body)

    def optional(self, tag: int) -> Node | None:
        return self.node(tag) if self.peek() == tag else None


def read_oid(body: bytes) -> str:
    arcs: list[int] = []
    value = 0
    for byte in body:
        value = value << 7 | byte & 0x7F
        if value.bit_length() > 128:
            raise ParseError("certificate: an object identifier too long")
        if not byte & 0x80:
            arcs.extend((min(value // 40, 2), value - 40 * min(value // 40, 2)) if not arcs else (value,))
            value = 0
    if not body or body[-1] & 0x80:
        raise ParseError("certificate: an object identifier that is none")
    return ".".join(map(str, arcs))


def _integer(body: bytes) -> int:
    if not body:
        raise ParseError("certificate: an empty integer")
    return int.from_bytes(body, "big", signed=True)


def read_bits(body: bytes) -> bytes:
    if not body or body[0] > 7:
        raise ParseError("certificate: a bit string that is none")
    return body[1:]


def _text(node: Node) -> str:
    encoding = {0x1E: "utf-16-be", 0x1C: "utf-32-be", 0x0C: "utf-8"}.get(node.tag, "latin-1")
    return printable(node.body.decode(encoding, "replace"))


def _name(data: bytes) -> str:
    """A distinguished name as text, the most specific part last, as it is stored."""
    parts = []
    rdns = Der(data)
    while rdns.left:
        rdn = rdns.inside(_SET)
        while rdn.left:
            pair = rdn.inside()
            oid = read_oid(pair.node(_OID).body)
            parts.append(f"{_ATTRIBUTES.get(oid, oid)}={_text(pair.node())}")
    return ", ".join(parts)


def read_time(node: Node) -> int:
    """A time as seconds since 1970."""
    text = node.body.decode("ascii", "replace")
    if node.tag == _UTC_TIME and re.match(r"\d{12}Z$", text, re.ASCII):
        text = ("19" if text[:2] >= "50" else "20") + text
    elif node.tag != _GENERALIZED_TIME or not re.match(r"\d{14}Z$", text, re.ASCII):
        raise ParseError("certificate: a time that is none")
    try:
        return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))
    except ValueError:
        raise ParseError("certificate: a time that is none") from None


def date(seconds: float) -> str:
    """RFC 3339, UTC."""
    if not -62135596800 <= seconds <= 253402300799:
        return "out of range"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Key(t.NamedTuple):
    """A public key: C(type) RSA, EC, DSA, Ed25519, Ed448, ML-DSA or an OID; C(curve) for EC, C(exponent) and C(modulus)
    for RSA. C(scheme) is the type, but for an RSA key that may only sign with PSS."""

    type: str
    bits: int
    curve: str | None = None
    exponent: int | None = None
    modulus: int | None = None
    scheme: str = ""

    def weaker(self, modulus: int, field: int) -> bool:
        """Whether it has fewer bits than that: C(modulus) counts for RSA and DSA, C(field) for curves."""
        return self.bits < (modulus if self.type in ("RSA", "DSA") else field)

    @property
    def description(self) -> str:
        return f"{self.type} {self.curve or self.bits}"


class Certificate(t.NamedTuple):
    """A certificate. Times are seconds since 1970, identifiers lower-case hexadecimal."""

    der: bytes
    serial: str
    subject: str
    issuer: str
    subject_der: bytes
    issuer_der: bytes
    not_before: int
    not_after: int
    key: Key
    key_sha256: str
    signature: str
    digest: str
    dns_names: list[str]
    addresses: list[str]
    authority: bool
    subject_key_id: str | None
    authority_key_id: str | None
    ocsp_urls: list[str]
    issuer_urls: list[str]
    must_staple: bool
    # What verifying needs: extended key usages, the signed part, its signature, and the public key with its algorithm.
    purposes: t.Sequence[str] = ()
    tbs: bytes = b""
    algorithm: bytes = b""
    signed: bytes = b""
    spki: bytes = b""
    # Whether it carries proofs that it was logged (RFC 6962), as those of public authorities do.
    logged: bool = False
    crl_urls: t.Sequence[str] = ()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def key_bits(self) -> bytes:
        """The public key without its algorithm, as key identifiers are made of it."""
        reader = Der(self.spki).inside()
        reader.node()
        return read_bits(reader.node(_BITS).body)

    @property
    def self_signed(self) -> bool:
        return self.subject_der == self.issuer_der and self.authority_key_id in (None, self.subject_key_id)

    def issued(self, other: Certificate) -> bool:
        """Whether by names and key identifiers this one issued the other."""
        if self.subject_der != other.issuer_der:
            return False
        return None in (self.subject_key_id, other.authority_key_id) or self.subject_key_id == other.authority_key_id


def _key(spki: Node) -> Key:
    reader = Der(spki.body)
    algorithm = reader.inside()
    bits = read_bits(reader.node(_BITS).body)
    oid = read_oid(algorithm.node(_OID).body)
    if oid in _RSA_KEYS:
        numbers = Der(bits).inside()
        modulus, exponent = _integer(numbers.node(_INTEGER).body), _integer(numbers.node(_INTEGER).body)
        scheme = "RSA" if oid == _RSA_KEYS[0] else "RSA-PSS"
        return Key("RSA", modulus.bit_length(), None, exponent, modulus, scheme)
    if oid == _EC_KEY:
        curve = algorithm.node()
        if curve.tag != _OID:
            # Explicit parameters: the size of the field is that of the point.
            return Key("EC", max(len(bits) - 1, 0) * 4, "explicit")
        named = read_oid(curve.body)
        name, size = CURVES.get(named, (named, max(len(bits) - 1, 0) * 4))
        return Key("EC", size, name)
    if oid == _DSA_KEY:
        prime = algorithm.inside().node(_INTEGER) if algorithm.left else None
        return Key("DSA", _integer(prime.body).bit_length() if prime else 0)
    kind, size = _FIXED_KEYS.get(oid, (oid, len(bits) * 8))
    return Key(kind, size)


def read_signature(algorithm: Node) -> tuple[str, str]:
    reader = Der(algorithm.body)
    oid = read_oid(reader.node(_OID).body)
    name, digest = SIGNATURES.get(oid, (oid, "unknown"))
    if name == "rsassaPss" and reader.peek() == _SEQUENCE:
        hashed = reader.inside().optional(0xA0)
        if hashed:
            digest = _DIGESTS.get(read_oid(Der(hashed.body).inside().node(_OID).body), "unknown")
    return name, digest


def _address(body: bytes) -> str:
    if len(body) not in (4, 16):
        raise ParseError(f"certificate: an address of {len(body)} bytes")
    return str(ipaddress.ip_address(body))


def _extensions(node: Node) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    reader = Der(node.body).inside()
    while reader.left:
        extension = reader.inside()
        oid = read_oid(extension.node(_OID).body)
        extension.optional(_BOOLEAN)
        if oid in found:
            raise ParseError(f"certificate: extension {oid} twice")
        found[oid] = extension.node(_OCTETS).body
    return found


def _access(data: bytes | None) -> dict[str, list[str]]:
    """Authority information access: method to URIs."""
    found: dict[str, list[str]] = {}
    reader = Der(data).inside() if data is not None else Der(b"")
    while reader.left:
        entry = reader.inside()
        method, location = read_oid(entry.node(_OID).body), entry.node()
        if location.tag == 0x86:
            found.setdefault(method, []).append(_text(location))
    return found


def _crl_urls(data: bytes | None) -> list[str]:
    """Where the issuer's own CRLs are that have this certificate in their scope, and all reasons."""
    found = []
    points = Der(data).inside() if data is not None else Der(b"")
    while points.left:
        point = points.inside()
        name = point.optional(0xA0)
        if name and not point.left:
            full = Der(name.body).optional(0xA0)
            names = Der(full.body) if full else Der(b"")
            while names.left:
                one = names.node()
                found += [_text(one)] if one.tag == 0x86 else []
    return found


def _purposes(data: bytes | None) -> list[str]:
    found = []
    reader = Der(data).inside() if data is not None else Der(b"")
    while reader.left:
        found.append(read_oid(reader.node(_OID).body))
    return found


def _must_staple(data: bytes | None) -> bool:
    features = []
    reader = Der(data).inside() if data is not None else Der(b"")
    while reader.left:
        features.append(_integer(reader.node(_INTEGER).body))
    return 5 in features


def _alternative_names(data: bytes | None) -> tuple[list[str], list[str]]:
    """The DNS names and the addresses of the extension subjectAltName; others do not matter here."""
    dns_names, addresses = [], []
    names = Der(data).inside() if data is not None else Der(b"")
    while names.left:
        name = names.node()
        if name.tag == 0x82:
            dns_names.append(_text(name))
        elif name.tag == 0x87:
            addresses.append(_address(name.body))
    return dns_names, addresses


def read_certificate(der: bytes) -> Certificate:
    """Read one certificate. Raises L(ParseError)."""
    outer = Der(der)
    whole = outer.node(_SEQUENCE)
    if outer.left:
        raise ParseError("certificate: bytes after its end")
    parts = Der(whole.body)
    body, algorithm, signed = parts.node(_SEQUENCE), parts.node(_SEQUENCE), parts.node(_BITS)
    tbs = Der(body.body)
    tbs.optional(0xA0)
    serial = tbs.node(_INTEGER).body
    tbs.node(_SEQUENCE)
    issuer = tbs.node(_SEQUENCE)
    validity = tbs.inside()
    not_before, not_after = read_time(validity.node()), read_time(validity.node())
    subject = tbs.node(_SEQUENCE)
    spki = tbs.node(_SEQUENCE)
    tbs.optional(0x81)
    tbs.optional(0x82)
    block = tbs.optional(0xA3)
    extensions = _extensions(block) if block else {}
    dns_names, addresses = _alternative_names(extensions.get(_SAN))
    basic = Der(extensions[_BASIC]).inside().optional(_BOOLEAN) if _BASIC in extensions else None
    ski = Der(extensions[_SKI]).node(_OCTETS).body.hex() if _SKI in extensions else None
    aki = Der(extensions[_AKI]).inside().optional(0x80) if _AKI in extensions else None
    access = _access(extensions.get(_AIA))
    signature, digest = read_signature(algorithm)
    return Certificate(
        der=der,
        serial=serial.hex(),
        subject=_name(subject.body),
        issuer=_name(issuer.body),
        subject_der=subject.raw,
        issuer_der=issuer.raw,
        not_before=not_before,
        not_after=not_after,
        key=_key(spki),
        key_sha256=hashlib.sha256(spki.raw).hexdigest(),
        signature=signature,
        digest=digest,
        dns_names=dns_names,
        addresses=addresses,
        authority=bool(basic and basic.body != b"\x00"),
        subject_key_id=ski,
        authority_key_id=aki.body.hex() if aki else None,
        ocsp_urls=access.get(_AIA_OCSP, []),
        issuer_urls=access.get(_AIA_ISSUERS, []),
        must_staple=_must_staple(extensions.get(_TLS_FEATURE)),
        purposes=_purposes(extensions.get(_EXTENDED_KEY_USAGE)),
        tbs=body.raw,
        algorithm=algorithm.raw,
        signed=read_bits(signed.body),
        spki=spki.raw,
        logged=_TIMESTAMPS in extensions,
        crl_urls=_crl_urls(extensions.get(_CRL_POINTS)),
    )


def ascii_name(name: str) -> str:
    """A host name with A-labels for international ones, without the dot at its end; as it is if it is none."""
    try:
        return to_ascii(name)
    except ValueError:
        return name


def matches(certificate: Certificate, name: str) -> bool:
    """Whether the certificate is for this host name or address; the common name does not count (RFC 9525)."""
    try:
        return str(ipaddress.ip_address(name)) in certificate.addresses
    except ValueError:
        pass
    host = ascii_name(name).lower()
    label, _dot, parent = host.partition(".")
    for pattern in (text.lower() for text in certificate.dns_names):
        if pattern == host or (pattern.startswith("*.") and label and "." in parent and pattern[2:] == parent):
            return True
    return False


def ends_first(one: Certificate, leaf: Certificate, now: float) -> bool:
    """Whether an intermediate certificate ends before the server's does, or soon: a renewal of the server's certificate
    that still has this issuer would not help. C(now) is seconds since 1970.
    """
    return not one.self_signed and one.not_after < max(leaf.not_after, now + CHAIN_SOON)


def chain_of(certificates: t.Sequence[Certificate]) -> list[Certificate]:
    """The path from the first certificate upwards, as far as the others lead; each is used once."""
    path = list(certificates[:1])
    rest = list(certificates[1:])
    while path and not path[-1].self_signed:
        issuer = next((other for other in rest if other.issued(path[-1])), None)
        if issuer is None:
            break
        rest.remove(issuer)
        path.append(issuer)
    return path

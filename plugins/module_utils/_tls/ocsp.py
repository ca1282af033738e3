# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Is a stapled OCSP response valid (RFC 6960): for this certificate, by its issuer, signed, and current?

A server can staple whatever it likes, so that a response counts only if all of this holds. The signature is verified
with C(cryptography), which a controller has; without it nothing is known.
"""

from __future__ import annotations

import hashlib
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

_BASIC = "1.3.6.1.5.5.7.48.1.1"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
# Digests that a signature may have. SHA-1 is of the past here, too.
_DIGESTS = ("sha256", "sha384", "sha512")
# How far clocks may be apart, and how old a response without nextUpdate may be. Seconds.
SKEW, WITHOUT_NEXT = 300, 86400


class Staple(t.NamedTuple):
    """C(status): good, revoked or unknown, as the issuer has it; invalid for a response that does not count, error for
    one without content, not_tested if it cannot be verified here; None without a response. C(reason): why."""

    status: str | None
    reason: str | None


# The worst first: what counts if a server sends several responses.
_ORDER = ("revoked", "unknown", "good", "invalid", "error", "not_tested")


class Single(t.NamedTuple):
    """What a response states about one certificate. Times are seconds since 1970."""

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: str
    status: str
    this_update: int
    next_update: int | None


class Response(t.NamedTuple):
    """A basic response: C(signed) with C(signature); who signed, by C(responder_name) (DER) or C(responder_key)."""

    signed: bytes
    algorithm: bytes
    signature: bytes
    responder_name: bytes | None
    responder_key: bytes | None
    singles: t.Sequence[Single]
    certificates: t.Sequence[bytes]


class Invalid(Exception):
    """Why a response does not count."""


def read(der: bytes) -> Response | None:
    """Read a response; None if the responder refuses to give one. Raises L(ParseError)."""
    outer = x509.Der(der).inside()
    if outer.node(0x0A).body != b"\x00":
        return None
    content = x509.Der(outer.node(0xA0).body).inside()
    if x509.read_oid(content.node(0x06).body) != _BASIC:
        raise ParseError("OCSP: not a basic response")
    basic = x509.Der(content.node(0x04).body).inside()
    signed, algorithm, signature = basic.node(0x30), basic.node(0x30), basic.node(0x03)
    block = basic.optional(0xA0)
    certificates = []
    reader = x509.Der(block.body).inside() if block else x509.Der(b"")
    while reader.left:
        certificates.append(reader.node(0x30).raw)
    data = x509.Der(signed.body)
    data.optional(0xA0)
    by_name, by_key = data.optional(0xA1), data.optional(0xA2)
    data.node(0x18)
    singles = []
    reader = data.inside()
    while reader.left:
        singles.append(_single(reader.inside()))
    return Response(
        signed.raw,
        algorithm.raw,
        x509.read_bits(signature.body),
        by_name.body if by_name else None,
        x509.Der(by_key.body).node(0x04).body if by_key else None,
        singles,
        certificates,
    )


def _single(reader: x509.Der) -> Single:
    certificate = reader.inside()
    algorithm = x509.read_oid(certificate.inside().node(0x06).body)
    name_hash, key_hash = certificate.node(0x04).body, certificate.node(0x04).body
    serial = certificate.node(0x02).body.hex()
    status = {0x80: "good", 0xA1: "revoked"}.get(reader.node().tag, "unknown")
    this_update = x509.read_time(reader.node(0x18))
    block = reader.optional(0xA0)
    next_update = x509.read_time(x509.Der(block.body).node(0x18)) if block else None
    return Single(_HASHES.get(algorithm, ""), name_hash, key_hash, serial, status, this_update, next_update)


def judge(staples: t.Sequence[bytes], path: t.Sequence[x509.Certificate], now: float | None = None) -> Staple:
    """What the responses mean for the first certificate of C(path), which was issued by the second."""
    now = time.time() if now is None else now
    judged = [_judge(der, path, now) for der in staples]
    return min(judged, key=lambda staple: _ORDER.index(staple.status or "")) if judged else Staple(None, None)


def _judge(der: bytes, path: t.Sequence[x509.Certificate], now: float) -> Staple:
    try:
        response = read(der)
    except ParseError as error:
        return Staple("invalid", str(error))
    if response is None:
        return Staple("error", "the responder sent an error status")
    if len(path) < 2:
        return Staple("not_tested", "the issuer that could have signed it is not known")
    try:
        single = _for(response, path[0], path[1])
        _check_time(single, now)
        _check_signature(response, path[1], now)
    except (Invalid, ParseError) as error:
        return Staple("invalid", str(error))
    except ImportError:
        return Staple("not_tested", "there is no Python package cryptography here that could verify it")
    return Staple(single.status, None)


def _for(response: Response, leaf: x509.Certificate, issuer: x509.Certificate) -> Single:
    """What the response means for this certificate."""
    for single in response.singles:
        if single.algorithm and single.serial == leaf.serial:
            name = hashlib.new(single.algorithm, leaf.issuer_der).digest()
            key = hashlib.new(single.algorithm, issuer.key_bits).digest()
            if (single.name_hash, single.key_hash) == (name, key):
                return single
    raise Invalid("it is for another certificate")


def _check_time(single: Single, now: float) -> None:
    end = single.this_update + WITHOUT_NEXT if single.next_update is None else single.next_update
    if single.this_update > now + SKEW:
        raise Invalid(f"it is not valid before {x509.date(single.this_update)}")
    if end < now - SKEW:
        raise Invalid(f"it is out of date since {x509.date(end)}")


def _check_signature(response: Response, issuer: x509.Certificate, now: float) -> None:
    """Signed by the issuer, or by one to whom the issuer has delegated just this."""
    signer = issuer
    if not _is(response, issuer):
        others = [x509.read_certificate(der) for der in response.certificates]
        delegates = [one for one in others if _is(response, one)]
        if not delegates:
            raise Invalid("who signed it is not known")
        signer = delegates[0]
        if OCSP_SIGNING not in signer.purposes or not issuer.issued(signer):
            raise Invalid("who signed it may not speak for the issuer")
        if not signer.not_before <= now <= signer.not_after:
            raise Invalid("the certificate of who signed it is out of date")
        _verify(issuer, signer.tbs, signer.algorithm, signer.signed)
    _verify(signer, response.signed, response.algorithm, response.signature)


def _is(response: Response, one: x509.Certificate) -> bool:
    """Whether a certificate is that of the responder."""
    if response.responder_key is not None:
        # SHA-1 is what the format has to name a key.
        return hashlib.sha1(one.key_bits).digest() == response.responder_key  # noqa: S324
    return one.subject_der == response.responder_name


def _verify(signer: x509.Certificate, data: bytes, algorithm: bytes, signature: bytes) -> None:
    """Raises L(Invalid) unless it is this certificate's signature; ImportError without C(cryptography)."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

    name, digest = x509.read_signature(x509.Der(algorithm).node(0x30))
    try:
        key = serialization.load_der_public_key(signer.spki)
        if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, data)
            return
        if digest not in _DIGESTS:
            raise Invalid(f"it is signed with {digest.upper()}")
        hashed = getattr(hashes, digest.upper())()
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(hashed), hashed.digest_size)
            key.verify(signature, data, pss if name == "rsassaPss" else padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashed))
        else:
            raise Invalid(f"a key of type {signer.key.type} cannot be verified here")
    except InvalidSignature:
        raise Invalid("its signature is forged") from None
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise Invalid(f"its signature cannot be verified: {error}") from None

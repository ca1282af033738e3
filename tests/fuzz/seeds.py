# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate authority whose keys and signatures are the same in each run, and what it has issued."""

from __future__ import annotations

import datetime
import ipaddress
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from . import mutations

# Ed25519: the same message has the same signature each time.
ROOT_KEY, MIDDLE_KEY, LEAF_KEY, OCSP_KEY = (
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 5)
)
_EC_KEY = ec.derive_private_key(5, ec.SECP256R1()).public_key()
_RSA_KEY = rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()
START, END = datetime.datetime(2020, 1, 1), datetime.datetime(2090, 1, 1)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()


def _name(text: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bed"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def _make(name: str, key: t.Any, issuer: str, issuer_key: t.Any, authority: bool, *more: x509.ExtensionType) -> bytes:
    builder = (
        x509.CertificateBuilder(_name(issuer), _name(name), key, 1000 + len(name), START, END)
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    for extension in more:
        builder = builder.add_extension(extension, False)
    return builder.sign(issuer_key, None).public_bytes(serialization.Encoding.DER)


_NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("good.test"),
        x509.DNSName("*.mail.good.test"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    ]
)
_ACCESS = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for method, url in (
            (AuthorityInformationAccessOID.OCSP, "http://ocsp.good.test/"),
            (AuthorityInformationAccessOID.CA_ISSUERS, "http://ca.good.test/middle.cer"),
        )
    ]
)
_POINTS = x509.CRLDistributionPoints(
    [x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca.good.test/crl")], None, None, None)]
)
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])

ROOT = _make("root", ROOT_KEY.public_key(), "root", ROOT_KEY, True)
MIDDLE = _make("middle", MIDDLE_KEY.public_key(), "root", ROOT_KEY, True)
LEAF = _make(
    "good.test", LEAF_KEY.public_key(), "middle", MIDDLE_KEY, False, _NAMES, _ACCESS, _POINTS, _SERVER,
    x509.TLSFeature([x509.TLSFeatureType.status_request]),
)  # fmt: skip
EC_LEAF = _make("ec", _EC_KEY, "middle", MIDDLE_KEY, False, _NAMES)
RSA_LEAF = _make("rsa", _RSA_KEY, "middle", MIDDLE_KEY, False, _NAMES)
RESPONDER = _make(
    "responder", OCSP_KEY.public_key(), "middle", MIDDLE_KEY, False,
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
)  # fmt: skip
CERTIFICATES = (ROOT, MIDDLE, LEAF, EC_LEAF, RSA_LEAF, RESPONDER)

# A certificate that the authority with the same name, and another key, has issued.
FALSE_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
FALSE_RESPONDER = _make(
    "responder", OCSP_KEY.public_key(), "middle", FALSE_KEY, False,
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
)  # fmt: skip
FALSE_LEAF = _make("good.test", LEAF_KEY.public_key(), "middle", FALSE_KEY, False, _NAMES)


def pem(*certificates: bytes) -> bytes:
    return b"".join(
        x509.load_der_x509_certificate(one).public_bytes(serialization.Encoding.PEM) for one in certificates
    )


def private_pem(key: t.Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def staple(
    status: ocsp.OCSPCertStatus, key: t.Any = MIDDLE_KEY, responder: bytes = MIDDLE, *, until: int | None = 2090
) -> bytes:
    """An OCSP response about L(LEAF), which the owner of C(responder) has sent and C(key) signed."""
    revoked = status == ocsp.OCSPCertStatus.REVOKED
    leaf, issuer, sender = map(x509.load_der_x509_certificate, (LEAF, MIDDLE, responder))
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf, issuer=issuer, algorithm=hashes.SHA256(), cert_status=status,
        this_update=datetime.datetime.fromtimestamp(NOW - 3600, datetime.UTC),
        next_update=datetime.datetime(until, 1, 1) if until else None,
        revocation_time=START if revoked else None, revocation_reason=None,
    )  # fmt: skip
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, sender)
    if responder != MIDDLE:
        builder = builder.certificates([sender])
    own = OCSP_KEY if responder != MIDDLE else MIDDLE_KEY
    return _signed_again(builder.sign(own, None).public_bytes(serialization.Encoding.DER), key)


def _signed_again(response: bytes, key: t.Any) -> bytes:
    """The OCSP response as if it were always made at the same time, signed by this key."""
    element, elements = mutations.der_element, mutations.der_elements
    ((_, outer),) = elements(response) or []
    (_, state), (_, block) = elements(outer) or []
    ((_, content),) = elements(block) or []
    (_, kind), (_, text) = elements(content) or []
    ((_, basic),) = elements(text) or []
    (_, data), algorithm, _signature, *certificates = elements(basic) or []
    made = [(tag, b"20260101000000Z" if tag == 0x18 else body) for tag, body in elements(data) or []]
    signed = element(0x30, b"".join(element(*one) for one in made))
    parts = [signed, element(*algorithm), element(0x03, b"\0" + key.sign(signed))]
    basic = element(0x30, b"".join([*parts, *(element(*one) for one in certificates)]))
    content = element(0x30, element(0x06, kind) + element(0x04, basic))
    return element(0x30, element(0x0A, state) + element(0xA0, content))


def crl(*revoked: bytes, key: t.Any = MIDDLE_KEY, until: int = 2090) -> bytes:
    """The list of what the intermediate authority has revoked."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(_name("middle")).last_update(START)
    builder = builder.next_update(datetime.datetime(until, 1, 1)).add_extension(x509.CRLNumber(1), False)
    for certificate in revoked:
        serial = x509.load_der_x509_certificate(certificate).serial_number
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(START)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(key, None).public_bytes(serialization.Encoding.DER)

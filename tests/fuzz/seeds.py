# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate authority whose keys and signatures are the same in each run, and what it has issued."""

from __future__ import annotations

import datetime
import ipaddress
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

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

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate reader against `cryptography`."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate

x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed here")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

pytestmark = pytest.mark.slow

KEYS = {
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa3": lambda: rsa.generate_private_key(3, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "dsa": lambda: dsa.generate_private_key(2048),
}
TYPES = {
    "rsa1024": ("RSA", 1024, None),
    "rsa3": ("RSA", 2048, None),
    "p256": ("EC", 256, "secp256r1"),
    "p384": ("EC", 384, "secp384r1"),
    "p521": ("EC", 521, "secp521r1"),
    "brainpool": ("EC", 256, "brainpoolP256r1"),
    "ed25519": ("Ed25519", 256, None),
    "ed448": ("Ed448", 456, None),
    "dsa": ("DSA", 2048, None),
}
START = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.UTC)


def make(key, subject="one.test", issuer=None, signer=None, days=90, extensions=(), **signing):
    """A certificate as DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer or subject)]))
        .public_key(key.public_key())
        .serial_number(0x1234567890ABCDEF)
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=days))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signer = signer or key
    edwards = isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
    built = builder.sign(signer, None if edwards else hashes.SHA256(), **signing)
    return built.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_keys_and_signatures(kind):
    der = make(KEYS[kind]())
    one, other = _x509_certificate.read_certificate(der), x509.load_der_x509_certificate(der)
    assert (one.key.type, one.key.bits, one.key.curve) == TYPES[kind]
    if kind.startswith("rsa"):
        assert one.key.exponent == other.public_key().public_numbers().e
    assert _x509_certificate.SIGNATURES[other.signature_algorithm_oid.dotted_string][0] == one.signature
    assert one.sha256 == other.fingerprint(hashes.SHA256()).hex()
    assert int(one.serial, 16) == other.serial_number
    public = other.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    assert one.key_sha256 == digest.finalize().hex()


def test_pss_names_its_digest():
    key = KEYS["rsa3"]()
    der = make(key, rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), 32))
    assert _x509_certificate.read_certificate(der).digest == "sha256"


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2120, 1, 1)),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Cn", "Co")), min_size=1, max_size=40),
)
def test_times_and_names(moment, text):
    moment = moment.replace(microsecond=0, tzinfo=datetime.UTC)
    key = test_times_and_names.key
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])
    der = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment)
        .not_valid_after(moment + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    one = _x509_certificate.read_certificate(der)
    assert one.not_before == int(moment.timestamp())
    assert one.not_after - one.not_before == 86400
    assert one.subject == "O=" + text


test_times_and_names.key = ec.generate_private_key(ec.SECP256R1())


def chain():
    """Root, intermediate and leaf, with key identifiers."""
    root, middle, leaf = (ec.generate_private_key(ec.SECP256R1()) for _number in range(3))

    def ids(own, issuer, authority):
        return [
            x509.SubjectKeyIdentifier.from_public_key(own.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),
            x509.BasicConstraints(authority, None),
        ]

    return [
        _x509_certificate.read_certificate(der)
        for der in (
            make(leaf, "leaf.test", "middle", middle, extensions=ids(leaf, middle, False)),
            make(middle, "middle", "root", root, extensions=ids(middle, root, True)),
            make(root, "root", "root", root, extensions=ids(root, root, True)),
        )
    ]


def test_paths():
    leaf, middle, root = chain()
    assert [one.self_signed for one in (leaf, middle, root)] == [False, False, True]
    assert [one.authority for one in (leaf, middle, root)] == [False, True, True]
    assert _x509_certificate.chain_of([leaf, root, middle]) == [leaf, middle, root]
    assert _x509_certificate.chain_of([leaf, root]) == [leaf]
    assert _x509_certificate.chain_of([]) == []
    # The same name with another key is another issuer.
    assert _x509_certificate.chain_of([leaf, chain()[1]]) == [leaf]

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From certificates to CAs: made certificates, and the real roots of this machine."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.kopano.hardening.plugins.module_utils._caa import issuers as _issuers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records

ROOTS = Path("/usr/share/ca-certificates/mozilla")
KEY = ec.generate_private_key(ec.SECP256R1())
ISRG_ROOT_X1 = "79b459e67bb6e5e40173800888c81a58f6e99b6e"


def pem(organization=None, key_id=None, policy=None, timestamps=None, common_name="Some CA 7"):
    """A certificate issued by that organisation's key."""
    issuer = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    if organization:
        issuer.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kopano.test")]))
        .issuer_name(x509.Name(issuer))
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(datetime.datetime(2026, 1, 1))
        .not_valid_after(datetime.datetime(2027, 1, 1))
    )
    if key_id:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(bytes.fromhex(key_id), None, None), False)
    if policy:
        information = x509.PolicyInformation(x509.ObjectIdentifier(policy), None)
        builder = builder.add_extension(x509.CertificatePolicies([information]), False)
    if timestamps:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, timestamps), False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def sct_list():
    """An extension value with one signed certificate timestamp (RFC 6962 section 3.3)."""
    sct = bytes(1 + 32 + 8 + 2) + bytes([4, 3]) + (4).to_bytes(2, "big") + bytes(4)
    entries = len(sct).to_bytes(2, "big") + sct
    body = len(entries).to_bytes(2, "big") + entries
    return bytes([4, len(body)]) + body


@pytest.mark.parametrize(
    ("certificate", "overrides", "expected"),
    [
        (pem("Let's Encrypt"), {}, ("public", "Let's Encrypt", ("letsencrypt.org",))),
        (pem("DigiCert Ltd."), {}, ("public", "DigiCert", None)),  # legal form and punctuation do not matter
        (pem("Nobody Knows", ISRG_ROOT_X1), {}, ("public", "Let's Encrypt", ("letsencrypt.org",))),
        (pem("Sectigo Limited", ISRG_ROOT_X1), {}, ("public", "Let's Encrypt", None)),  # the key goes before the name
        (pem("QuoVadis Limited"), {}, ("unknown", "QuoVadis Limited, Some CA 7", ())),
        (pem("New Public CA", policy="2.23.140.1.2.1"), {}, ("unknown", "New Public CA, Some CA 7", ())),
        (pem("New Public CA", timestamps=sct_list()), {}, ("unknown", "New Public CA, Some CA 7", ())),
        (pem("Example Ltd", policy="1.2.3.4"), {}, ("private", "Example Ltd, Some CA 7", ())),
        (pem("Amazon Fishing Club"), {}, ("private", "Amazon Fishing Club, Some CA 7", ())),
        (pem(None, common_name=None), {}, ("private", "an issuer without a name", ())),
        (pem("Example Ltd"), {"example": ["CA.example"]}, ("public", "example", ("ca.example",))),
        (pem("Example Ltd"), {"some ca 7": ["ca.example"]}, ("public", "some ca 7", ("ca.example",))),
        (pem("Let's Encrypt"), {"Let's Encrypt": []}, ("private", "Let's Encrypt", ())),
        (pem("X", "aa" * 20), {":".join(["AA"] * 20): ["ca.example"]}, ("public", None, ("ca.example",))),
    ],
)
def test_identify(certificate, overrides, expected):
    identity = _issuers.identify(certificate, overrides)
    assert identity.kind == expected[0]
    assert expected[1] in (identity.name, None)
    assert expected[2] in (identity.domains, None)


def test_a_chain_is_followed_when_the_leaf_has_nothing():
    chain = pem("Subordinate of someone") + pem("Internet Security Research Group")
    assert _issuers.identify(chain, {}).name == "Let's Encrypt"
    # The nearest issuer decides: a CA's certificate signed by another CA's root does not make the other one the issuer.
    assert _issuers.identify(pem("Buypass AS") + pem("IdenTrust"), {}).name == "Buypass"


@pytest.mark.parametrize("text", ["", "no certificate", pem("X")[:200], pem("X").replace("M", "N", 3)])
def test_what_is_no_certificate_is_an_error(text):
    with pytest.raises(ValueError, match=r"."):
        _issuers.identify(text, {})


@pytest.mark.skipif(not ROOTS.is_dir(), reason="Debian's ca-certificates is not installed")
def test_real_roots():
    """Every key identifier here is that of a real root of that organisation, and no real root counts as private."""
    seen = {}
    for path in ROOTS.glob("*.crt"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some roots are older than today's rules for serial numbers
            root = x509.load_pem_x509_certificate(path.read_bytes())
            organizations = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            if organizations:
                assert _issuers.identify(path.read_text(), {}).kind != _issuers.PRIVATE, path
                for extension in root.extensions:
                    if isinstance(extension.value, x509.SubjectKeyIdentifier):
                        seen[extension.value.digest.hex()] = organizations[0].value
    known = {key: issuer for issuer in _issuers.ISSUERS for key in issuer.keys}
    present = known.keys() & seen.keys()
    assert len(present) > len(known) / 2  # roots come and go, but not so many at once
    for key in present:
        assert seen[key] in known[key].organizations


@pytest.mark.parametrize(
    ("domain", "name"),
    [("letsencrypt.org", "Let's Encrypt"), ("PKI.goog", "Google Trust Services"), ("amazonaws.com", "Amazon")],
)
def test_find_by_identifier(domain, name):
    issuer = _issuers.find(domain, {})
    assert issuer.name == name
    assert domain.lower() in issuer.domains


def test_find_with_overrides_and_unknown_names():
    assert _issuers.find("ca.example", {}).domains == ("ca.example",)
    other = _issuers.find("ca.example", {"Mine": ["www.ca.example", "CA.example"]})
    assert (other.name, other.domains) == ("Mine", ("www.ca.example", "ca.example"))
    # Whatever it is called in the option, it still is the CA that compares letter by letter.
    assert _issuers.find("letsencrypt.org", {"LE": ["letsencrypt.org"]}).literal


def test_the_table_can_be_used_as_it_is():
    domains = [domain for issuer in _issuers.ISSUERS for domain in issuer.domains]
    assert all(_records.is_domain(domain) and domain == domain.lower() for domain in domains)
    keys = [key for issuer in _issuers.ISSUERS for key in issuer.keys]
    assert len(keys) == len(set(keys))
    assert all(len(bytes.fromhex(key)) == 20 and key == key.lower() for key in keys)

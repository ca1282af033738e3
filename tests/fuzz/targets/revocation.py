# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCSP responses, CRLs, and chains: what nobody has signed never counts, whatever it looks like."""

from __future__ import annotations

import functools
import tempfile
import typing as t

from cryptography.x509.ocsp import OCSPCertStatus

from ansible_collections.kopano.hardening.plugins.module_utils._tls import issuer as _issuer
from ansible_collections.kopano.hardening.plugins.module_utils._tls import ocsp, revocation
from ansible_collections.kopano.hardening.plugins.module_utils._tls import trust as _trust
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError
from tests.fuzz import mutations, seeds
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import target

PATH = [x509.read_certificate(seeds.LEAF), x509.read_certificate(seeds.MIDDLE)]

# OCSP responses, and what each of them proves.
STAPLES = {
    seeds.staple(OCSPCertStatus.GOOD): "good",
    seeds.staple(OCSPCertStatus.REVOKED): "revoked",
    seeds.staple(OCSPCertStatus.UNKNOWN): "unknown",
    seeds.staple(OCSPCertStatus.GOOD, seeds.OCSP_KEY, seeds.RESPONDER): "good",
    seeds.staple(OCSPCertStatus.GOOD, until=None): "good",
    seeds.staple(OCSPCertStatus.GOOD, until=2025): "invalid",
    seeds.staple(OCSPCertStatus.GOOD, seeds.FALSE_KEY): "invalid",
    seeds.staple(OCSPCertStatus.GOOD, seeds.OCSP_KEY, seeds.FALSE_RESPONDER): "invalid",
}


def _signed(der: bytes) -> bytes:
    response = ocsp.read(der)
    assert response
    return response.signed


# What is signed is the same for the last one and the one by a true responder.
PROVEN = {_signed(der): status for der, status in STAPLES.items() if status != "invalid"}


@target("ocsp.response", seeds=tuple(STAPLES), make=mutations.of_der)
def ocsp_response(case: bytes) -> None:
    """A status comes from a response that its authority has signed, and from no other."""
    found = ocsp.judge([case], PATH, seeds.NOW)
    check_shown(found.reason)
    if case in STAPLES:
        assert found.status == STAPLES[case], found
    if found.status in ("good", "revoked", "unknown"):
        assert PROVEN.get(_signed(case)) == found.status, found


# Lists of what is revoked, and what each of them proves.
LISTS = {
    seeds.crl(): "good",
    seeds.crl(seeds.EC_LEAF): "good",
    seeds.crl(seeds.LEAF, seeds.EC_LEAF): "revoked",
    seeds.crl(until=2025): None,
    seeds.crl(key=seeds.FALSE_KEY): None,
}


class _Revocations(revocation.Revocations):
    """Has one thing at every address."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def _get(self, *_arguments: t.Any) -> bytes:
        return self._content


def _listed(der: bytes) -> bytes:
    return x509.Der(der).inside().node(0x30).raw


@target("revocation.crl", seeds=tuple(LISTS), make=mutations.of_der)
def revocation_list(case: bytes) -> None:
    """The same for a CRL, which OpenSSL verifies."""
    found = _Revocations(case).status(PATH, "192.0.2.1", 60)
    check_shown(found.reason)
    if case in LISTS:
        assert found.status == LISTS[case], found
    if found.status:
        proven = {_listed(der): status for der, status in LISTS.items() if status}
        assert proven.get(_listed(case)) == found.status, found


@functools.cache
def _store() -> _trust.Trust:
    with tempfile.NamedTemporaryFile() as file:
        file.write(seeds.pem(seeds.ROOT))
        file.flush()
        return _trust.Trust(file.name)


TRUSTED = (seeds.LEAF, seeds.EC_LEAF)


@target("trust.leaf", seeds=(*TRUSTED, seeds.RESPONDER, seeds.FALSE_LEAF), make=mutations.of_der, declared=ParseError)
def trust_leaf(case: bytes) -> None:
    """A certificate is trusted if what it says is what its authority has signed."""
    _check_trust([case, seeds.MIDDLE])


@target("trust.issuer", seeds=(seeds.MIDDLE, seeds.ROOT), make=mutations.of_der, declared=ParseError)
def trust_issuer(case: bytes) -> None:
    """The same for the certificate of the authority between."""
    _check_trust([seeds.LEAF, case])


def _check_trust(chain: t.Sequence[bytes]) -> None:
    parsed = [x509.read_certificate(der) for der in chain]
    store = _store()
    store._verdicts.clear()
    found = store.judge(parsed, "192.0.2.1", 1)
    check_shown(found.reason)
    if chain[0] in TRUSTED and chain[1] == seeds.MIDDLE:
        assert found.trusted, found.reason
    if found.trusted:
        known = [x509.read_certificate(der).tbs for der in (*TRUSTED, seeds.MIDDLE, seeds.ROOT)]
        assert all(one.tbs in known for one in found.path), found.reason


# A container of certificates as authorities publish it, and the other forms.
_CONTENT = mutations.der_element(0x06, bytes.fromhex("2a864886f70d010701"))
PKCS7 = mutations.der_element(
    0x30,
    _issuer._SIGNED_DATA
    + mutations.der_element(
        0xA0,
        mutations.der_element(
            0x30,
            b"\x02\x01\x01\x31\x00"
            + mutations.der_element(0x30, _CONTENT)
            + mutations.der_element(0xA0, seeds.MIDDLE + seeds.ROOT)
            + b"\x31\x00",
        ),
    ),
)


@target("issuer.file", seeds=(PKCS7, seeds.MIDDLE, seeds.pem(seeds.MIDDLE)), make=mutations.of_der, declared=ParseError)
def issuer_file(case: bytes) -> None:
    """What an authority has at the address of its certificate."""
    assert all(isinstance(der, bytes) for der in _issuer.read(case))

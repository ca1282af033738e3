# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Has the authority revoked a certificate? By its CRL (RFC 5280), or its OCSP responder (RFC 6960).

A CRL is asked for first: it is the same for everybody, and public authorities give up OCSP. OpenSSL verifies it, since
much makes a CRL the right one: whose it is, who signed it, its scope, its time. Where the certificate names none at an
HTTP address, or that one does not count, the responder is asked. What does not count is no pass: the status is not
known then, with the reason.

Only a certificate that is trusted is asked about, so that who configured a server does not choose where this machine
connects to: its authority does, within the bounds of L(_tls.fetch).
"""

from __future__ import annotations

import hashlib
import threading
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import fetch as _fetch
from ansible_collections.kopano.hardening.plugins.module_utils._tls import ocsp
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import libcrypto
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

SECONDS = 5.0
# Public authorities split theirs, so that they have some 100 kB; others have had 10 MB.
MAX_CRL, MAX_OCSP = 16 * 1024 * 1024, 64 * 1024
MAX_URLS = 2
_REVOKED = 23  # X509_V_ERR_CERT_REVOKED
# Digests whose signatures can be forged: who is on the way could make a CRL without this certificate.
_BROKEN = ("md2", "md4", "md5", "sha1", "unknown")


class Status(t.NamedTuple):
    """C(status): good or revoked, None where that is not known, with the C(reason). C(source): by what."""

    status: str | None
    source: str | None = None
    reason: str | None = None


class Revocations:
    """What authorities have revoked. What was fetched is kept, as many endpoints have certificates of the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetching: dict[tuple[str, bytes], threading.Lock] = {}
        self._fetched: dict[tuple[str, bytes], bytes | _fetch.NotFetched] = {}

    def status(self, path: t.Sequence[x509.Certificate], address: str, seconds: float) -> Status:
        """Of the first certificate, which was issued by the second, for an endpoint at this address."""
        if len(path) < 2:
            return Status(None, None, "its issuer is not known")
        end = time.monotonic() + seconds
        leaf, issuer = path[:2]
        reasons = []
        for kind, urls, ask in (
            ("CRL", leaf.crl_urls, self._by_crl),
            ("OCSP responder", leaf.ocsp_urls, self._by_ocsp),
        ):
            for url in [url for url in urls if url.lower().startswith("http://")][:MAX_URLS]:
                try:
                    return Status(ask(url, leaf, issuer, address, end), f"the {kind} at {url}")
                except (_fetch.NotFetched, ocsp.Invalid, ParseError) as error:
                    reasons.append(f"{kind} {url}: {error}")
        return Status(
            None, None, "; ".join(reasons) or "it names neither a CRL nor an OCSP responder at an HTTP address"
        )

    def _get(self, url: str, address: str, end: float, most: int, body: _fetch.Body | None = None) -> bytes:
        """What is at an address, which is fetched once, as long as one endpoint may and has the time. Raises
        L(NotFetched)."""
        key = (url, body.content if body else b"")
        with self._lock:
            fetching = self._fetching.setdefault(key, threading.Lock())
        if not fetching.acquire(timeout=max(end - time.monotonic(), 0)):
            raise _fetch.NotFetched("no response in time")
        try:
            if key not in self._fetched:
                seconds = min(end - time.monotonic(), SECONDS)
                try:
                    self._fetched[key] = _fetch.fetch(url, address, seconds, most, body)
                except _fetch.NotAllowed:
                    raise
                except _fetch.NotFetched as error:
                    if seconds < SECONDS:
                        raise
                    self._fetched[key] = error
            found = self._fetched[key]
        finally:
            fetching.release()
        if isinstance(found, _fetch.NotFetched):
            raise found
        return found

    def _by_crl(self, url: str, leaf: x509.Certificate, issuer: x509.Certificate, address: str, end: float) -> str:
        """Raises L(NotFetched), L(Invalid), L(ParseError)."""
        if not libcrypto.available():
            raise ocsp.Invalid("there is no OpenSSL library here that could verify it")
        crl = self._get(url, address, end, MAX_CRL)
        _check_form(crl)
        verdict = libcrypto.check_crl(crl, leaf.der, issuer.der)
        if verdict.code not in (0, _REVOKED):
            raise ocsp.Invalid(f"it does not count: {verdict.reason}")
        return "revoked" if verdict.code else "good"

    def _by_ocsp(self, url: str, leaf: x509.Certificate, issuer: x509.Certificate, address: str, end: float) -> str:
        """Raises L(NotFetched), L(Invalid), L(ParseError)."""
        body = _fetch.Body(request(leaf, issuer), "application/ocsp-request")
        staple = ocsp.judge([self._get(url, address, end, MAX_OCSP, body)], [leaf, issuer])
        if staple.status not in ("good", "revoked"):
            raise ocsp.Invalid(staple.reason or f"its status is {staple.status}")
        return staple.status


def _check_form(crl: bytes) -> None:
    """What OpenSSL would pass: an end that is missing, and a digest that can be forged. Raises L(Invalid),
    L(ParseError)."""
    outer = x509.Der(crl).inside()
    body, algorithm = x509.Der(outer.node(0x30).body), outer.node(0x30)
    body.optional(0x02)
    for _field in ("algorithm", "issuer", "this update"):
        body.node()
    if body.peek() not in (0x17, 0x18):
        raise ocsp.Invalid("it does not count: it has no end")
    name, digest = x509.read_signature(algorithm)
    if digest in _BROKEN:
        raise ocsp.Invalid(f"it does not count: it is signed with {name}")


# --- the request for an OCSP responder --------------------------------------------------------------------------------


def request(leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """An OCSP request for one certificate, without a nonce, as most responders give the same response to everybody
    (RFC 5019)."""
    # SHA-1 is what every responder has an index of; it names the issuer and proves nothing.
    hashes = [hashlib.sha1(data).digest() for data in (leaf.issuer_der, issuer.key_bits)]  # noqa: S324
    algorithm = _der(0x30, bytes.fromhex("06052b0e03021a0500"))
    serial = _der(0x02, bytes.fromhex(leaf.serial))
    certificate = _der(0x30, algorithm, *(_der(0x04, one) for one in hashes), serial)
    return _der(0x30, _der(0x30, _der(0x30, _der(0x30, certificate))))


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (size if len(body) < 0x80 else bytes([0x80 | len(size)]) + size) + body

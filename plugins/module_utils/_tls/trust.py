# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Which certificates are trusted: verifies chains as they were received, whatever became of the connection.

A server may send more than one path (cross-signed authorities, certificates that do not belong). The one that counts is
the one that ends at a trusted authority; one without SHA-1 and MD5 is preferred, as a client would. Where the issuer of
the last certificate is missing, it is fetched from the address in this certificate (L(_tls.issuer)), if that is
allowed: a chain that is trusted then is incomplete and no more.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import fetch as _fetch
from ansible_collections.kopano.hardening.plugins.module_utils._tls import issuer, revocation
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import libcrypto
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

# Digests whose signatures can be forged.
BROKEN = ("md2", "md4", "md5", "sha1")
# X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, …_LOCALLY, …_TO_VERIFY_LEAF_SIGNATURE: the issuer is neither sent nor known.
NO_ISSUER = (2, 20, 21)
# A path has more than three authorities only by mistake.
MAX_FETCHED = 3

# A certificate comes up several times for an endpoint, and often for its neighbours.
read = functools.lru_cache(maxsize=256)(x509.read_certificate)


class Judgement(t.NamedTuple):
    """Whether a certificate is trusted, C(None) where that could not be found out; OpenSSL's C(code), and C(reason).

    C(path) is the path that was chosen, from the server's certificate up, as far as it is known. C(fetched) are the
    addresses of certificates that the server should have sent.
    """

    trusted: bool | None
    code: int | None
    reason: str | None
    path: t.Sequence[x509.Certificate]
    fetched: t.Sequence[str] = ()

    @property
    def signed(self) -> list[x509.Certificate]:
        """The certificates whose signature counts: not the anchor's, nor that of a root, which signs itself."""
        leaf, *others = self.path
        if self.trusted:
            others = others[:-1]
        return [leaf, *(one for one in others if not one.self_signed)]


class Trust:
    """The certificate authorities that count: those of this system and those in C(ca_file) (PEM).

    Raises OSError and ssl.SSLError for a file that cannot be read, or holds no certificate. C(fetch_issuers): whether a
    certificate that a server fails to send may be fetched. C(check_revocation): whether the authorities are asked for
    what they have revoked.
    """

    def __init__(self, ca_file: str | None = None, fetch_issuers: bool = False, check_revocation: bool = False) -> None:
        self.given = ca_file is not None
        self.blind = self._context(["http/1.1"])
        # For servers that do not bear ALPN.
        self.without_alpn = self._context([])
        if ca_file is not None:
            self.blind.load_verify_locations(ca_file)
        self._store = libcrypto.Store(ca_file) if libcrypto.available() else None
        self._fetch_issuers = fetch_issuers
        self.revocations = revocation.Revocations() if check_revocation else None
        self._fetched: dict[tuple[str, str], list[bytes]] = {}
        # Many endpoints share a certificate.
        self._verdicts: dict[tuple[bytes, ...], libcrypto.Verdict] = {}

    @staticmethod
    def _context(protocols: list[str]) -> ssl.SSLContext:
        """Verifies nothing, and accepts every old protocol and weak key that the local library still can speak: what
        they mean is for the grade to judge."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:!aNULL:@SECLEVEL=0")
        # SSL_OP_LEGACY_SERVER_CONNECT: servers without secure renegotiation, too.
        context.options |= 0x4
        with contextlib.suppress(ValueError, AttributeError):
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    def judge(self, chain: t.Sequence[x509.Certificate], address: str, seconds: float) -> Judgement:
        """Judge a certificate with what was sent along by C(address). Fetching may take so many C(seconds)."""
        if self._store is None:
            return Judgement(None, None, "there is no OpenSSL library here that could verify it", x509.chain_of(chain))
        others = list(chain[1:])
        fetched: list[str] = []
        while True:
            verdict = self._verify(self._store, chain[0], others)
            path = self._path(verdict, chain)
            top = path[-1]
            if verdict.code not in NO_ISSUER or top.self_signed or not top.issuer_urls:
                return Judgement(verdict.code == 0, verdict.code, verdict.reason, path, fetched)
            missing = f"{top.subject or 'it'} was issued by {top.issuer}, which is not sent"
            try:
                url, found = self._missing(top, address, seconds)
            except _fetch.NotFetched as error:
                return Judgement(None, verdict.code, f"{missing} and cannot be fetched: {error}", path, fetched)
            if url in fetched or len(fetched) == MAX_FETCHED:
                return Judgement(False, verdict.code, verdict.reason, path, fetched)
            fetched.append(url)
            others += found

    def _verify(
        self, store: libcrypto.Store, leaf: x509.Certificate, others: t.Sequence[x509.Certificate]
    ) -> libcrypto.Verdict:
        key = (leaf.der, *(one.der for one in others))
        if key not in self._verdicts:
            strong = [one.der for one in others if one.digest not in BROKEN]
            verdict = store.verify(leaf.der, strong)
            if verdict.code and len(strong) < len(others):
                verdict = store.verify(leaf.der, key[1:])
            self._verdicts[key] = verdict
        return self._verdicts[key]

    @staticmethod
    def _path(verdict: libcrypto.Verdict, chain: t.Sequence[x509.Certificate]) -> list[x509.Certificate]:
        try:
            return [read(der) for der in verdict.path] or [chain[0]]
        except ParseError:
            # Nothing that was sent: those are parsed already. An anchor of this system that only OpenSSL can read.
            return x509.chain_of(chain)

    def _missing(self, top: x509.Certificate, address: str, seconds: float) -> tuple[str, list[x509.Certificate]]:
        """The address that had the issuer of a certificate, and what was there."""
        if not self._fetch_issuers:
            raise _fetch.NotFetched("fetch_issuers is off")
        reasons = []
        for url in top.issuer_urls[:2]:
            try:
                if (url, address) not in self._fetched:
                    self._fetched[url, address] = issuer.fetch(url, address, seconds)
                found = [read(der) for der in self._fetched[url, address]]
                if any(one.issued(top) for one in found):
                    return url, found
                reasons.append(f"{url} has another certificate")
            except (_fetch.NotFetched, ParseError) as error:
                reasons.append(f"{url}: {error}")
        raise _fetch.NotFetched("; ".join(reasons))

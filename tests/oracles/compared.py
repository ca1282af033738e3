# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What testssl.sh and sslyze are compared on, and where they differ from the grader, as data.

A scanner without a difference has to report what the grader does. `test_cases.py` and `test_tls.py` compare them;
`docs/oracles.py` makes docs/oracles.md of this.
"""

from __future__ import annotations

import typing as t

from tests.unit import tls_cases, tls_trust_cases

from .scanners import NO_SCAN, OTHER_NAME, SSLYZE, TESTSSL, TRUSTED, UNKNOWN, UNTRUSTED

VARIES = "varies"
"""Connections are lost by chance: anything, but nothing that is not there."""


class Difference(t.NamedTuple):
    """What the scanner reports instead, and why."""

    value: str
    why: str


class Compared(t.NamedTuple):
    """A case of the unit tests. C(ours): the protocols that are offered, with a question mark where that is unclear, or
    whether the certificates are trusted. C(differences): by scanner."""

    case: t.Any
    ours: str
    differences: t.Mapping[str, Difference]


_CASES = {case.name: case for case in (*tls_cases.CASES, *tls_trust_cases.CASES)}


def _compared(name: str, ours: str, **differences: tuple[str, str]) -> Compared:
    scanners = {"testssl": TESTSSL, "sslyze": SSLYZE}
    return Compared(_CASES[name], ours, {scanners[key]: Difference(*value) for key, value in differences.items()})


NEW, ALL = "TLSv1.2 TLSv1.3", "TLSv1.0 TLSv1.1 TLSv1.2 TLSv1.3"
OLD_UNCLEAR = "TLSv1.0? TLSv1.1? TLSv1.2 TLSv1.3"
# Differences of both that have one reason.
_LOST = (NEW, "It takes a lost connection for a refusal; RFC 5246 (7.2) and RFC 8446 (6) do not.")
_LOST_ALERT = (NEW, "It takes every alert for a refusal, a fault (internal_error) and a warning as well.")
_PARALLEL = (VARIES, "It makes several connections at a time, and takes those that are closed for refusals.")
_NO_ALPN = "It sends hellos without ALPN, which this server refuses"
_VERSION = (
    "TLSv1.0 TLSv1.2 TLSv1.3",
    "Its OpenSSL 1.1.1 takes no alert whose record has another version than the one that it offers.",
)

PROTOCOLS = (
    _compared("limit_conn 2 before B", ALL, sslyze=_PARALLEL),
    _compared("limit_conn 2 before F", NEW, sslyze=_PARALLEL),
    _compared("limit_conn 2 before A+", NEW, sslyze=_PARALLEL),
    _compared("old hellos closed", OLD_UNCLEAR, testssl=_LOST, sslyze=_LOST),
    _compared("old hellos reset", OLD_UNCLEAR, testssl=_LOST, sslyze=_LOST),
    _compared("old hellos internal_error", OLD_UNCLEAR, testssl=_LOST_ALERT, sslyze=_LOST_ALERT),
    _compared("old hellos warned off", OLD_UNCLEAR, testssl=_LOST_ALERT, sslyze=_LOST_ALERT),
    _compared(
        "ServerHello cut",
        OLD_UNCLEAR,
        testssl=(ALL, "It reads the version from the half of a ServerHello and is content; no handshake was answered."),
        sslyze=_LOST,
    ),
    _compared("warning first", ALL, sslyze=_VERSION),
    _compared("old hellos refused", NEW),
    _compared(
        "127 suites at most",
        ALL,
        testssl=(
            "TLSv1.0 TLSv1.1 TLSv1.3",
            "Its hello of TLS 1.2 has more than 127 suites; the refusal of that length counts as one of the protocol.",
        ),
    ),
    _compared("127 suites read", ALL),
    _compared(
        "ALPN demanded",
        NEW,
        testssl=("", _NO_ALPN + "; all protocols count as not offered."),
        sslyze=(NO_SCAN, _NO_ALPN + "; it gives up."),
    ),
    _compared(
        "ALPN demanded by closing",
        NEW,
        testssl=("", _NO_ALPN + "; all protocols count as not offered."),
        sslyze=(NO_SCAN, _NO_ALPN + "; it gives up."),
    ),
    _compared("ALPN of the web refused", ALL),
    _compared(
        "SNI demanded",
        "SSLv2? SSLv3 TLSv1.0 TLSv1.1 TLSv1.2",
        testssl=("TLSv1.0 TLSv1.1 TLSv1.2", "Its hello of SSL 3.0 has no name, without which this server refuses."),
        sslyze=("TLSv1.0 TLSv1.1 TLSv1.2", "Its hello of SSL 3.0 has no name, without which this server refuses."),
    ),
    _compared("empty key_share refused", NEW),
)

# Differences of both that have one reason.
_NOT_FETCHED = (UNTRUSTED, "It fetches no missing intermediate; to the guide that is a chain issue (2009i).")
_NOT_KNOWN = (UNTRUSTED, "It fetches no missing intermediate, and takes what is not known for not trusted.")
_TO_OLDER = "Its hello of TLS 1.3 offers older protocols as well, and is led to the server for those."
_ONE_CERTIFICATE = (TRUSTED, "It fetches a single certificate of a server that has TLS 1.3 only.")

TRUST = (
    _compared("good ECDSA and RSA", TRUSTED),
    _compared("RSA self-signed beside ECDSA", UNTRUSTED),
    _compared("RSA expired beside ECDSA", UNTRUSTED),
    _compared("RSA without its intermediate beside ECDSA", UNTRUSTED),
    _compared("RSA for another name beside ECDSA", OTHER_NAME),
    _compared("RSA-PSS for another name beside ECDSA", OTHER_NAME),
    _compared("RSA self-signed beside ECDSA, TLS 1.3 only", UNTRUSTED, sslyze=_ONE_CERTIFICATE),
    _compared("RSA self-signed beside ECDSA, TLS 1.3 and secp384r1 only", UNTRUSTED, sslyze=_ONE_CERTIFICATE),
    _compared("self-signed in TLS 1.2, good in TLS 1.3", UNTRUSTED),
    _compared("good in TLS 1.2, self-signed in TLS 1.3", UNTRUSTED, testssl=(TRUSTED, _TO_OLDER)),
    _compared(
        "the intermediate in TLS 1.2 only",
        UNTRUSTED,
        testssl=(TRUSTED, _TO_OLDER),
        sslyze=(TRUSTED, "It judges one chain for each certificate."),
    ),
    _compared("an old root's SHA-1 cross-certificate sent along", TRUSTED),
    _compared("two intermediates of one key, SHA-1 first", TRUSTED),
    _compared(
        "the only intermediate signed with SHA-1",
        UNTRUSTED,
        testssl=(
            TRUSTED,
            "Its OpenSSL verifies the path as one takes it; SHA-1 counts for the first certificate only.",
        ),
    ),
    _compared("a missing intermediate that can be fetched", TRUSTED, testssl=_NOT_FETCHED, sslyze=_NOT_FETCHED),
    _compared("a missing intermediate in a PKCS #7 container", TRUSTED, testssl=_NOT_FETCHED, sslyze=_NOT_FETCHED),
    _compared("a missing intermediate whose address is dead", UNKNOWN, testssl=_NOT_KNOWN, sslyze=_NOT_KNOWN),
    _compared(
        "a missing intermediate at an address on the local network", UNKNOWN, testssl=_NOT_KNOWN, sslyze=_NOT_KNOWN
    ),
    _compared("an address that has another certificate", UNKNOWN, testssl=_NOT_KNOWN, sslyze=_NOT_KNOWN),
    _compared("a certificate for clients", UNTRUSTED),
    _compared("a name that its authority may not issue for", UNTRUSTED),
    _compared("h2 by ALPN only", TRUSTED),
    _compared("a client certificate is required, TLS 1.2", TRUSTED),
    _compared(
        "a group that the local library does not offer",
        TRUSTED,
        sslyze=(NO_SCAN, "Its OpenSSL does not offer the only group of this server; it gives up."),
    ),
    _compared(
        "no authentication at all",
        UNKNOWN,
        sslyze=(NO_SCAN, "It makes its first connection with suites that authenticate, and gives up."),
    ),
    _compared(
        "no encryption at all",
        TRUSTED,
        sslyze=(NO_SCAN, "It makes its first connection with suites that encrypt, and gives up."),
    ),
    _compared("stapled: revoked, by the issuer", UNTRUSTED),
    _compared("stapled: good, by the issuer", TRUSTED),
    _compared(
        "stapled: revoked, another serial",
        TRUSTED,
        sslyze=(UNTRUSTED, "It does not compare the serial number (RFC 6960, 3.2); the reader of its report has to."),
    ),
    _compared(
        "stapled: good, forged",
        TRUSTED,
        sslyze=(UNKNOWN, "Its report on certificates is an error where a stapled response has a bad signature."),
    ),
    _compared("stapled: good, out of date", TRUSTED),
)

_2009R = "It follows the guide's version 2009q; this rule came with 2009r."
_LIBRARY = "It looks for this only with its OpenSSL, and today's has no such cipher."
_ANONYMOUS = "It leaves suites without authentication out of its rating, and says so."
_DH = "Parameters for DHE count only where its own client is given them first."


# The version of the guide that the letters here are of.
WRITTEN_FOR = "2009q"


class Unrated(t.NamedTuple):
    """Rules of the grader that testssl.sh does not have.

    C(versions): of the guide, by its own report; C(reported): the finding and its value with which alone that is so.
    """

    rules: tuple[str, ...]
    why: str
    versions: tuple[str, ...] = ("2009q", "2009r")
    reported: tuple[str, str] | None = None


UNRATED = (
    Unrated(("tls.cipher.anonymous",), _ANONYMOUS),
    Unrated(("tls.probe.unclear",), "The guide has no such rule, which is one of the grader's own."),
    Unrated(("tls.cipher.no_aead",), "It does not rate that AEAD is missing (2009p)."),
    Unrated(("tls.dh.weak", "tls.dh.very_weak"), _DH),
    Unrated(("tls.cipher.rc4_only",), "RC4 is B at worst; that it must not be the only cipher (2009k) is not rated."),
    Unrated(("tls.cipher.rc4_modern", "tls.cipher.block64_modern"), _LIBRARY),
    Unrated(("tls.protocol.no_tls13", "tls.hsts.disabled", "tls.hsts.invalid"), _2009R, ("2009q",)),
    Unrated(("tls.hsts.absent",), "A known bug: without any header it gives A+.", ("2009r",)),
    Unrated(
        ("tls.cipher.no_forward_secrecy",),
        "It rates whether forward secrecy is offered, and not whether reference browsers get it.",
        reported=("FS", "offered"),
    ),
)


def unrated(report: t.Mapping[str, str]) -> tuple[Unrated, ...]:
    """For a testssl.sh that reports this."""
    guide = report["rating_spec"]
    return tuple(
        one
        for one in UNRATED
        if any(version in guide for version in one.versions)
        and (one.reported is None or report.get(one.reported[0]) == one.reported[1])
    )


# Letters of testssl.sh on the servers of test_tls_bed.py.
LETTERS = {
    "TLS 1.2 only": Difference("A+", _2009R),
    "CBC only": Difference("A+", "It does not rate that AEAD is missing (2009p), nor TLS 1.3 (2009r)."),
    "DH 1024": Difference("A+", _DH),
    "no authentication": Difference("A+", _ANONYMOUS),
    "HSTS max-age=0": Difference("A+", _2009R),
    "HSTS invalid": Difference("A+", _2009R),
    "HSTS doubled": Difference("A+", "It reads the first header only; the rule came with 2009r."),
    "RC4 only": Difference("B", "RC4 is B at worst; that it must not be the only cipher (2009k) is not rated."),
    "RC4 first": Difference("B", _LIBRARY),
    "3DES only": Difference("B", _LIBRARY),
    "anonymous": Difference("A+", _ANONYMOUS),
    "SSL 3.0 too": Difference("F", "A greeting in SSL 2.0 without suites is an F; SSL Labs keeps it apart, as we do."),
}

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The SSL Labs Server Rating Guide, version 2009r (16 May 2025), as data, and the catalogue of C(tls.*) findings.

C(RULES) holds the guide's caps and warnings in our own words with the revision that brought each. A rule applies when
the fact of the same id holds (C(_tls.grade.facts)). C(CATALOGUE) says of every id, rules and what goes beyond the
grade, which step of the checklist it belongs to, how severe it is, what it means and what to do.
"""

from __future__ import annotations

import typing as t

RULESET = "2009r"

# T (no trust) and M (name mismatch) stand beside the scale: they hide the letter below. What they say is about the
# certificate and who trusts it, and nothing that a web server's configuration decides.
BESIDE = ("T", "M")
# Best first.
GRADES = ("A+", "A", "A-", "B", "C", "D", "E", "F")
LETTERS = ((80, "A"), (65, "B"), (50, "C"), (35, "D"), (20, "E"), (0, "F"))
WEIGHTS = {"protocol": 30, "key_exchange": 30, "cipher": 40}
PROTOCOL_SCORE = {"SSLv2": 0, "SSLv3": 80, "TLSv1.0": 90, "TLSv1.1": 95, "TLSv1.2": 100, "TLSv1.3": 100}
# Below this many bits -> score. The first that fits counts.
RSA_SCORE = ((512, 20), (1024, 40), (2048, 80), (4096, 90))
EC_SCORE = ((110, 20), (123, 40), (163, 80), (225, 90))
EXPORT_SCORE = 40
CIPHER_SCORE = ((1, 0), (128, 20), (256, 80))

# Half a year, in seconds: what SSL Labs calls a long max-age.
LONG_MAX_AGE = 15552000


class Rule(t.NamedTuple):
    """Where C(id) holds, the grade is C(grade) at best."""

    id: str
    grade: str
    revision: str
    text: str


RULES = (
    Rule(
        "tls.certificate.untrusted",
        "T",
        "2009",
        "A chain that does not end at a trusted authority is not graded but marked T.",
    ),
    Rule("tls.certificate.expired", "T", "2009", "An expired certificate is not trusted."),
    Rule("tls.certificate.not_yet_valid", "T", "2009", "A certificate that is not valid yet is not trusted."),
    Rule("tls.certificate.revoked", "T", "2009", "A revoked certificate is not trusted."),
    Rule("tls.certificate.sha1", "T", "2017", "A SHA-1 signature in the chain makes it untrusted."),
    Rule("tls.certificate.name_mismatch", "M", "2009", "A certificate for other names is marked M."),
    Rule("tls.attack.robot", "F", "2009p", "The server must not tell whether a key exchange was malformed (ROBOT)."),
    Rule("tls.attack.cbc_oracle", "F", "2009q", "The server must not tell how a CBC record was malformed."),
    Rule("tls.certificate.key_predictable", "F", "2009", "A weak Debian key scores zero, which makes the whole zero."),
    Rule("tls.protocol.sslv2", "F", "2009c", "SSL 2.0 is broken."),
    Rule("tls.renegotiation.insecure", "F", "2009c", "Renegotiation at a client's wish without RFC 5746 is broken."),
    Rule("tls.certificate.key_very_weak", "F", "2009e", "Keys below 1024 bits can be broken."),
    Rule("tls.certificate.md5", "F", "2009e", "MD2 and MD5 signatures can be forged."),
    Rule("tls.certificate.exponent_1", "F", "2009e", "An RSA key with exponent 1 encrypts nothing."),
    Rule("tls.dh.very_weak", "F", "2009j", "Diffie-Hellman parameters below 1024 bits can be broken."),
    Rule("tls.protocol.sslv3_best", "F", "2009i", "SSL 3.0 must not be the best protocol."),
    Rule("tls.cipher.rc4_only", "F", "2009k", "RC4 must not be the only cipher."),
    Rule(
        "tls.cipher.anonymous", "F", "2009", "A suite without authentication scores zero, which makes the whole zero."
    ),
    Rule("tls.cipher.null", "F", "2009", "A suite without encryption scores zero, which makes the whole zero."),
    Rule("tls.cipher.export", "F", "2009g", "Export suites must not be accepted."),
    Rule("tls.cipher.weak", "F", "2009q", "Suites below 112 bits must not be accepted."),
    Rule("tls.protocol.poodle", "C", "2009g", "SSL 3.0 with CBC suites is open to POODLE."),
    Rule("tls.compression", "C", "2009j", "TLS compression is open to CRIME."),
    Rule("tls.cipher.rc4_modern", "C", "2009j", "RC4 must not be used with TLS 1.1 or newer."),
    Rule("tls.protocol.no_tls12", "C", "2009j", "A server without TLS 1.2 (or TLS 1.3) is out of date."),
    Rule(
        "tls.cipher.block64_modern", "C", "2009n", "Ciphers with 64-bit blocks must not be used with TLS 1.1 or newer."
    ),
    Rule("tls.protocol.sslv3", "B", "2009h", "SSL 3.0 must not be offered."),
    Rule("tls.cipher.rc4", "B", "2009i", "RC4 must not be offered."),
    Rule("tls.chain.incomplete", "B", "2009i", "The server must send its intermediate certificates."),
    Rule("tls.certificate.key_weak", "B", "2009e", "Keys below 2048 bits are too weak."),
    Rule("tls.dh.weak", "B", "2009j", "Diffie-Hellman parameters below 2048 bits are too weak."),
    Rule("tls.cipher.no_forward_secrecy", "B", "2009p", "Reference browsers must get forward secrecy."),
    Rule("tls.cipher.no_aead", "B", "2009p", "Authenticated encryption (AEAD) must be available."),
    Rule("tls.protocol.tls10", "B", "2009q", "TLS 1.0 must not be offered."),
    Rule("tls.protocol.tls11", "B", "2009q", "TLS 1.1 must not be offered."),
    Rule("tls.renegotiation.unsupported", "A-", "2009e", "Secure renegotiation (RFC 5746) must be supported."),
    Rule("tls.protocol.no_tls13", "A-", "2009r", "TLS 1.3 must be supported."),
    Rule("tls.hsts.disabled", "A-", "2009r", "HSTS with max-age=0 counts as switched off."),
    Rule(
        "tls.hsts.invalid", "A-", "2009r", "An HSTS header that is malformed, or comes more than once, counts as none."
    ),
    Rule("tls.hsts.absent", "A", "2009e", "A+ needs HSTS."),
    Rule("tls.hsts.short", "A", "2009e", "A+ needs HSTS with a max-age of six months or more."),
    # Ours, to fail closed: A+ is for what was seen.
    Rule("tls.hsts.unknown", "A", "own", "A+ needs HSTS; it could not be read."),
    Rule("tls.probe.unclear", "A", "own", "A+ needs a clear answer to every question."),
)


class Attack(t.NamedTuple):
    """An attack that the guide caps to F and only exploit traffic could prove; excluded where one of its C(needs) does
    not hold.

    C(needs) name exposures of C(_tls.grade.exposures), C(probe) a harmless test of C(_tls.oracles).
    """

    id: str
    name: str
    needs: tuple[str, ...]
    probe: str = ""


ATTACKS = (
    Attack("heartbleed", "Heartbleed (CVE-2014-0160)", ("heartbeat",)),
    Attack("ccs_injection", "OpenSSL ChangeCipherSpec injection (CVE-2014-0224)", ("old_stack",)),
    Attack("ticketbleed", "Ticketbleed (CVE-2016-9244)", ("old_stack",)),
    Attack("robot", "ROBOT", ("rsa_exchange",), "rsa"),
    Attack("drown", "DROWN (CVE-2016-0800)", ("ssl2",)),
    Attack("poodle_tls", "POODLE against TLS (CVE-2014-8730)", ("cbc", "old_stack"), "cbc"),
    Attack("zombie_poodle", "Zombie POODLE", ("cbc",), "cbc"),
    Attack("goldendoodle", "GOLDENDOODLE", ("cbc",), "cbc"),
    Attack("sleeping_poodle", "Sleeping POODLE", ("cbc",), "cbc"),
    Attack("zero_length", "OpenSSL 0-length padding oracle (CVE-2019-1559)", ("cbc", "old_stack"), "cbc"),
    Attack("luckynegative20", "OpenSSL padding oracle (CVE-2016-2107)", ("cbc", "old_stack")),
    Attack("debian_weak_key", "predictable Debian key (CVE-2008-0166)", ("rsa_key", "unlisted_key", "unlogged_key")),
)
# Why an attack is excluded where what it needs is not there.
EXPOSURES = {
    "heartbeat": "the heartbeat extension is not offered",
    "old_stack": "a server that speaks TLS 1.3 is younger than the fix",
    "ssl2": "SSL 2.0 is not offered here",
    "rsa_exchange": "no suite with RSA key exchange is accepted",
    "cbc": "no suite with CBC is accepted",
    "rsa_key": "the keys are not RSA",
    "unlisted_key": "the key is not on the published list of such keys",
    "unlogged_key": "an authority that logs its certificates issued it, and has to refuse such keys since 2012",
}
# What a harmless test has shown if it found no difference.
PROBES = {
    "rsa": "key exchanges that are malformed in different ways get the same response",
    "cbc": "records that are malformed in different ways get the same response",
}


class Entry(t.NamedTuple):
    """One finding: checklist step, severity (fail, warn, info, unknown), message and fix."""

    step: int
    severity: str
    message: str
    fix: str


_SUITES = "Accept only ECDHE suites with AES-GCM or ChaCha20-Poly1305: frontend_tls_profile intermediate does."
_PROTOCOLS = "Offer TLS 1.2 and TLS 1.3 only: frontend_tls_profile intermediate does."
_RENEW = "Have the certificate issued again and installed."
_HSTS = "Send Strict-Transport-Security with max-age=31536000 once on every response: frontend_hsts_max_age."

CATALOGUE = {
    "tls.endpoint.error": Entry(
        5, "unknown", "The endpoint could not be graded.", "Make it reachable from here, then grade again."
    ),
    "tls.grade": Entry(5, "info", "The grade by the SSL Labs rules.", ""),
    "tls.endpoint.nameless": Entry(
        5, "info", "There is no name that a certificate could be for: trust and name do not count.", ""
    ),
    "tls.certificate.trust_unknown": Entry(
        5,
        "unknown",
        "Whether the certificate is trusted could not be found out.",
        "Configure the full chain: the server's certificate, then the intermediates.",
    ),
    "tls.certificate.key_predictable": Entry(
        5,
        "fail",
        "The key is one of those that Debian's OpenSSL of 2006 to 2008 made.",
        "Issue a new certificate with a new key, made on a current system.",
    ),
    "tls.certificate.untrusted": Entry(
        5,
        "fail",
        "The certificate does not lead to a trusted authority.",
        "Use a certificate of a trusted authority, or name the private one in verify_ca_file.",
    ),
    "tls.certificate.expired": Entry(5, "fail", "The certificate has expired.", _RENEW),
    "tls.certificate.not_yet_valid": Entry(
        5, "fail", "The certificate is not valid yet.", "Check the clock here and there; else wait, or issue again."
    ),
    "tls.certificate.revoked": Entry(5, "fail", "The certificate has been revoked.", "Issue a new one with a new key."),
    "tls.certificate.sha1": Entry(5, "fail", "A certificate of the chain is signed with SHA-1.", _RENEW),
    "tls.certificate.name_mismatch": Entry(
        5,
        "fail",
        "The certificate is not for this name.",
        "Issue it for every name that is served, and check which virtual host answers.",
    ),
    "tls.certificate.key_very_weak": Entry(
        5,
        "fail",
        "The certificate's key is broken by its size.",
        "Issue a new certificate with an ECDSA P-256 or RSA 3072 key.",
    ),
    "tls.certificate.key_weak": Entry(
        5, "fail", "The certificate's key is too small.", "Issue a new certificate with an ECDSA P-256 or RSA 3072 key."
    ),
    "tls.certificate.md5": Entry(5, "fail", "A certificate of the chain is signed with MD5 or MD2.", _RENEW),
    "tls.certificate.exponent_1": Entry(
        5, "fail", "The RSA key has exponent 1.", "Issue a new certificate with a new key."
    ),
    "tls.chain.incomplete": Entry(
        5,
        "fail",
        "An intermediate certificate is not sent.",
        "Configure the full chain: the server's certificate, then the intermediates.",
    ),
    "tls.protocol.sslv2": Entry(2, "fail", "SSL 2.0 is offered.", _PROTOCOLS),
    "tls.protocol.sslv3": Entry(2, "fail", "SSL 3.0 is offered.", _PROTOCOLS),
    "tls.protocol.sslv3_best": Entry(2, "fail", "SSL 3.0 is the best protocol on offer.", _PROTOCOLS),
    "tls.protocol.poodle": Entry(2, "fail", "SSL 3.0 with CBC suites: POODLE.", _PROTOCOLS),
    "tls.protocol.tls10": Entry(2, "fail", "TLS 1.0 is offered.", _PROTOCOLS),
    "tls.protocol.tls11": Entry(2, "fail", "TLS 1.1 is offered.", _PROTOCOLS),
    "tls.protocol.no_tls12": Entry(2, "fail", "Neither TLS 1.2 nor TLS 1.3 is offered.", _PROTOCOLS),
    "tls.protocol.no_tls13": Entry(
        2, "fail", "TLS 1.3 is not offered.", "Offer TLS 1.3; it needs OpenSSL 1.1.1 and Apache 2.4.36 or nginx 1.13."
    ),
    "tls.renegotiation.insecure": Entry(
        2, "fail", "Clients may renegotiate without RFC 5746.", "Update the server's TLS library."
    ),
    "tls.renegotiation.unsupported": Entry(
        2, "fail", "Secure renegotiation (RFC 5746) is not supported.", "Update the server's TLS library."
    ),
    "tls.compression": Entry(
        2, "fail", "TLS compression is on: CRIME.", "Switch it off: SSLCompression off, or a newer OpenSSL."
    ),
    "tls.cipher.rc4": Entry(2, "fail", "RC4 is accepted.", _SUITES),
    "tls.cipher.rc4_only": Entry(2, "fail", "Nothing but RC4 is accepted.", _SUITES),
    "tls.cipher.rc4_modern": Entry(2, "fail", "Current clients get RC4.", _SUITES),
    "tls.cipher.block64_modern": Entry(2, "fail", "Current clients get a cipher with 64-bit blocks.", _SUITES),
    "tls.cipher.export": Entry(2, "fail", "Export suites are accepted.", _SUITES),
    "tls.cipher.weak": Entry(2, "fail", "Suites below 112 bits are accepted.", _SUITES),
    "tls.cipher.null": Entry(2, "fail", "A suite without encryption is accepted.", _SUITES),
    "tls.cipher.anonymous": Entry(2, "fail", "A suite without authentication is accepted.", _SUITES),
    "tls.cipher.no_forward_secrecy": Entry(2, "fail", "Reference browsers do not get forward secrecy.", _SUITES),
    "tls.cipher.no_aead": Entry(2, "fail", "No suite with authenticated encryption is accepted.", _SUITES),
    "tls.dh.very_weak": Entry(
        2,
        "fail",
        "The Diffie-Hellman parameters are broken by their size.",
        "Do without DHE suites: frontend_tls_profile intermediate does.",
    ),
    "tls.dh.weak": Entry(
        2,
        "fail",
        "The Diffie-Hellman parameters are too small.",
        "Do without DHE suites: frontend_tls_profile intermediate does.",
    ),
    "tls.hsts.absent": Entry(3, "fail", "There is no HSTS header.", _HSTS),
    "tls.hsts.short": Entry(3, "fail", "The HSTS max-age is shorter than half a year.", _HSTS),
    "tls.hsts.disabled": Entry(3, "fail", "HSTS is switched off by max-age=0.", _HSTS),
    "tls.hsts.invalid": Entry(3, "fail", "The HSTS header is not valid.", _HSTS),
    "tls.hsts.unknown": Entry(
        3, "unknown", "HSTS could not be read.", "Let the start page answer over HTTPS, with http on."
    ),
    "tls.probe.unclear": Entry(
        5,
        "unknown",
        "Some questions got no clear answer.",
        "Look for a firewall or a rate limiter between here and the endpoint.",
    ),
    # Beyond the grade.
    "tls.attack.robot": Entry(2, "fail", "The server tells whether an RSA key exchange was malformed: ROBOT.", _SUITES),
    "tls.attack.cbc_oracle": Entry(
        2, "fail", "The server tells how a CBC record was malformed: a padding oracle.", _SUITES
    ),
    "tls.attack.excluded": Entry(5, "info", "Attacks that cannot apply, as what they need is not there.", ""),
    "tls.attack.tested": Entry(5, "info", "Attacks that were tested for without exploit traffic and not found.", ""),
    "tls.attack.not_tested": Entry(5, "info", "Attacks that were not tested, as only exploit traffic could.", _SUITES),
    "tls.group.no_post_quantum": Entry(2, "info", "No post-quantum key agreement.", "It comes with OpenSSL 3.5."),
    "tls.group.post_quantum_off": Entry(
        2,
        "warn",
        "The server's OpenSSL has post-quantum groups, the configuration keeps them out.",
        "Put X25519MLKEM768 in front of the list of groups, or drop the list.",
    ),
    "tls.certificate.expires_soon": Entry(
        5,
        "warn",
        "Less than a third of the certificate's lifetime is left.",
        "Renew now, and see why it was not renewed by itself.",
    ),
    "tls.certificate.lifetime": Entry(
        5,
        "info",
        "The certificate lives longer than its successor may.",
        "Automate renewal: 200 days since March 2026, 100 from March 2027, 47 from March 2029.",
    ),
    "tls.certificate.rsa_2048": Entry(
        5, "info", "RSA with less than 3072 bits is to be phased out.", "Prefer an ECDSA P-256 key at the next renewal."
    ),
    "tls.certificate.must_staple": Entry(
        5,
        "warn",
        "The certificate demands a stapled OCSP response, and none is sent.",
        "Switch stapling on, or have it issued without the demand.",
    ),
    "tls.certificate.staple_invalid": Entry(
        5,
        "warn",
        "The stapled OCSP response does not count.",
        "Let the server fetch a new one: check its resolver and clock, or switch stapling off.",
    ),
    "tls.chain.order": Entry(
        5,
        "info",
        "The chain is out of order, or has certificates that do not belong.",
        "Send the server's certificate, then each issuer once.",
    ),
    "tls.chain.anchor": Entry(
        5, "info", "The root certificate is sent along.", "Leave it out: a client that trusts it has it."
    ),
    "tls.renegotiation.client": Entry(
        2,
        "warn",
        "Clients may start a renegotiation, which costs the server more than them.",
        "Switch it off; current OpenSSL does by default.",
    ),
    "tls.extension.extended_master_secret": Entry(
        2, "warn", "TLS 1.2 without the extended master secret (RFC 7627).", "Update the server's TLS library."
    ),
    "tls.tickets": Entry(
        2,
        "info",
        "Session tickets are issued: forward secrecy is as good as the rotation of their keys.",
        "Switch them off, or rotate the keys daily.",
    ),
    "tls.cipher.client_order": Entry(
        2,
        "info",
        "The client's order of suites decides.",
        "frontend_tls_prefer_server_ciphers, if the checklist is to be met to the letter.",
    ),
    "tls.guideline.met": Entry(2, "info", "It conforms to the TLS guideline 6.0.", ""),
    "tls.guideline.missed": Entry(
        2, "info", "It does not conform to the TLS guideline 6.0.", "frontend_tls_profile intermediate does."
    ),
    "tls.hsts.preload_ready": Entry(3, "info", "The HSTS header is ready for the preload list.", ""),
    "tls.hsts.preload_incomplete": Entry(
        3,
        "warn",
        "The HSTS header asks for preloading, but the list would refuse it.",
        "It takes max-age=31536000, includeSubDomains, and a redirect from HTTP.",
    ),
    "tls.http.no_redirect": Entry(
        2,
        "warn",
        "Plain HTTP does not lead to HTTPS on the same host.",
        "Redirect every request but /.well-known/acme-challenge/.",
    ),
}


class Guideline(t.NamedTuple):
    """What a level of the TLS guideline 6.0 (6 April 2026) allows. Days and seconds."""

    protocols: tuple[str, ...]
    suites12: tuple[str, ...]
    keys: tuple[str, ...]
    lifetime_days: int
    hsts_max_age: int


GUIDELINE_SUITES13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
GUIDELINE_GROUPS = ("X25519MLKEM768", "x25519", "secp256r1", "secp384r1")
GUIDELINES = {
    "modern": Guideline(("TLSv1.3",), (), ("EC",), 90, 63072000),
    "intermediate": Guideline(
        ("TLSv1.2", "TLSv1.3"),
        (
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        ("EC", "RSA"),
        366,
        63072000,
    ),
}

# Longest lifetime of a publicly trusted certificate by its date of issue (ballot SC-081v3): from (UTC), days.
LIFETIMES = (("2020-09-01", 398), ("2026-03-15", 200), ("2027-03-15", 100), ("2029-03-15", 47))
# What the preload list of browsers asks for, seconds.
PRELOAD_MAX_AGE = 31536000

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The SSL Labs Server Rating Guide, version 2009r (16 May 2025), as data.

C(RULES) holds the guide's caps and warnings in our own wording, with the revision that brought each. A rule applies
when the fact of the same id holds (C(_tls.grade.facts)); the finding of that id reports it (C(_tls.catalogue)).
"""

from __future__ import annotations

import typing as t

RULESET = "2009r"

# T (no trust) and M (name mismatch) stand beside the scale: they hide the letter below. They are about the
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
    Rule("tls.attack.robot", "F", "2009p", "The server must not reveal whether a key exchange was malformed (ROBOT)."),
    Rule("tls.attack.cbc_oracle", "F", "2009q", "The server must not reveal how a CBC record was malformed."),
    Rule("tls.certificate.key_predictable", "F", "2009", "A weak Debian key scores zero, which makes the whole zero."),
    Rule("tls.protocol.sslv2", "F", "2009c", "SSL 2.0 is broken."),
    Rule("tls.renegotiation.insecure", "F", "2009c", "Renegotiation at a client's request without RFC 5746 is broken."),
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
    Rule("tls.probe.unclear", "A", "own", "A+ needs a clear result of every query."),
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
# What the preload list of browsers requires, seconds.
PRELOAD_MAX_AGE = 31536000

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evaluator on made observations: arithmetic of the scores, each rule alone, and what is not known."""

from __future__ import annotations

import copy
import hashlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._tls import clear_login as _clear_login
from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as grading
from ansible_collections.kopano.hardening.plugins.module_utils._tls import revocation as _revocation
from ansible_collections.kopano.hardening.plugins.module_utils._tls import rules
from ansible_collections.kopano.hardening.plugins.module_utils._tls import trust as _trust
from ansible_collections.kopano.hardening.plugins.module_utils._tls import weak_keys as _weak_keys
from ansible_collections.kopano.hardening.plugins.module_utils._tls.catalogue import CATALOGUE
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate

pytestmark = pytest.mark.slow

NOW = 1790000000
DAY = 86400
GOOD13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
GOOD12 = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]


# One that the list of predictable keys has, see listed().
PREDICTABLE = _x509_certificate.Key("RSA", 4096, modulus=7)


def _line(modulus):
    return hashlib.sha1(b"Modulus=%X\n" % modulus).hexdigest()[20:]


@pytest.fixture(autouse=True)
def listed(monkeypatch, tmp_path):
    """A list of the predictable keys of one size, in place of those that this machine may have."""
    monkeypatch.setattr(_weak_keys, "FOLDER", str(tmp_path))
    (tmp_path / "blacklist.RSA-4096").write_text(f"# a list\n{_line(PREDICTABLE.modulus)}\n")
    _weak_keys._listed.cache_clear()
    yield tmp_path
    _weak_keys._listed.cache_clear()


def certificate(**changes):
    """A leaf for good.test, issued by an authority that sends itself along."""
    values = {
        "der": b"leaf",
        "serial": "01",
        "subject": "CN=good.test",
        "issuer": "CN=ca",
        "subject_der": b"leaf",
        "issuer_der": b"ca",
        "not_before": NOW - 30 * DAY,
        "not_after": NOW + 60 * DAY - 1,
        "key": _x509_certificate.Key("EC", 256, "secp256r1"),
        "key_sha256": "00",
        "signature": "ecdsa-with-SHA256",
        "digest": "sha256",
        "dns_names": ["good.test"],
        "addresses": [],
        "authority": False,
        "subject_key_id": "aa",
        "authority_key_id": "bb",
        "ocsp_urls": [],
        "issuer_urls": [],
        "must_staple": False,
    }
    return _x509_certificate.Certificate(**dict(values, **changes))


CA = certificate(
    der=b"ca", subject="CN=ca", subject_der=b"ca", subject_key_id="bb", authority_key_id="bb", authority=True
)


def middle(**changes):
    """An authority that the other one has certified, and that issued the leaf."""
    own = {"der": b"middle", "subject": "CN=middle", "authority": True, "subject_der": b"ca", "issuer_der": b"root",
           "subject_key_id": "bb", "authority_key_id": "cc", "not_after": NOW + 1000 * DAY}  # fmt: skip
    return certificate(**{**own, **changes})


def entry(*chain, trusted=True, code=0, reason=None, ocsp=None, **more):
    """A certificate as the prober has it; with none but the leaf, the authority follows it."""
    chain = list(chain) if len(chain) != 1 else [*chain, CA]
    judgement = _trust.Judgement(
        trusted, code, reason, more.get("path", _x509_certificate.chain_of(chain)), more.get("fetched", ())
    )
    stapled = {"ocsp": ocsp, "ocsp_reason": more.get("ocsp_reason")}
    return {"chain": chain, "whole": True, "trust": judgement, **stapled, "revocation": more.get("revocation")}


def entries(*found, **options):
    return {"certificates": list(found) or [entry(certificate(), **options)]}


def alone(**options):
    """A certificate without its issuer."""
    leaf = certificate()
    return {
        "chain": [leaf],
        **{key: value for key, value in entry(leaf, path=[leaf], **options).items() if key != "chain"},
    }


def good(**changes):
    """An observation that gets A+, with changes: keys may be paths like features.dh_bits."""
    observation = {
        "host": "good.test",
        "ciphers_from": None,
        "address": "192.0.2.1",
        "port": 443,
        "server_name": "good.test",
        "named": True,
        "starttls": "none",
        "mode": "full",
        "connections": 40,
        "duration_ms": 20,
        "error": None,
        "protocols": {name: name in ("TLSv1.2", "TLSv1.3") for name in data.PROTOCOLS},
        "ciphers": {"TLSv1.2": list(GOOD12), "TLSv1.3": list(GOOD13)},
        "groups": ["X25519MLKEM768", "x25519", "secp256r1"],
        "cipher_order": {"TLSv1.2": "server", "TLSv1.3": "server"},
        "certificates": [entry(certificate())],
        "ca_file": True,
        "features": {
            "compression": False,
            "secure_renegotiation": True,
            "client_renegotiation": False,
            "extended_master_secret": True,
            "session_tickets": False,
            "heartbeat": False,
            "alpn": "h2",
            "ocsp_stapled": False,
            "dh_bits": None,
        },
        "simulations": [],
        "clients": [],
        "oracles": {},
        "clear_login": _clear_login.ClearLogin(None),
        "hsts": {
            "status": "present",
            "max_age": 63072000,
            "include_subdomains": False,
            "preload": False,
            "headers": ["max-age=63072000"],
            "reason": None,
        },
        "redirect": {"status": "https", "code": 301, "location": "https://good.test/"},
        "unclear": [],
        "lost": [],
    }
    observation = copy.deepcopy(observation)
    for path, value in changes.items():
        where = observation
        *folders, last = path.split("__")
        for folder in folders:
            where = where[folder]
        where[last] = value
    return observation


def leaf(**changes):
    return entries(entry(certificate(**changes)))


def protocols(*names):
    return {name: name in names for name in data.PROTOCOLS}


def simulation(suite, protocol="TLSv1.2"):
    return [{"client": "A browser", "protocol": protocol, "suite": suite}]


def grade(observation, **options):
    return grading.grade(observation, now=NOW, **options)


def held(result):
    return sorted(entry["id"] for entry in result["caps"] + result["warnings"])


def test_good():
    result = grade(good())
    assert (result["grade"], result["grade_trust_ignored"], held(result)) == ("A+", "A+", [])
    assert result["scores"] == {"protocol": 100, "key_exchange": 100, "cipher": 90}
    assert result["score"] == 96
    assert [entry["id"] for entry in result["not_tested"]] == ["tls.certificate.revoked"]
    assert not [finding for finding in result["findings"] if finding["severity"] == "fail"]
    json.dumps(result)


RC4 = "TLS_RSA_WITH_RC4_128_SHA"
CBC = "TLS_RSA_WITH_AES_128_CBC_SHA"
TRIPLE = "TLS_RSA_WITH_3DES_EDE_CBC_SHA"
BOTH = ("TLSv1.2", "TLSv1.3")
# Every rule alone, or with those that cannot be had without: rule: (changes, further rules, grade, trust ignored).
CASES = {
    "tls.certificate.untrusted": (
        entries(trusted=False, code=19, reason="self-signed"),
        (),
        "T",
        "A+",
    ),
    "tls.certificate.expired": (leaf(not_after=NOW - 1), (), "T", "A+"),
    "tls.certificate.not_yet_valid": (leaf(not_before=NOW + 1), (), "T", "A+"),
    "tls.certificate.revoked": (
        entries(ocsp="revoked"),
        (),
        "T",
        "A+",
    ),
    "tls.certificate.sha1": (leaf(digest="sha1"), (), "T", "A+"),
    "tls.certificate.name_mismatch": (leaf(dns_names=["bad.test"]), (), "M", "A+"),
    "tls.certificate.md5": (leaf(digest="md5"), (), "F", "F"),
    "tls.certificate.key_very_weak": (
        leaf(key=_x509_certificate.Key("RSA", 1023)),
        ("tls.certificate.key_weak",),
        "F",
        "F",
    ),
    "tls.certificate.key_weak": (leaf(key=_x509_certificate.Key("RSA", 2047)), (), "B", "B"),
    "tls.certificate.exponent_1": (leaf(key=_x509_certificate.Key("RSA", 2048, exponent=1)), (), "F", "F"),
    "tls.chain.incomplete": (
        entries(alone(trusted=False, code=20, reason="no issuer")),
        ("tls.certificate.untrusted",),
        "T",
        "B",
    ),
    "tls.protocol.sslv2": (
        {"protocols": protocols("SSLv2", *BOTH), "ciphers__SSLv2": ["SSL_CK_RC4_128_WITH_MD5"]},
        (),
        "F",
        "F",
    ),
    "tls.protocol.sslv3": ({"protocols": protocols("SSLv3", *BOTH), "ciphers__SSLv3": []}, (), "B", "B"),
    "tls.protocol.sslv3_best": (
        {"protocols": protocols("SSLv3"), "ciphers": {"SSLv3": [RC4]}, "simulations": simulation(RC4, "SSLv3")},
        (
            "tls.protocol.sslv3",
            "tls.protocol.no_tls12",
            "tls.protocol.no_tls13",
            "tls.cipher.rc4",
            "tls.cipher.rc4_only",
            "tls.cipher.no_aead",
            "tls.cipher.no_forward_secrecy",
        ),
        "F",
        "F",
    ),
    "tls.protocol.poodle": (
        {"protocols": protocols("SSLv3", *BOTH), "ciphers__SSLv3": [CBC]},
        ("tls.protocol.sslv3",),
        "C",
        "C",
    ),
    "tls.protocol.tls10": ({"protocols": protocols("TLSv1.0", *BOTH)}, (), "B", "B"),
    "tls.protocol.tls11": ({"protocols": protocols("TLSv1.1", *BOTH)}, (), "B", "B"),
    "tls.protocol.no_tls12": (
        {"protocols": protocols("TLSv1.1"), "ciphers": {"TLSv1.1": ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]}},
        ("tls.protocol.tls11", "tls.protocol.no_tls13", "tls.cipher.no_aead"),
        "C",
        "C",
    ),
    "tls.protocol.no_tls13": ({"protocols": protocols("TLSv1.2"), "ciphers": {"TLSv1.2": GOOD12}}, (), "A-", "A-"),
    "tls.renegotiation.insecure": (
        {"features__secure_renegotiation": False, "features__client_renegotiation": True},
        ("tls.renegotiation.unsupported",),
        "F",
        "F",
    ),
    "tls.renegotiation.unsupported": ({"features__secure_renegotiation": False}, (), "A-", "A-"),
    "tls.compression": ({"features__compression": True}, (), "C", "C"),
    "tls.dh.very_weak": ({"features__dh_bits": 1023}, ("tls.dh.weak",), "F", "F"),
    "tls.dh.weak": ({"features__dh_bits": 2047}, (), "B", "B"),
    "tls.cipher.rc4": ({"ciphers__TLSv1.2": [*GOOD12, RC4]}, (), "B", "B"),
    "tls.cipher.rc4_only": (
        {"protocols": protocols("TLSv1.2"), "ciphers": {"TLSv1.2": [RC4]}, "simulations": simulation(RC4)},
        (
            "tls.cipher.rc4",
            "tls.cipher.rc4_modern",
            "tls.cipher.no_aead",
            "tls.cipher.no_forward_secrecy",
            "tls.protocol.no_tls13",
        ),
        "F",
        "F",
    ),
    "tls.cipher.rc4_modern": (
        {"ciphers__TLSv1.2": [*GOOD12, RC4], "simulations": simulation("TLS_ECDHE_RSA_WITH_RC4_128_SHA")},
        ("tls.cipher.rc4",),
        "C",
        "C",
    ),
    "tls.cipher.block64_modern": (
        {"simulations": simulation("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "TLSv1.1")},
        (),
        "C",
        "C",
    ),
    "tls.cipher.no_forward_secrecy": ({"simulations": simulation(CBC)}, (), "B", "B"),
    "tls.cipher.no_aead": (
        {"protocols": protocols("TLSv1.2"), "ciphers": {"TLSv1.2": ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]}},
        ("tls.protocol.no_tls13",),
        "B",
        "B",
    ),
    "tls.cipher.anonymous": ({"ciphers__TLSv1.2": [*GOOD12, "TLS_ECDH_anon_WITH_AES_128_CBC_SHA"]}, (), "F", "F"),
    "tls.cipher.null": ({"ciphers__TLSv1.2": [*GOOD12, "TLS_RSA_WITH_NULL_SHA"]}, ("tls.cipher.weak",), "F", "F"),
    "tls.cipher.export": (
        {"ciphers__TLSv1.2": [*GOOD12, "TLS_RSA_EXPORT_WITH_DES40_CBC_SHA"]},
        ("tls.cipher.weak",),
        "F",
        "F",
    ),
    "tls.cipher.weak": ({"ciphers__TLSv1.2": [*GOOD12, "TLS_RSA_WITH_DES_CBC_SHA"]}, (), "F", "F"),
    "tls.attack.robot": ({"oracles": {"rsa": "well formed: alert 20; …"}}, (), "F", "F"),
    "tls.attack.cbc_oracle": ({"oracles": {"cbc": "wrong MAC: alert 20; …"}}, (), "F", "F"),
    "tls.certificate.key_predictable": (leaf(key=PREDICTABLE), (), "F", "F"),
    "tls.hsts.absent": ({"hsts__status": "absent"}, (), "A", "A"),
    "tls.hsts.short": ({"hsts__max_age": 15551999}, (), "A", "A"),
    "tls.hsts.disabled": ({"hsts__status": "disabled", "hsts__max_age": 0}, (), "A-", "A-"),
    "tls.hsts.invalid": ({"hsts__status": "invalid", "hsts__reason": "2 headers"}, (), "A-", "A-"),
    "tls.hsts.unknown": ({"hsts": {"status": "not_tested"}}, (), "A", "A"),
    "tls.probe.unclear": ({"unclear": [{"query": "groups pq", "result": "no response in time"}]}, (), "A", "A"),
}


def test_every_rule_has_a_case():
    assert sorted(CASES) == sorted(rule.id for rule in rules.RULES)


@pytest.mark.parametrize("rule", list(CASES))
def test_rule(rule):
    changes, further, letter, ignored = CASES[rule]
    result = grade(good(**changes))
    assert held(result) == sorted((rule, *further))
    assert (result["grade"], result["grade_trust_ignored"]) == (letter, ignored)
    # Each rule that holds is a finding with what to do about it.
    found = {finding["id"]: finding for finding in result["findings"]}
    for one in held(result):
        assert found[one]["fix"] and found[one]["evidence"] and found[one]["message"]


def test_tls13_alone_can_have_a_plus():
    result = grade(
        good(protocols=protocols("TLSv1.3"), ciphers={"TLSv1.3": GOOD13}, features__secure_renegotiation=None)
    )
    assert (result["grade"], result["score"]) == ("A+", 96)


def test_3des_that_no_client_gets_only_costs_points():
    result = grade(good(**{"ciphers__TLSv1.2": [*GOOD12, TRIPLE]}))
    assert (result["grade"], result["scores"]["cipher"]) == ("A+", 60)
    result = grade(good(simulations=simulation("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "TLSv1.0")))
    assert result["grade"] == "A+"


def test_mail_has_no_hsts():
    assert grade(good(hsts={"status": "not_applicable"}))["grade"] == "A+"


@pytest.mark.parametrize(
    ("changes", "scores", "score"),
    [
        # The examples of the guide: the mean of best and worst protocol and cipher, 30/30/40 percent.
        ({"protocols": protocols("TLSv1.0", "TLSv1.1", *BOTH)}, (95, 100, 90), 94),
        ({"protocols": protocols("SSLv3", *BOTH)}, (90, 100, 90), 93),
        (leaf(key=_x509_certificate.Key("RSA", 2048)), (100, 90, 90), 93),
        (leaf(key=_x509_certificate.Key("RSA", 4096)), (100, 100, 90), 96),
        ({"features__dh_bits": 1024}, (100, 80, 90), 90),
        ({"groups": ["x25519", "ffdhe2048"]}, (100, 90, 90), 93),
        ({"groups": ["x25519", "secp192r1"]}, (100, 90, 90), 93),
        ({"groups": ["x25519", "sect163k1"]}, (100, 90, 90), 93),
        ({"groups": ["secp160r1"]}, (100, 80, 90), 90),
        ({"ciphers": {"TLSv1.3": ["TLS_AES_256_GCM_SHA384"]}}, (100, 100, 100), 100),
        ({"ciphers__TLSv1.2": [*GOOD12, "TLS_RSA_WITH_DES_CBC_SHA"]}, (100, 100, 60), 84),
        ({"ciphers__TLSv1.2": [*GOOD12, "TLS_RSA_WITH_NULL_SHA"]}, (100, 100, 0), 0),
        ({"ciphers__TLSv1.2": [*GOOD12, "TLS_DH_anon_WITH_AES_128_CBC_SHA"]}, (100, 0, 90), 0),
        ({"ciphers__TLSv1.2": [*GOOD12, "TLS_RSA_EXPORT_WITH_RC4_40_MD5"]}, (100, 40, 60), 66),
        ({"protocols": protocols("SSLv2", *BOTH), "ciphers__SSLv2": []}, (0, 100, 90), 0),
        ({"mode": "quick", "ciphers": {"TLSv1.3": ["TLS_AES_256_GCM_SHA384"]}}, (100, 100, 90), 96),
    ],
)
def test_scores(changes, scores, score):
    result = grade(good(**changes))
    assert tuple(result["scores"][name] for name in ("protocol", "key_exchange", "cipher")) == scores
    assert result["score"] == score


@pytest.mark.parametrize(
    ("score", "letter"), [(80, "A"), (79, "B"), (65, "B"), (64, "C"), (50, "C"), (49, "D"), (34, "E"), (19, "F")]
)
def test_letters(score, letter):
    assert next(letter for limit, letter in rules.LETTERS if score >= limit) == letter


def test_an_error_is_no_grade():
    result = grade(good(error="cannot connect: timed out"))
    assert (result["grade"], result["grade_trust_ignored"], result["score"], result["scores"]) == (None, None, None, {})
    assert [(finding["id"], finding["severity"]) for finding in result["findings"]] == [
        ("tls.endpoint.error", "unknown")
    ]


def test_no_certificate_is_an_error():
    assert grade(good(certificates=[]))["error"] == "the certificate could not be read"


@pytest.mark.parametrize(
    ("changes", "untested"),
    [
        ({"protocols__SSLv2": None}, {"tls.protocol.sslv2", "tls.attack.drown"}),
        ({"protocols__SSLv3": None}, {"tls.protocol.sslv3"}),
        ({"protocols__TLSv1.0": None}, {"tls.protocol.tls10"}),
        ({"protocols__TLSv1.1": None}, {"tls.protocol.tls11"}),
        (
            {"protocols__TLSv1.3": None},
            {"tls.protocol.no_tls13", "tls.attack.ccs_injection", "tls.attack.ticketbleed"},
        ),
        (
            {"features__secure_renegotiation": False, "features__client_renegotiation": None},
            {"tls.renegotiation.insecure", "tls.renegotiation.client"},
        ),
        (
            {"hsts": {"status": "error", "reason": "x"}},
            {"tls.hsts.absent", "tls.hsts.short", "tls.hsts.disabled", "tls.hsts.invalid", "tls.hsts.unknown"},
        ),
        (
            entries(alone(trusted=None, code=None, reason="x")),
            {"tls.chain.incomplete", "tls.certificate.untrusted"},
        ),
        (
            {**entries(alone(trusted=False, code=20, reason="x", ocsp="good")), "ca_file": False},
            {"tls.chain.incomplete"},
        ),
    ],
)
def test_what_is_not_known_is_not_tested(changes, untested):
    result = grade(good(**changes))
    before = {entry["id"] for entry in grade(good())["not_tested"]}
    assert {entry["id"] for entry in result["not_tested"]} - before == untested - {"tls.hsts.unknown"}
    assert all(entry["reason"] for entry in result["not_tested"])


def test_an_untested_chain_has_no_letter():
    """It is neither called trusted nor untrusted: what could not be found out is reported as such."""
    result = grade(good(**entries(trusted=None, code=None, reason="no library")))
    assert (result["grade"], result["grade_trust_ignored"], result["error"]) == (None, "A+", None)
    found = {one["id"]: one for one in result["findings"]}
    assert found["tls.certificate.trust_unknown"]["severity"] == "unknown"
    assert found["tls.certificate.trust_unknown"]["evidence"] == "no library"
    # What is known to be bad stays so.
    result = grade(good(**entries(entry(certificate(not_after=NOW - 1), trusted=None))))
    assert (result["grade"], held(result)) == ("T", ["tls.certificate.expired"])


def test_the_worst_certificate_counts():
    """A good ECDSA certificate hides nothing that is wrong with the RSA one beside it."""
    rsa = certificate(der=b"rsa", key=_x509_certificate.Key("RSA", 3072))
    for other, letter, rule in (
        (entry(rsa, trusted=False, code=18, reason="self-signed certificate"), "T", "tls.certificate.untrusted"),
        (entry(rsa._replace(not_after=NOW - 1)), "T", "tls.certificate.expired"),
        (entry(rsa._replace(dns_names=["bad.test"])), "M", "tls.certificate.name_mismatch"),
        (entry(rsa, ocsp="revoked"), "T", "tls.certificate.revoked"),
        (entry(rsa, fetched=["http://ca.test/"]), "B", "tls.chain.incomplete"),
        (entry(rsa, trusted=None, reason="x"), None, None),
    ):
        for order in ([entry(certificate()), other], [other, entry(certificate())]):
            result = grade(good(certificates=order))
            assert (result["grade"], held(result)) == (letter, [rule] if rule else [])
    (cap,) = grade(good(certificates=[entry(certificate()), entry(rsa, trusted=False, reason="x")]))["caps"]
    assert cap["evidence"] == "RSA 3072: x"


def test_what_an_authority_signed_off_the_chosen_path_does_not_count():
    sha1 = CA._replace(der=b"old", digest="sha1", subject_der=b"other", issuer_der=b"oldest")
    leaf = certificate()
    result = grade(good(certificates=[entry(leaf, sha1, CA, path=[leaf, CA])]))
    assert (result["grade"], held(result)) == ("A+", [])
    # An anchor is trusted for what it is, and not for who signed it.
    assert grade(good(certificates=[entry(leaf, sha1, path=[leaf, sha1])]))["grade"] == "A+"
    result = grade(good(certificates=[entry(leaf, sha1, CA, path=[leaf, sha1, CA])]))
    assert (result["grade"], held(result)) == ("T", ["tls.certificate.sha1"])


def test_without_a_name_trust_and_name_do_not_count():
    """And the result says so; what else is wrong still counts."""
    wrong = {**leaf(dns_names=["bad.test"], not_after=NOW - 1), "named": False}
    result = grade(good(**wrong))
    assert (result["grade"], result["grade_trust_ignored"], result["named"], held(result)) == ("A+", "A+", False, [])
    found = {one["id"]: one for one in result["findings"]}
    assert found["tls.endpoint.nameless"]["severity"] == "info"
    assert "An expired certificate is not trusted." in found["tls.endpoint.nameless"]["evidence"]
    assert not [one for one in result["findings"] if one["severity"] in ("fail", "warn", "unknown")]
    assert grade(good(**wrong, hsts__status="absent"))["grade"] == "A"
    assert grade(good(**wrong, protocols=protocols("TLSv1.0", *BOTH)))["grade"] == "B"
    untested = {**entries(trusted=None, reason="x"), "named": False}
    assert grade(good(**untested))["grade"] == "A+"
    assert grade(good(**{**wrong, "named": True}))["grade"] == "T"


def attacks(result):
    untested = {
        entry["id"].rpartition(".")[2] for entry in result["not_tested"] if entry["id"].startswith("tls.attack.")
    }
    (excluded,) = [one["evidence"] for one in result["findings"] if one["id"] == "tls.attack.excluded"]
    return untested, {attack.id for attack in rules.ATTACKS if attack.name in excluded}


def test_attacks_are_excluded_or_not_tested_and_never_passed():
    everything = {attack.id for attack in rules.ATTACKS}
    assert attacks(grade(good())) == (set(), everything)
    for changes in (
        {"ciphers__TLSv1.2": [*GOOD12, CBC]},
        {"features__heartbeat": True},
        {"protocols": protocols("TLSv1.2"), "ciphers": {"TLSv1.2": GOOD12}},
        leaf(key=_x509_certificate.Key("RSA", 3072)),
    ):
        untested, excluded = attacks(grade(good(**changes)))
        assert untested and untested | excluded == everything and not untested & excluded
    old = {"protocols": protocols("SSLv2", "TLSv1.2"), "ciphers": {"TLSv1.2": [*GOOD12, CBC]}}
    untested, _excluded = attacks(grade(good(**old)))
    assert {"robot", "drown", "goldendoodle", "zombie_poodle", "poodle_tls"} <= untested
    # What no protocol and no response speaks for any more.
    untested, excluded = attacks(grade(good(**{"ciphers__TLSv1.2": [*GOOD12, CBC]})))
    assert untested == {"robot", "goldendoodle", "zombie_poodle", "sleeping_poodle"}
    assert {"drown", "poodle_tls", "zero_length", "luckynegative20"} <= excluded


def test_attacks_that_were_tested_are_neither_excluded_nor_untested():
    result = grade(good(**{"ciphers__TLSv1.2": [*GOOD12, CBC], "oracles": {"rsa": False, "cbc": False}}))
    untested, excluded = attacks(result)
    assert untested == set() and not excluded & {"robot", "goldendoodle", "zombie_poodle", "sleeping_poodle"}
    (tested,) = [one["evidence"] for one in result["findings"] if one["id"] == "tls.attack.tested"]
    assert "ROBOT: " in tested and "GOLDENDOODLE: " in tested
    # One whose response was lost is not tested.
    lost = grade(good(**{"ciphers__TLSv1.2": [*GOOD12, CBC], "oracles": {"rsa": None, "cbc": False}}))
    assert attacks(lost)[0] == {"robot"}


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_an_rsa_key_makes_no_step_unknown(mode):
    """What only exploit traffic could tell is told as such, and leaves the step as it is."""
    result = grade(good(mode=mode, **leaf(key=_x509_certificate.Key("RSA", 3072))))
    assert attacks(result)[0] == {"debian_weak_key"}
    assert not [one for one in result["findings"] if one["severity"] not in ("info",)]


def test_predictable_keys(listed):
    """By the list of such keys, where there is one; else by who issued the certificate."""
    assert attacks(grade(good(**leaf(key=_x509_certificate.Key("RSA", 3072, modulus=7)))))[0] == {"debian_weak_key"}
    assert attacks(grade(good(**leaf(key=_x509_certificate.Key("RSA", 4096, modulus=5)))))[0] == set()
    result = grade(good(**leaf(key=PREDICTABLE)))
    assert (result["grade"], held(result)) == ("F", ["tls.certificate.key_predictable"])
    assert _weak_keys.is_listed(PREDICTABLE, str(listed / "none")) is None
    # Of another size, and of an authority that logs what it issues; one that is not trusted proves nothing.
    logged = certificate(key=_x509_certificate.Key("RSA", 2048, modulus=5), logged=True)
    assert attacks(grade(good(certificates=[entry(logged)])))[0] == set()
    assert attacks(grade(good(certificates=[entry(logged, trusted=False, reason="x")])))[0] == {"debian_weak_key"}


NOTES = {
    "tls.group.no_post_quantum": {"groups": ["x25519"]},
    "tls.certificate.expires_soon": leaf(not_before=NOW - 70 * DAY, not_after=NOW + 20 * DAY),
    "tls.certificate.rsa_2048": leaf(key=_x509_certificate.Key("RSA", 2048)),
    "tls.certificate.must_staple": leaf(must_staple=True),
    "tls.certificate.lifetime": leaf(not_after=NOW + 200 * DAY),
    "tls.certificate.staple_invalid": entries(ocsp="invalid", ocsp_reason="it is for another certificate"),
    "tls.endpoint.nameless": {"named": False},
    "tls.certificate.revocation_unknown": entries(revocation=_revocation.Status(None, None, "the CRL is out of date")),
    "tls.chain.ends_first": entries(entry(certificate(), middle(not_after=NOW + 59 * DAY), CA)),
    "tls.chain.order": entries(entry(certificate(), certificate(), CA)),
    "tls.renegotiation.client": {"features__client_renegotiation": True},
    "tls.extension.extended_master_secret": {"features__extended_master_secret": False},
    "tls.tickets": {"features__session_tickets": True},
    "tls.cipher.client_order": {"cipher_order": {"TLSv1.2": "client"}},
    "tls.guideline.missed": {"groups": ["x25519", "x448"]},
    "tls.hsts.preload_ready": {"hsts__preload": True, "hsts__include_subdomains": True},
    "tls.hsts.preload_incomplete": {"hsts__preload": True},
    "tls.starttls.clear_login": {"clear_login": _clear_login.ClearLogin(["LOGIN", "AUTH=PLAIN"])},
    "tls.http.no_redirect": {"redirect": {"status": "none", "code": 200, "location": None}},
    "tls.attack.not_tested": {"features__heartbeat": True},
}


@pytest.mark.parametrize("key", list(NOTES))
def test_beyond_the_grade(key):
    result = grade(good(**NOTES[key]))
    assert key in [finding["id"] for finding in result["findings"]]
    assert key not in [finding["id"] for finding in grade(good())["findings"]]
    assert result["grade"] == "A+"


def untested_of(result):
    return {one["id"]: one["reason"] for one in result["not_tested"]}.get("tls.certificate.revoked")


def test_a_certificate_is_revoked_by_what_its_authority_has_published():
    rsa = certificate(key=_x509_certificate.Key("RSA", 4096), der=b"rsa")
    good, gone = _revocation.Status("good", "the CRL at a"), _revocation.Status("revoked", "the CRL at b")
    result = grade(good_with(entry(certificate(), revocation=good)))
    assert (result["grade"], untested_of(result)) == ("A+", None)
    assert result["certificate"]["revocation_source"] == "the CRL at a"
    result = grade(good_with(entry(certificate(), revocation=good), entry(rsa, revocation=gone)))
    assert (result["grade"], result["caps"][0]["id"]) == ("T", "tls.certificate.revoked")
    assert result["caps"][0]["evidence"] == "RSA 4096: by the CRL at b"
    # A response that does not count says nothing, whatever the authority has published.
    stapled = {"ocsp": "invalid", "ocsp_reason": "it is forged"}
    result = grade(good_with(entry(certificate(), revocation=good, **stapled)))
    assert (result["grade"], untested_of(result)) == ("A+", None)
    unknown = _revocation.Status(None, None, "the CRL is out of date")
    assert untested_of(grade(good_with(entry(certificate(), revocation=unknown)))) == "the CRL is out of date"


def good_with(*certificates):
    return good(certificates=list(certificates))


@pytest.mark.parametrize(
    ("chain", "evidence"),
    [
        ([certificate(), middle()], None),
        ([certificate(), middle(not_after=NOW + 60 * DAY - 1)], None),
        ([certificate(), middle(not_after=NOW + 60 * DAY - 2)], "CN=middle: until 2026-11-20T14:13:18Z; the server's"),
        # A leaf that lives for a day is renewed by then, the intermediate is not.
        ([certificate(not_after=NOW + DAY), middle(not_after=NOW + 30 * DAY)], None),
        ([certificate(not_after=NOW + DAY), middle(not_after=NOW + 30 * DAY - 1)], "CN=middle: until 2026-10-21T"),
        # A cross-signed root of which the client needs nothing any more, beside the path that counts.
        ([certificate(), middle(), middle(not_after=NOW - DAY, der=b"cross", subject="CN=cross")], "CN=cross: until"),
        # What issued nothing that was sent is another finding, and a root that is sent along is the client's own.
        ([certificate(), middle(), middle(not_after=NOW, subject_der=b"other")], None),
        ([certificate(), CA._replace(not_after=NOW)], None),
    ],
)
def test_an_intermediate_that_ends_before_the_leaf_or_soon(chain, evidence):
    observation = good(certificates=[entry(*chain)])
    found = [one["evidence"] for one in grade(observation)["findings"] if one["id"] == "tls.chain.ends_first"]
    assert len(found) == (evidence is not None) and all(one.startswith(evidence) for one in found)
    assert "tls.chain.ends_first" not in [one["id"] for one in grade({**observation, "named": False})["findings"]]


def test_post_quantum_that_the_library_has():
    groups = ["x25519", "X25519MLKEM768", "not-a-group"]
    ids = [finding["id"] for finding in grade(good(groups=["x25519"]), groups=groups)["findings"]]
    assert "tls.group.post_quantum_off" in ids and "tls.group.no_post_quantum" not in ids


def test_guideline():
    def met(**changes):
        found = [one["evidence"] for one in grade(good(**changes))["findings"] if one["id"] == "tls.guideline.met"]
        return found[0] if found else None

    assert met() == "intermediate"
    assert met(protocols=protocols("TLSv1.3"), ciphers={"TLSv1.3": GOOD13}) == "modern"
    assert met(hsts__max_age=31536000) is None
    assert met(mode="quick") is None


def test_what_was_found_in_another_order_is_the_same():
    """A server that leaves the order to its clients has its suites and groups found in any."""
    names = ["TLSv1.2", "TLSv1.3"]
    suites = [suite.name for suite in data.SUITES.values() if not suite.tls13][:6]
    found = []
    for step in (1, -1):
        observation = good(groups=["x448", "x25519", "secp521r1"][::step], hsts__max_age=1)
        observation["cipher_order"] = dict.fromkeys(names[::step], "client")
        observation["ciphers"]["TLSv1.2"] = suites[::step]
        found.append({one["id"]: one["evidence"] for one in grade(observation)["findings"]})
    assert found[0]["tls.cipher.client_order"] == "TLSv1.3, TLSv1.2"
    for key in ("tls.cipher.client_order", "tls.guideline.missed"):
        assert found[0][key] == found[1][key]


def test_lifetimes_follow_the_ballot():
    """A certificate of the last day of the old limits is told the limit of its successor."""
    result = grade(good(**leaf(not_before=1773446400, not_after=1773446400 + 200 * DAY - 1)))
    assert "tls.certificate.lifetime" not in [one["id"] for one in result["findings"]]
    long = good(**leaf(not_before=1773446400, not_after=1773446400 + 398 * DAY - 1))
    (evidence,) = [one["evidence"] for one in grade(long)["findings"] if one["id"] == "tls.certificate.lifetime"]
    assert evidence == "398 days; a public successor of 2027-04-15 gets 100"


def test_the_catalogue():
    others = {"tls.endpoint.error", "tls.endpoint.nameless", "tls.endpoint.from_host", "tls.grade"}
    others.add("tls.certificate.trust_unknown")
    known = {rule.id for rule in rules.RULES} | set(grading.notes(good(), NOW, None)) | others
    assert set(CATALOGUE) == known
    for key, entry in CATALOGUE.items():
        assert re.match(r"tls(\.[a-z0-9_]+)+$", key)
        assert 1 <= entry.step <= 5 and entry.severity in ("fail", "warn", "info", "unknown") and entry.message
        assert entry.fix or entry.severity == "info"
    assert all(rule.grade in (*rules.GRADES, "T", "M") for rule in rules.RULES)
    needs = {need for attack in rules.ATTACKS for need in attack.needs}
    assert needs == set(rules.EXPOSURES) == set(grading.exposures(good()))
    assert {attack.probe for attack in rules.ATTACKS} - {""} == set(rules.PROBES)


@settings(max_examples=300, deadline=None)
@given(
    st.sets(st.sampled_from(data.PROTOCOLS), min_size=1),
    st.lists(st.sampled_from(sorted(suite.name for suite in data.SUITES.values() if not suite.tls13)), max_size=8),
    st.lists(st.sampled_from(sorted(data.GROUP_NAMED)), max_size=4, unique=True),
    st.sampled_from([None, 512, 1024, 2048, 4096]),
)
def test_more_weakness_is_never_a_better_grade(names, suites, groups, dh_bits):
    """Adding to a good server what it accepts never raises the grade."""
    there = {name: name in names or name in BOTH for name in data.PROTOCOLS}
    changed = good(protocols=there, groups=[*good()["groups"], *groups], features__dh_bits=dh_bits)
    changed["groups"] = list(dict.fromkeys(changed["groups"]))
    changed["ciphers"]["TLSv1.2"] = list(dict.fromkeys([*GOOD12, *suites]))
    result = grade(changed)
    order = rules.GRADES.index
    assert order(result["grade"]) >= order("A+")
    if names & {"SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"}:
        assert order(result["grade"]) >= order("B")
    if any(data.SUITES[code].name in suites and data.SUITES[code].bits < 112 for code in data.SUITES):
        assert result["grade"] == "F"


def test_evil_names_in_results_are_only_text():
    result = grade(good(**leaf(dns_names=["<script>alert(1)</script>"], subject="CN=\\x1b[2J")))
    assert result["grade"] == "M"
    json.dumps(result)

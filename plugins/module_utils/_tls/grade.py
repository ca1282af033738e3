# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Grades an observation of C(_tls.prober) by the rules of C(_tls.rules): facts first, then caps, scores and letters.

A fact is C(False), or text: the evidence that it holds, or, as L(Unknown), why that could not be found out. Unknown
facts never lower a grade and never vanish: they are listed as not tested.
"""

from __future__ import annotations

import calendar
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import rules, weak_keys
from ansible_collections.kopano.hardening.plugins.module_utils._tls.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._tls.clients import ClientResult
from ansible_collections.kopano.hardening.plugins.module_utils._tls.http import Hsts, Redirect
from ansible_collections.kopano.hardening.plugins.module_utils._tls.prober import (
    Features,
    Observation,
    SeenCertificate,
    Simulation,
)
from ansible_collections.kopano.hardening.plugins.module_utils._tls.trust import NO_ISSUER
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

_DAY = 86400
NO_STAPLE = "no OCSP response is stapled, and no responder was queried"
_SUITE_NAMED = {suite.name: suite for suite in data.SUITES.values()}
_SSL2_BITS = dict(data.SSL2_SUITES.values())


class Unknown(str):
    """Why something is not known."""


Fact = t.Union[bool, str, Unknown]

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Limit(t.TypedDict):  # novm
        """A rule that holds: the grade that it leaves at best, T, or M. rule: its text."""

        id: str
        grade: str
        revision: str
        rule: str
        evidence: str

    class Untested(t.TypedDict):  # novm
        """A rule or an attack whose result is not known, and why; of an attack it is its name."""

        id: str
        reason: str

    class Lost(t.TypedDict):  # novm
        """A query on which the letter depends, and what came instead of its result."""

        query: str
        result: str

    class ResultKey(t.TypedDict):  # novm
        """A public key. curve: None where there is none."""

        type: str
        bits: int
        curve: str | None

    class Link(t.TypedDict):  # novm
        """A certificate of a chain."""

        subject: str
        issuer: str
        not_after: str
        sha256: str

    class ResultCertificate(t.TypedDict, total=False):  # novm
        """A certificate with the chain that it came with: all of this, or nothing where a server shows none.

        names: DNS names, then addresses. trusted: None where that is not known; trust_error has the reason then, too.
        ocsp_status, ocsp_error: see C(_tls.ocsp.Staple). revocation_status, revocation_source, revocation_error: see
        C(_tls.revocation.Status). Times are RFC 3339 in UTC. others: the further certificates and chains of the
        endpoint, which the first one has alone.
        """

        subject: str
        issuer: str
        serial: str
        names: list[str]
        name_match: bool
        trusted: bool | None
        trust_error: str | None
        not_before: str
        not_after: str
        key: ResultKey
        signature: str
        sha256: str
        key_sha256: str
        authority_key_id: str | None
        ocsp_urls: list[str]
        must_staple: bool
        ocsp_status: str | None
        ocsp_error: str | None
        crl_urls: list[str]
        revocation_status: str | None
        revocation_source: str | None
        revocation_error: str | None
        chain: list[Link]
        chain_ordered: bool
        others: list[ResultCertificate]

    class Result(t.TypedDict):  # novm
        """The grade of an endpoint: an element of C(results) of the module C(tls_grade_info), which describes it.

        error: why there is no grade. grade: C(A+) to C(F), C(T) or C(M); None with error or trust_unknown.
        grade_trust_ignored: what a trusted certificate for this name would get; None with error. score: 0 to 100, and
        scores by category; None and empty with error. caps and warnings: the rules that keep it at B or below (or make
        it T or M), and at A or A-. clear_login: None without STARTTLS, and where it is not known.
        """

        host: str
        address: str
        port: int
        server_name: str
        named: bool
        starttls: str
        connections: int
        duration_ms: int
        ruleset: str
        error: str | None
        grade: str | None
        grade_trust_ignored: str | None
        trust_unknown: str | None
        score: int | None
        scores: dict[str, int]
        protocols: list[str]
        ciphers: dict[str, list[str]]
        cipher_order: dict[str, str]
        ciphers_from: str | None
        groups: list[str]
        post_quantum: bool
        certificate: ResultCertificate
        features: Features
        hsts: Hsts
        redirect: Redirect
        clear_login: list[str] | None
        caps: list[Limit]
        warnings: list[Limit]
        not_tested: list[Untested]
        clients: list[ClientResult]
        unclear: list[Lost]
        cut: list[str]
        findings: list[Finding]

else:
    Limit = Untested = Lost = ResultKey = Link = ResultCertificate = Result = t.Dict[str, t.Any]


def _named(names: t.Iterable[str]) -> Fact:
    """Evidence out of names: none is False."""
    return ", ".join(dict.fromkeys(names)) or False


def _suites(observation: Observation) -> list[tuple[str, data.Suite]]:
    """Every accepted suite with its protocol, SSL 2.0 aside."""
    return [
        (protocol, _SUITE_NAMED[name])
        for protocol, names in observation["ciphers"].items()
        if protocol != "SSLv2"
        for name in names
    ]


def _leaves(observation: Observation) -> list[x509.Certificate]:
    return [entry["chain"][0] for entry in observation["certificates"]]


def _signed(observation: Observation) -> list[x509.Certificate]:
    """The certificates whose signature counts, of the paths that were chosen."""
    return [one for entry in observation["certificates"] for one in entry["trust"].signed]


def facts(observation: Observation, now: float) -> dict[str, Fact]:
    """Every fact that a rule needs, by the rule's id. C(now) is seconds since 1970."""
    return dict(
        _protocol_facts(observation),
        **_cipher_facts(observation),
        **_certificate_facts(observation, now),
        **_http_facts(observation),
    )


def _protocol_facts(observation: Observation) -> dict[str, Fact]:
    protocols, features = observation["protocols"], observation["features"]
    silence = Unknown("no clear response to its hello")

    def offered(name: str) -> Fact:
        return silence if protocols[name] is None else name if protocols[name] else False

    best = next((name for name in reversed(data.PROTOCOLS) if protocols[name]), "")
    cbc3 = _named(suite.name for protocol, suite in _suites(observation) if protocol == "SSLv3" and suite.cbc)
    secure, client = features["secure_renegotiation"], features["client_renegotiation"]
    insecure: Fact = False
    if secure is False:
        insecure = (
            Unknown("no renegotiation was tried") if client is None else "a client renegotiated" if client else False
        )
    return {
        "tls.protocol.sslv2": offered("SSLv2"),
        "tls.protocol.sslv3": offered("SSLv3"),
        "tls.protocol.tls10": offered("TLSv1.0"),
        "tls.protocol.tls11": offered("TLSv1.1"),
        "tls.protocol.sslv3_best": best if best in ("SSLv2", "SSLv3") else False,
        "tls.protocol.no_tls12": "best is " + best if best not in ("TLSv1.2", "TLSv1.3") else False,
        "tls.protocol.no_tls13": silence
        if protocols["TLSv1.3"] is None
        else "best is " + best
        if best != "TLSv1.3"
        else False,
        "tls.protocol.poodle": cbc3,
        "tls.renegotiation.insecure": insecure,
        "tls.renegotiation.unsupported": "no renegotiation_info in the ServerHello" if secure is False else False,
        "tls.compression": "DEFLATE was chosen" if features["compression"] else False,
        "tls.probe.unclear": _named("{query}: {result}".format(**entry) for entry in observation["unclear"]),
    }


def _cipher_facts(observation: Observation) -> dict[str, Fact]:
    suites = _suites(observation)
    ssl2 = observation["ciphers"].get("SSLv2", [])
    given = [(_SUITE_NAMED[entry["suite"]], entry) for entry in observation["simulations"]]
    modern = [(suite, entry) for suite, entry in given if entry["protocol"] in ("TLSv1.1", "TLSv1.2", "TLSv1.3")]

    def who(pairs: t.Iterable[tuple[data.Suite, Simulation]]) -> Fact:
        return _named("{}: {}".format(entry["client"], suite.name) for suite, entry in pairs)

    bits = observation["features"]["dh_bits"]
    dh = f"{bits} bits"
    forward: Fact = who((suite, entry) for suite, entry in given if not suite.forward_secrecy)
    if suites and not any(suite.forward_secrecy for _protocol, suite in suites):
        forward = "no suite has it"
    rc4 = _named(suite.name for _protocol, suite in suites if "RC4" in suite.name)
    return {
        "tls.cipher.anonymous": _named(suite.name for _protocol, suite in suites if suite.anonymous),
        "tls.cipher.null": _named(suite.name for _protocol, suite in suites if suite.bits == 0),
        "tls.cipher.export": _named(
            [suite.name for _protocol, suite in suites if suite.export] + [name for name in ssl2 if "EXPORT" in name]
        ),
        "tls.cipher.weak": _named(
            [suite.name for _protocol, suite in suites if suite.bits < 112]
            + [name for name in ssl2 if _SSL2_BITS[name] < 112]
        ),
        "tls.cipher.rc4": rc4,
        "tls.cipher.rc4_only": rc4 if suites and all("RC4" in suite.name for _protocol, suite in suites) else False,
        "tls.cipher.rc4_modern": who((suite, entry) for suite, entry in modern if "RC4" in suite.name),
        "tls.cipher.block64_modern": who((suite, entry) for suite, entry in modern if suite.block64),
        "tls.cipher.no_forward_secrecy": forward,
        "tls.cipher.no_aead": "no suite has it"
        if suites and not any(suite.aead for _protocol, suite in suites)
        else False,
        "tls.dh.very_weak": dh if bits and bits < 1024 else False,
        "tls.dh.weak": dh if bits and bits < 2048 else False,
    }


def _certificate_facts(observation: Observation, now: float) -> dict[str, Fact]:
    leaves = _leaves(observation)
    name = observation["server_name"]
    return {
        "tls.certificate.untrusted": _untrusted(observation),
        "tls.certificate.expired": _named("on " + x509.date(leaf.not_after) for leaf in leaves if leaf.not_after < now),
        "tls.certificate.not_yet_valid": _named(
            "before " + x509.date(leaf.not_before) for leaf in leaves if leaf.not_before > now
        ),
        "tls.certificate.revoked": _revoked(observation),
        "tls.certificate.name_mismatch": _named(
            "{} is not among {}".format(name, ", ".join((leaf.dns_names + leaf.addresses)[:8]) or "no names")
            for leaf in leaves
            if not x509.matches(leaf, name)
        ),
        "tls.certificate.sha1": _named(one.subject or "?" for one in _signed(observation) if one.digest == "sha1"),
        "tls.certificate.md5": _named(
            one.subject or "?" for one in _signed(observation) if one.digest in ("md2", "md4", "md5")
        ),
        "tls.certificate.key_very_weak": _named(leaf.key.description for leaf in leaves if leaf.key.weaker(1024, 160)),
        "tls.certificate.key_weak": _named(leaf.key.description for leaf in leaves if leaf.key.weaker(2048, 224)),
        "tls.certificate.key_predictable": _named(
            leaf.key.description for leaf in leaves if leaf.key.type == "RSA" and weak_keys.is_listed(leaf.key)
        ),
        "tls.certificate.exponent_1": _named(leaf.key.description for leaf in leaves if leaf.key.exponent == 1),
        "tls.chain.incomplete": _incomplete(observation),
        "tls.attack.robot": observation["oracles"].get("rsa") or False,
        "tls.attack.cbc_oracle": observation["oracles"].get("cbc") or False,
    }


def _each(observation: Observation, describe: t.Callable[[SeenCertificate], str | None]) -> str:
    """What there is to report of certificates, each with its key where the server has several."""
    entries = observation["certificates"]
    found = [(entry["chain"][0].key.description, describe(entry)) for entry in entries]
    return "; ".join(dict.fromkeys(f"{key}: {text}" if len(entries) > 1 else text for key, text in found if text))


def _untrusted(observation: Observation) -> Fact:
    """Whether there is a certificate that leads to no trusted authority. A server without certificates has none."""

    def reason(trusted: bool | None) -> str:
        return _each(
            observation,
            lambda entry: (entry["trust"].reason or "not verified") if entry["trust"].trusted is trusted else None,
        )

    unknown = reason(None)
    return reason(False) or (Unknown(unknown) if unknown else False)


def _revoked(observation: Observation) -> Fact:
    def source(entry: SeenCertificate) -> str | None:
        if entry["ocsp"] == "revoked":
            return "by the stapled OCSP response"
        published = entry["revocation"]
        return f"by {published.source}" if published and published.status == "revoked" else None

    def doubt(entry: SeenCertificate) -> str | None:
        published = entry["revocation"]
        if entry["ocsp"] == "good" or (published and published.status):
            return None
        return published.reason if published else _staple(entry)

    revoked = _each(observation, source)
    if revoked:
        return revoked
    unclear = _each(observation, doubt)
    return Unknown(unclear or NO_STAPLE) if unclear or not observation["certificates"] else False


def _staple(entry: SeenCertificate) -> str:
    """What there is instead of a stapled response with the status good."""
    if entry["ocsp"] is None:
        return NO_STAPLE
    return "the stapled OCSP response does not count: {}".format(entry["ocsp_reason"] or entry["ocsp"])


def _incomplete(observation: Observation) -> Fact:
    """Whether intermediates are missing.

    A chain that OpenSSL could follow to an anchor is complete, trusted or not, unless something had to be fetched for
    it. Where it could not, a missing intermediate and an unknown private root look alike: it is the former if the
    certificate has an address for its issuer, or if the caller named the authority that should have been found.
    """
    unclear = ""
    for entry in observation["certificates"]:
        trust, top = entry["trust"], entry["trust"].path[-1]
        if trust.fetched:
            return "it had to be fetched from {}".format(", ".join(trust.fetched))
        if trust.trusted or top.self_signed or (trust.code is not None and trust.code not in NO_ISSUER):
            continue
        reason = "{} was issued by {}, which is not sent".format(top.subject or "it", top.issuer)
        if trust.code is None or not entry["whole"]:
            unclear = trust.reason or "the chain was not verified"
        elif not top.authority and (top.issuer_urls or observation["ca_file"]):
            return reason
        else:
            unclear = reason + ": an intermediate, or a root that is not known here (name its file in verify_ca_file)"
    return Unknown(unclear) if unclear else False


def _http_facts(observation: Observation) -> dict[str, Fact]:
    hsts = observation["hsts"]
    status = hsts["status"]
    shown = "; ".join(hsts.get("headers", []))
    unknown: Fact = False
    if status in ("not_tested", "error"):
        unknown = hsts.get("reason") or "HTTP was not requested"
    result: dict[str, Fact] = {
        "tls.hsts.absent": "no Strict-Transport-Security in the response" if status == "absent" else False,
        "tls.hsts.disabled": shown if status == "disabled" else False,
        "tls.hsts.invalid": hsts.get("reason") or False if status == "invalid" else False,
        "tls.hsts.short": shown if status == "present" and (hsts["max_age"] or 0) < rules.LONG_MAX_AGE else False,
    }
    if unknown:
        result = {key: Unknown(unknown) for key in result}
    return dict(result, **{"tls.hsts.unknown": unknown})


def exposures(observation: Observation) -> dict[str, bool]:
    """What attacks need, and whether this endpoint has it, or may have it; see C(_tls.rules.EXPOSURES)."""
    suites = [suite for _protocol, suite in _suites(observation)]
    ssl2 = observation["protocols"]["SSLv2"]
    rsa = [entry for entry in observation["certificates"] if entry["chain"][0].key.type == "RSA"]
    return {
        "heartbeat": bool(observation["features"]["heartbeat"]),
        "old_stack": not observation["protocols"]["TLSv1.3"],
        "ssl2": ssl2 is not False,
        "rsa_exchange": bool(ssl2) or any(suite.exchange.startswith("RSA") for suite in suites),
        "cbc": any(suite.cbc for suite in suites),
        "rsa_key": bool(rsa),
        "unlisted_key": any(weak_keys.is_listed(entry["chain"][0].key) is None for entry in rsa),
        "unlogged_key": not all(entry["trust"].trusted and entry["chain"][0].logged for entry in rsa),
    }


def _attacks(observation: Observation) -> dict[str, list[str]]:
    """The attacks that only exploit traffic could prove: C(excluded) for want of what they need, C(tested) in a
    harmless way, and C(not_tested)."""
    have = exposures(observation)
    found: dict[str, list[str]] = {"excluded": [], "tested": [], "not_tested": []}
    for attack in rules.ATTACKS:
        lacking = next((need for need in attack.needs if not have[need]), None)
        oracle = observation["oracles"].get(attack.probe)
        if lacking:
            found["excluded"].append(f"{attack.name}: {rules.EXPOSURES[lacking]}")
        elif oracle is False:
            found["tested"].append(f"{attack.name}: {rules.PROBES[attack.probe]}")
        elif not oracle:
            found["not_tested"].append(attack.id)
    return found


# Scores


def _below(table: t.Iterable[tuple[int, int]], value: int, otherwise: int = 100) -> int:
    return next((score for limit, score in table if value < limit), otherwise)


def scores(observation: Observation) -> dict[str, int]:
    """The three category scores, 0 to 100 each."""
    protocol = [rules.PROTOCOL_SCORE[name] for name, there in observation["protocols"].items() if there]
    suites = [suite for _protocol, suite in _suites(observation)]
    bits = [suite.bits for suite in suites] + [_SSL2_BITS[name] for name in observation["ciphers"].get("SSLv2", [])]
    if observation["mode"] == "quick" and any(suite.aead and suite.forward_secrecy for suite in suites):
        # Suites that are fine were not listed: count the weakest that was not ruled out.
        bits.append(128)
    cipher = [_below(rules.CIPHER_SCORE, value) for value in bits]
    exchange = [
        _below(rules.RSA_SCORE if leaf.key.type in ("RSA", "DSA") else rules.EC_SCORE, leaf.key.bits)
        for leaf in _leaves(observation)
    ]
    if observation["features"]["dh_bits"]:
        exchange.append(_below(rules.RSA_SCORE, observation["features"]["dh_bits"]))
    for group in (data.GROUP_NAMED[name] for name in observation["groups"]):
        exchange.append(_below(rules.RSA_SCORE if group.family == "ffdhe" else rules.EC_SCORE, group.bits))
    if any(suite.export for suite in suites):
        exchange.append(rules.EXPORT_SCORE)
    if any(suite.anonymous for suite in suites):
        exchange.append(0)
    return {
        "protocol": (max(protocol) + min(protocol)) // 2 if min(protocol) else 0,
        "key_exchange": min(exchange) if exchange else 0,
        "cipher": (max(cipher) + min(cipher)) // 2 if min(cipher) else 0,
    }


def total(parts: t.Mapping[str, int]) -> int:
    """The weighted sum; a zero in one category is a zero altogether."""
    if not all(parts.values()):
        return 0
    return sum(parts[name] * weight for name, weight in rules.WEIGHTS.items()) // 100


# Findings beyond the grade


def notes(observation: Observation, now: float, groups: t.Sequence[str] | None) -> dict[str, Fact]:
    """Facts that do not count for the grade, by the id of their finding. C(groups): what the server's library has."""
    features, hsts, redirect = observation["features"], observation["hsts"], observation["redirect"]
    attacks, clear = _attacks(observation), observation["clear_login"]
    pq = [name for name in observation["groups"] if data.GROUP_NAMED[name].family == "pq"]
    known = [name for name in groups or [] if name in data.GROUP_NAMED and data.GROUP_NAMED[name].family == "pq"]
    guideline = _guideline(observation)
    renegotiation: Fact = "a client renegotiated" if features["client_renegotiation"] else False
    if features["client_renegotiation"] is None and features["secure_renegotiation"] is not None:
        renegotiation = Unknown("no renegotiation was tried: only full mode does, with ECDHE and AEAD")
    clean = observation["mode"] == "full" and not all(guideline.values())
    preload = hsts["status"] == "present" and hsts["preload"]
    is_long = (hsts.get("max_age") or 0) >= rules.PRELOAD_MAX_AGE
    preload_ready = preload and is_long and hsts["include_subdomains"]
    return {
        "tls.attack.excluded": _named(attacks["excluded"]),
        "tls.attack.tested": _named(attacks["tested"]),
        "tls.attack.not_tested": _named(attack.name for attack in rules.ATTACKS if attack.id in attacks["not_tested"]),
        "tls.group.post_quantum_off": not pq and _named(known),
        "tls.group.no_post_quantum": not pq and not known and (_named(observation["groups"]) or "no group"),
        "tls.renegotiation.client": renegotiation,
        "tls.extension.extended_master_secret": "not in the ServerHello"
        if features["extended_master_secret"] is False
        else False,
        "tls.tickets": "a ticket was issued" if features["session_tickets"] else False,
        # The probes of several protocols run side by side.
        "tls.cipher.client_order": _named(
            name for name in reversed(data.PROTOCOLS) if observation["cipher_order"].get(name) == "client"
        ),
        "tls.guideline.met": clean and _named(level for level, missed in guideline.items() if not missed),
        "tls.guideline.missed": observation["mode"] == "full" and not clean and "; ".join(guideline["intermediate"]),
        "tls.hsts.preload_ready": "; ".join(hsts["headers"]) if preload_ready else False,
        "tls.hsts.preload_incomplete": "; ".join(hsts["headers"]) if preload and not preload_ready else False,
        "tls.starttls.clear_login": Unknown(clear.reason) if clear.reason else _named(clear.ways or ()),
        "tls.http.no_redirect": redirect["status"]
        if redirect["status"] in ("none", "http", "https_elsewhere")
        else False,
        **_certificate_notes(observation, now),
    }


def _certificate_notes(observation: Observation, now: float) -> dict[str, Fact]:
    leaves = _leaves(observation)
    order, anchors, ends_first = [], [], []
    for entry in observation["certificates"]:
        path = x509.chain_of(entry["chain"])
        if observation["named"]:
            ends_first += _ends_first(entry["chain"], now)
        if path != entry["chain"]:
            order.append("{} sent, {} on the path or not in order".format(len(entry["chain"]), len(path)))
        if len(path) > 1 and path[-1].self_signed:
            anchors.append(path[-1].subject)
    soon, long = [], []
    for leaf in leaves:
        lifetime = leaf.not_after - leaf.not_before
        if observation["named"] and now <= leaf.not_after and (leaf.not_after - now) * 3 < lifetime:
            soon.append("until " + x509.date(leaf.not_after))
        limit = next((days for since, days in reversed(rules.LIFETIMES) if _seconds(since) <= leaf.not_after), lifetime)
        # A certificate's last second counts as well.
        if lifetime + 1 > limit * _DAY:
            long.append(
                f"{(lifetime + 1) // _DAY} days; a public successor of {x509.date(leaf.not_after)[:10]} gets {limit}"
            )
    return {
        "tls.chain.ends_first": "; ".join(dict.fromkeys(ends_first)) or False,
        "tls.chain.order": _named(order),
        "tls.chain.anchor": _named(anchors),
        "tls.certificate.expires_soon": _named(soon),
        "tls.certificate.lifetime": _named(long),
        "tls.certificate.rsa_2048": _named(
            leaf.key.description for leaf in leaves if leaf.key.type == "RSA" and leaf.key.bits < 3072
        ),
        "tls.certificate.must_staple": _named(
            entry["chain"][0].subject
            for entry in observation["certificates"]
            if entry["chain"][0].must_staple and not entry["ocsp"]
        ),
        "tls.certificate.revocation_unknown": _each(
            observation, lambda entry: entry["revocation"].reason if entry["revocation"] else None
        )
        or False,
        "tls.certificate.staple_invalid": _each(
            observation, lambda entry: entry["ocsp_reason"] if entry["ocsp"] == "invalid" else None
        )
        or False,
    }


def _ends_first(chain: t.Sequence[x509.Certificate], now: float) -> list[str]:
    """The intermediates that were sent and end before the first certificate does, or soon. A cross-signed certificate
    is one of them, also where the path that was chosen goes another way: other clients need it."""
    leaf = chain[0]
    return [
        f"{one.subject}: until {x509.date(one.not_after)}; the server's until {x509.date(leaf.not_after)}"
        for one in chain[1:]
        if x509.ends_first(one, leaf, now) and any(one.issued(other) for other in chain)
    ]


def _guideline(observation: Observation) -> dict[str, list[str]]:
    """Level to what keeps the endpoint from meeting it, sorted: a server without an order has its suites in any."""
    offered = observation["ciphers"]
    suites13 = sorted(name for name in offered.get("TLSv1.3", []) if name not in rules.GUIDELINE_SUITES13)
    groups = sorted(name for name in observation["groups"] if name not in rules.GUIDELINE_GROUPS)
    result = {}
    for level, wanted in rules.GUIDELINES.items():
        missed = [
            f"{name} offered"
            for name, there in observation["protocols"].items()
            if there and name not in wanted.protocols
        ]
        missed += [f"{name} not offered" for name in wanted.protocols if not observation["protocols"][name]]
        missed += sorted(name for name in offered.get("TLSv1.2", []) if name not in wanted.suites12)
        missed += suites13 + ["group " + name for name in groups]
        for leaf in _leaves(observation):
            if leaf.key.type not in wanted.keys:
                missed.append("a key of type " + leaf.key.type)
            if leaf.not_after - leaf.not_before >= (wanted.lifetime_days + 1) * _DAY:
                missed.append(f"a certificate for more than {wanted.lifetime_days} days")
        if (
            observation["hsts"]["status"] != "not_applicable"
            and (observation["hsts"].get("max_age") or 0) < wanted.hsts_max_age
        ):
            missed.append(f"HSTS for less than {wanted.hsts_max_age} seconds")
        result[level] = missed
    return result


# The result


def _seconds(day: str) -> int:
    return calendar.timegm(time.strptime(day, "%Y-%m-%d"))


def _certificate(entry: SeenCertificate, observation: Observation) -> ResultCertificate:
    leaf, published = entry["chain"][0], entry["revocation"]
    path = x509.chain_of(entry["chain"])
    return {
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "serial": leaf.serial,
        "names": leaf.dns_names + leaf.addresses,
        "name_match": x509.matches(leaf, observation["server_name"]),
        "trusted": entry["trust"].trusted,
        "trust_error": entry["trust"].reason,
        "not_before": x509.date(leaf.not_before),
        "not_after": x509.date(leaf.not_after),
        "key": {"type": leaf.key.type, "bits": leaf.key.bits, "curve": leaf.key.curve},
        "signature": leaf.signature,
        "sha256": leaf.sha256,
        "key_sha256": leaf.key_sha256,
        "authority_key_id": leaf.authority_key_id,
        "ocsp_urls": leaf.ocsp_urls,
        "must_staple": leaf.must_staple,
        "ocsp_status": entry["ocsp"],
        "ocsp_error": entry["ocsp_reason"],
        "crl_urls": list(leaf.crl_urls),
        "revocation_status": published.status if published else None,
        "revocation_source": published.source if published else None,
        "revocation_error": published.reason if published else None,
        "chain": [
            {"subject": one.subject, "issuer": one.issuer, "not_after": x509.date(one.not_after), "sha256": one.sha256}
            for one in entry["chain"]
        ],
        "chain_ordered": path == entry["chain"],
    }


def _worst(grades: t.Iterable[str]) -> str:
    return max(grades, key=rules.GRADES.index)


def grade(observation: Observation, *, now: float | None = None, groups: t.Sequence[str] | None = None) -> Result:
    """Grade one observation; C(groups) are the names of groups that the server's OpenSSL has, where the caller knows.

    With C(error) set, there is no grade, and everything that needs one is empty.
    """
    now = time.time() if now is None else now
    result, subject = _without_grade(observation), _subject(observation)
    if (
        not observation["error"]
        and not observation["certificates"]
        and not _cipher_facts(observation)["tls.cipher.anonymous"]
    ):
        result["error"] = "the certificate could not be read"
    if result["error"]:
        result["findings"] = [finding("tls.endpoint.error", subject, result["error"])]
        return _bounded(result)

    known = facts(observation, now)
    _apply_rules(result, observation, known)
    _give_letter(result, observation, known["tls.certificate.untrusted"])
    for key, fact in notes(observation, now, groups).items():
        if isinstance(fact, Unknown):
            result["not_tested"].append({"id": key, "reason": str(fact)})
        elif fact:
            result["findings"].append(finding(key, subject, str(fact)))
    certificates = [_certificate(entry, observation) for entry in observation["certificates"]]
    if certificates:
        result["certificate"] = {**certificates[0], "others": certificates[1:]}
    return _bounded(result)


def _subject(observation: Observation) -> str:
    """What the findings are about."""
    subject = _phrases.host_port(observation["server_name"], observation["port"])
    if observation["address"] != observation["server_name"]:
        subject += " ({})".format(observation["address"])
    return subject


def _without_grade(observation: Observation) -> Result:
    """The result as long as nothing is judged."""
    clear_login = observation["clear_login"]
    return {
        "host": observation["host"],
        "address": observation["address"],
        "port": observation["port"],
        "server_name": observation["server_name"],
        "named": observation["named"],
        "starttls": observation["starttls"],
        "connections": observation["connections"],
        "duration_ms": observation["duration_ms"],
        "ruleset": rules.RULESET,
        "error": observation["error"],
        "grade": None,
        "grade_trust_ignored": None,
        "trust_unknown": None,
        "score": None,
        "scores": {},
        "protocols": [name for name in data.PROTOCOLS if observation["protocols"][name]],
        "ciphers": observation["ciphers"],
        "cipher_order": observation["cipher_order"],
        "ciphers_from": observation["ciphers_from"],
        "groups": observation["groups"],
        "post_quantum": any(data.GROUP_NAMED[name].family == "pq" for name in observation["groups"]),
        "certificate": {},
        "features": observation["features"],
        "hsts": observation["hsts"],
        "redirect": observation["redirect"],
        "clear_login": None if clear_login.ways is None else list(clear_login.ways),
        "caps": [],
        "warnings": [],
        "not_tested": [],
        "clients": observation["clients"],
        "unclear": [],
        "cut": [],
        "findings": [],
    }


def _apply_rules(result: Result, observation: Observation, known: t.Mapping[str, Fact]) -> None:
    """Write down which rules and attacks limit the grade, which may, and what is wrong that does not count."""
    subject = _subject(observation)
    uncounted = []
    for rule in rules.RULES:
        fact = known[rule.id]
        if rule.grade in rules.BESIDE and not observation["named"]:
            uncounted += [f"{rule.text} [{fact}]"] if fact and not isinstance(fact, Unknown) else []
        elif isinstance(fact, Unknown):
            result["not_tested"].append({"id": rule.id, "reason": str(fact)})
        elif fact:
            limits = result["warnings"] if rule.grade in ("A", "A-") else result["caps"]
            limits.append(
                {
                    "id": rule.id,
                    "grade": rule.grade,
                    "revision": rule.revision,
                    "rule": rule.text,
                    "evidence": str(fact),
                }
            )
            result["findings"].append(finding(rule.id, subject, str(fact)))
    untested = _attacks(observation)["not_tested"]
    result["not_tested"] += [
        {"id": "tls.attack." + attack.id, "reason": attack.name} for attack in rules.ATTACKS if attack.id in untested
    ]
    if not observation["named"]:
        result["findings"].append(
            finding("tls.endpoint.nameless", subject, " ".join(uncounted) or "only its address is known")
        )


def _give_letter(result: Result, observation: Observation, doubt: Fact) -> None:
    """Write down what the score and the rules that hold come to; C(doubt): whether a certificate is not trusted."""
    subject = _subject(observation)
    parts = scores(observation)
    score = total(parts)
    by_score = next(letter for limit, letter in rules.LETTERS if score >= limit)
    limits = [entry["grade"] for entry in result["caps"] + result["warnings"]]
    on_scale = [mark for mark in limits if mark in rules.GRADES]
    trust_ignored = _worst(["A+" if by_score == "A" else by_score, *on_scale])
    letter: str | None = next((mark for mark in rules.BESIDE if mark in limits), trust_ignored)
    if trust_ignored != rules.GRADES[-1]:
        lost = observation["lost"]
        result["unclear"] = [{"query": entry["query"], "result": entry["result"]} for entry in lost]
    if result["unclear"]:
        # What was lost may be worse than everything that was seen: there is no letter that is known to hold.
        reason = "no letter without a clear result for {query}: {result}".format(**result["unclear"][0])
        result["error"] = reason
        result["findings"].append(finding("tls.endpoint.error", subject, reason))
        return
    if isinstance(doubt, Unknown) and observation["named"] and letter != "T":
        # It could be a T.
        letter = None
        result["trust_unknown"] = str(doubt)
        result["findings"].append(finding("tls.certificate.trust_unknown", subject, doubt))
    result["scores"] = parts
    result["score"] = score
    result["grade_trust_ignored"] = trust_ignored
    result["grade"] = letter
    evidence = f"{letter or 'not known'}, trust ignored {trust_ignored}, score {score}"
    result["findings"].append(finding("tls.grade", subject, evidence))


# What one result may hold: a certificate may have thousands of names, and a name sixty thousand letters.
MAX_ITEMS, MAX_CERTIFICATES, MAX_TEXT = 100, 10, 1000


def _bounded(result: Result) -> Result:
    """The result without what is beyond these bounds; C(cut) describes that."""
    cut: list[str] = []

    def bound(value: t.Any, path: str, most: int) -> t.Any:
        if isinstance(value, str) and len(value) > MAX_TEXT:
            cut.append(f"{path}: the first {MAX_TEXT} of {len(value)} characters")
            return value[:MAX_TEXT]
        if isinstance(value, dict):
            fewer = {"chain": MAX_CERTIFICATES, "others": MAX_CERTIFICATES}
            where = path + "." if path else ""
            return {key: bound(one, where + key, fewer.get(key, MAX_ITEMS)) for key, one in value.items()}
        if isinstance(value, list):
            if len(value) > most:
                cut.append(f"{path}: the first {most} of {len(value)}")
            return [bound(one, f"{path}[{number}]", MAX_ITEMS) for number, one in enumerate(value[:most])]
        return value

    bounded: Result = bound(result, "", MAX_ITEMS)
    bounded["cut"] = cut[:MAX_ITEMS]
    return bounded

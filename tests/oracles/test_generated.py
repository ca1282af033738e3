# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The grader beside sslyze and testssl.sh on generated servers: nginx, Apache, s_server, and two old OpenSSL.

Differences follow from the rules of `generated.py` and of `compared.py`. C(DIFFERENTIAL_SEED) makes other servers,
C(DIFFERENTIAL_SERVERS) more of them; every fifth, or C(DIFFERENTIAL_LETTERS)th, is scanned with testssl.sh too, which
is slow. What has not begun after C(DIFFERENTIAL_MINUTES) is skipped.
"""

from __future__ import annotations

import os
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import http as _tls_http
from ansible_collections.kopano.hardening.plugins.module_utils._tls import trust as _trust
from tests.unit import test_tls_bed as expected
from tests.unit.test_tls_bed import pki, trust  # noqa: F401 - fixtures

from . import generated, scanners
from .test_tls import agrees_with_testssl, suites

SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))
SERVERS = generated.servers(SEED, int(os.environ.get("DIFFERENTIAL_SERVERS", "240")))
BATCH = 10
ENOUGH = 240  # with the first seed every rule comes up then
LETTER_STEP = int(os.environ.get("DIFFERENTIAL_LETTERS", "5"))
AT_ONCE = 4
END = time.monotonic() + 60 * float(os.environ.get("DIFFERENTIAL_MINUTES", "20"))
# s_server takes one connection after the other. With many at a time, or beside a renegotiation, some wait too long.
SLOWLY = "--slow_connection"
COMMANDS = (*scanners.SSLYZE_BASIC, "--elliptic_curves", "--http_headers", "--compression", "--ems", SLOWLY)
RENEGOTIATION = ("--reneg", SLOWLY)
PATIENCE = 60  # seconds for an endpoint, as the machine is busy with the scans
# Without one of them, the grader cannot compute what TLS 1.3 encrypts the certificates with.
CERTIFICATES = "certificates TLSv1.3"
SPOKEN = {"x25519", "secp256r1", "secp384r1", "secp521r1"}


def ours(server, observation):
    """The grader's facts."""
    result = _grade.grade(observation)
    if result["error"]:
        assert not result["error"].startswith("cannot connect"), (server, result["error"])
        return generated.UNREACHABLE
    assert [entry["query"] for entry in observation["unclear"]] == unclear(server, result)
    held = {entry["id"] for entry in result["caps"] + result["warnings"]}
    by_rule = {
        "tls.certificate.untrusted": scanners.UNTRUSTED,
        "tls.certificate.sha1": scanners.UNTRUSTED,
        "tls.certificate.name_mismatch": scanners.OTHER_NAME,
    }
    return generated.Facts(
        max(result["ciphers"], key=scanners.PROTOCOLS_BY_AGE.index),
        suites(result),
        frozenset(name for name in result["groups"] if data.GROUP_NAMED[name].family == "ec"),
        next((value for rule, value in by_rule.items() if rule in held), scanners.TRUSTED),
        observation["hsts"].get("max_age"),
        {name: observation["features"][name] for name in generated.FEATURES},
    )


def unclear(server, result):
    """What the grader has to leave open, and reports as not checked."""
    left = []
    if server.kind == generated.OLDEST and server.protocols == ("",) and "SSLv2" not in result["ciphers"]:
        left.append("SSLv2")  # It greets in it, whatever its suites.
    if "TLSv1.3" in result["ciphers"] and not set(result["groups"]) & SPOKEN:
        left.append(CERTIFICATES)
    return left


def by_sslyze(scan, renegotiation):
    """sslyze's facts, from its two scans."""
    if scan["connectivity_status"] != "COMPLETED":
        return generated.UNREACHABLE
    scan["scan_result"]["session_renegotiation"] = renegotiation["scan_result"]["session_renegotiation"]
    header = scan["scan_result"]["http_headers"]["result"]
    header = header and header["strict_transport_security_header"]
    return generated.Facts(
        scanners.newest_by_sslyze(scan),
        scanners.suites_by_sslyze(scan),
        scanners.groups_by_sslyze(scan),
        scanners.trust_by_sslyze(scan),
        header and header["max_age"],
        scanners.features_by_sslyze(scan),
    )


def as_scanned(server, facts, rules):
    for rule in rules:
        facts = rule.rewrite(server, facts)
    return facts


def test_sslyze(pki, trust, tmp_path):  # noqa: F811
    def scan(ports):
        scans, renegotiations = (
            scanners.sslyze_of(ports, pki.path("root.pem"), tmp_path, commands, limit=scanners.RATED_LIMIT)
            for commands in (COMMANDS, RENEGOTIATION)
        )
        return [by_sslyze(scans[port], renegotiations[port]) for port in ports]

    compared, differing, used = 0, [], set()
    for start in range(0, len(SERVERS), BATCH):
        if time.monotonic() > END:
            break
        batch = SERVERS[start : start + BATCH]
        with generated.serving(pki, batch) as ports:
            scanned = scan(ports)
            seen = [
                ours(server, expected.look(port, trust, timeout=PATIENCE))
                for server, port in zip(batch, ports, strict=True)
            ]
        for server, found, theirs in zip(batch, seen, scanned, strict=True):
            compared += 1
            if as_scanned(server, found, generated.SSLYZE_RULES) != theirs:
                # It has fixed limits of time, and reports as unknown what a busy machine answers too late.
                with generated.serving(pki, [server]) as ports:
                    (theirs,) = scan(ports)
            if as_scanned(server, found, generated.SSLYZE_RULES) != theirs:
                differing.append((server, found, theirs))
            for rule in generated.SSLYZE_RULES:
                others = [one for one in generated.SSLYZE_RULES if one is not rule]
                if as_scanned(server, found, others) != theirs:
                    used.add(rule)
    assert differing == []
    if compared < len(SERVERS):
        pytest.skip(f"{compared} of {len(SERVERS)} servers compared in DIFFERENTIAL_MINUTES")
    if SEED == 1 and compared >= ENOUGH:
        assert [rule.why for rule in generated.SSLYZE_RULES if rule not in used] == []


def test_testssl(pki, trust, tmp_path):  # noqa: F811
    def scan(server):
        if time.monotonic() > END:
            return None
        folder = tmp_path / str(server.number)
        folder.mkdir()
        with generated.serving(pki, [server]) as (port,):
            observation = expected.look(port, trust, timeout=PATIENCE)
            theirs = scanners.testssl(port, pki.path("root.pem"), folder, scanners.RATED, scanners.RATED_LIMIT)
        return observation, theirs

    compared, differing, some = 0, [], SERVERS[::LETTER_STEP]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # It sleeps for most of its time.
        for server, found in zip(some, pool.map(scan, some), strict=True):
            if found:
                compared += 1
                try:
                    compare_with_testssl(server, *found, pki, trust)
                except AssertionError as difference:
                    differing.append(str(difference))
    assert differing == []
    if compared < len(some):
        pytest.skip(f"{compared} of {len(some)} servers compared in DIFFERENTIAL_MINUTES")


def compare_with_testssl(server, observation, theirs, pki, trust):  # noqa: F811
    result = _grade.grade(observation)
    if result["protocols"]:
        left = [entry["query"] for entry in observation["unclear"]]
        assert left == unclear(server, result)
        if observation["hsts"]["status"] == "error":  # what C(HSTS_LEFT_OPEN) is about
            observation = dict(observation, hsts=_tls_http.read_hsts(server.hsts))
        if CERTIFICATES in left:  # what C(CERTIFICATES_LEFT_OPEN) is about
            observation = dict(
                observation, certificates=[certificate(server, leaf, pki, trust) for leaf in server.leaves]
            )
        agrees_with_testssl(server, observation, theirs)
    else:
        assert scanners.protocols_by_testssl(theirs) in ("", scanners.NO_SCAN), server


def certificate(server, leaf, pki, trust):  # noqa: F811
    """As if the server had shown it to the grader."""
    with open(pki.path(f"{leaf}.{server.chain}")) as stream:
        parts = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", stream.read(), re.DOTALL)
    chain = [_trust.read(ssl.PEM_cert_to_DER_cert(part)) for part in parts]
    judgement = trust.judge(chain, "127.0.0.1", PATIENCE)
    return {
        "chain": chain,
        "whole": True,
        "trust": judgement,
        **dict.fromkeys(("ocsp", "ocsp_reason", "revocation")),
    }

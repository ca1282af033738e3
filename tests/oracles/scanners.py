# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""testssl.sh and sslyze as programs: what they report of a server, in the terms of the grader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t

import pytest

from tests.unit import tls_bed as bed

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TESTSSL, SSLYZE = "testssl.sh", "sslyze"

SSLYZE_PROTOCOLS = {
    "SSLv2": "ssl_2_0",
    "SSLv3": "ssl_3_0",
    "TLSv1.0": "tls_1_0",
    "TLSv1.1": "tls_1_1",
    "TLSv1.2": "tls_1_2",
    "TLSv1.3": "tls_1_3",
}
SSLYZE_GROUPS = {"prime192v1": "secp192r1", "prime256v1": "secp256r1", "X25519": "x25519", "X448": "x448"}
SSLYZE_FEATURES = {
    "compression": ("tls_compression", "supports_compression"),
    "extended_master_secret": ("tls_extended_master_secret", "supports_ems_extension"),
    "client_renegotiation": ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos"),
    "secure_renegotiation": ("session_renegotiation", "supports_secure_renegotiation"),
}
TESTSSL_PROTOCOLS = {
    "SSLv2": "SSLv2",
    "SSLv3": "SSLv3",
    "TLSv1.0": "TLS1",
    "TLSv1.1": "TLS1_1",
    "TLSv1.2": "TLS1_2",
    "TLSv1.3": "TLS1_3",
}
PROTOCOLS_BY_AGE = tuple(TESTSSL_PROTOCOLS)
# What testssl.sh reports of a server that greets in SSL 2.0 and has no suite for it, and it gives an F for that. SSL
# Labs keeps such a server apart (v2SuitesDisabled); for us it is unclear whether it offers SSL 2.0, and no A+.
GREETING = "offered, no cipher"

TRUSTED, UNTRUSTED, OTHER_NAME, UNKNOWN = "trusted", "untrusted", "other name", "unknown"
NO_SCAN = "no scan"

# All that its rating needs, and the suites of each protocol. Left out is what changes no letter, such as clients.
RATED = (
    *("-p", "-s", "-f", "-S", "-h", "-E", "-H", "-I", "-T", "--BB", "-R", "-C", "-O", "-Z", "-W", "-D", "-A", "-4"),
    *("-J",),
)
PROTOCOLS, CERTIFICATES = ("-p",), ("-S",)
SSLYZE_BASIC = ("--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--certinfo")
# Seconds for one scan.
RATED_LIMIT, LIMIT = 900, 300


def testssl(port: int, ca_file: str, folder: str, checks: t.Sequence[str], limit: float = LIMIT) -> dict[str, str]:
    """Its findings by their ids; none where it gives up."""
    answer = os.path.join(str(folder), f"testssl.{port}.json")
    options = ("--quiet", "--color", "0", "--warnings", "off", "--nodns=none", "--ip", "127.0.0.1")
    output = ("--add-ca", ca_file, "--jsonfile", answer)
    bounded([bed.program("testssl", "testssl.sh"), *options, *output, *checks, f"good.test:{port}"], limit)
    with open(answer) as stream:
        return {entry["id"]: entry["finding"] for entry in json.load(stream)}


def sslyze(port: int, ca_file: str, folder: str) -> dict[str, t.Any]:
    """Its result for the server."""
    return sslyze_of([port], ca_file, folder)[port]


def sslyze_of(
    ports: t.Sequence[int], ca_file: str, folder: str, commands: t.Sequence[str] = SSLYZE_BASIC, limit: float = LIMIT
) -> dict[int, dict[str, t.Any]]:
    """Its results for several servers by their ports."""
    program = os.path.join(CHECKOUT, ".venv-oracles", "bin", "sslyze")
    if not os.path.exists(program):
        program = shutil.which("sslyze") or pytest.skip("sslyze is not installed here: make oracles")
    answer = os.path.join(str(folder), f"sslyze.{ports[0]}.json")
    where = [f"good.test:{port}{{127.0.0.1}}" for port in ports]
    options = ["--certinfo_ca_file", ca_file, "--mozilla_config", "disable", "--json_out", answer]
    bounded([program, *commands, *options, *where], limit)
    with open(answer) as stream:
        return {scan["server_location"]["port"]: scan for scan in json.load(stream)["server_scan_results"]}


def bounded(command: t.Sequence[str], limit: float) -> None:
    """Run a scanner, and end it with all that it has started when it takes too long."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            raise


def protocols_by_testssl(found: t.Mapping[str, str]) -> str:
    if "TLS1_2" not in found:
        return NO_SCAN
    offered = [
        one
        for one, key in TESTSSL_PROTOCOLS.items()
        if found[key].startswith(("offered", "vulnerable")) and found[key] != GREETING
    ]
    return " ".join(offered)


def trust_by_testssl(found: t.Mapping[str, str]) -> str:
    """With several certificates each has entries of its own; the worst counts."""

    def entries(key: str) -> list[str]:
        return [text for name, text in found.items() if name.split(" ")[0] == key]

    if not entries("cert_chain_of_trust"):
        return UNKNOWN
    chains = [text.startswith("passed") for text in entries("cert_chain_of_trust")]
    expired = [text.startswith("expired") for text in entries("cert_expirationStatus")]
    if not all(chains) or any(expired) or "revoked" in entries("cert_ocspRevoked"):
        return UNTRUSTED
    return TRUSTED if all(text.startswith("Ok") for text in entries("cert_trust")) else OTHER_NAME


def protocols_by_sslyze(scan: t.Mapping[str, t.Any]) -> str:
    """With a question mark behind those of which it could not find out."""
    if scan["connectivity_status"] != "COMPLETED":
        return NO_SCAN
    offered = []
    for protocol, key in SSLYZE_PROTOCOLS.items():
        attempt = scan["scan_result"][key + "_cipher_suites"]
        if attempt["status"] != "COMPLETED":
            offered.append(protocol + "?")
        elif attempt["result"]["accepted_cipher_suites"]:
            offered.append(protocol)
    return " ".join(offered)


def newest_by_sslyze(scan: t.Mapping[str, t.Any]) -> str:
    """The protocol of its first connection."""
    key = scan["connectivity_result"]["highest_tls_version_supported"].lower()
    return next(protocol for protocol, name in SSLYZE_PROTOCOLS.items() if name == key)


def suites_by_sslyze(scan: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The accepted suites of each protocol that it offers; it has to have found out about all of them."""
    suites = {}
    for protocol, key in SSLYZE_PROTOCOLS.items():
        attempt = scan["scan_result"][key + "_cipher_suites"]
        assert attempt["status"] == "COMPLETED", (protocol, attempt["error_trace"])
        accepted = [one["cipher_suite"]["name"] for one in attempt["result"]["accepted_cipher_suites"]]
        if accepted:
            suites[protocol] = sorted(accepted)
    return suites


def groups_by_sslyze(scan: t.Mapping[str, t.Any]) -> frozenset[str]:
    attempt = scan["scan_result"]["elliptic_curves"]
    assert attempt["status"] == "COMPLETED", attempt["error_trace"]
    names = [curve["name"] for curve in attempt["result"]["supported_curves"] or ()]
    return frozenset(SSLYZE_GROUPS.get(name, name) for name in names)


def features_by_sslyze(scan: t.Mapping[str, t.Any]) -> dict[str, bool | None]:
    """By the grader's names; None is what it could not find out."""
    attempts = {name: (scan["scan_result"][command], key) for name, (command, key) in SSLYZE_FEATURES.items()}
    return {name: attempt["result"] and attempt["result"][key] for name, (attempt, key) in attempts.items()}


def trust_by_sslyze(scan: t.Mapping[str, t.Any]) -> str:
    if scan["connectivity_status"] != "COMPLETED":
        return NO_SCAN
    attempt = scan["scan_result"]["certificate_info"]
    if attempt["status"] != "COMPLETED":
        return UNKNOWN
    deployments = attempt["result"]["certificate_deployments"]
    stapled = [one["ocsp_response"] or {} for one in deployments if one["ocsp_response_is_trusted"]]
    if any(response.get("certificate_status") == "REVOKED" for response in stapled):
        return UNTRUSTED
    errors = [
        result["validation_error"] or ""
        for deployment in deployments
        for result in deployment["path_validation_results"]
        if result["trust_store"]["name"] == "Supplied CA file" and not result["was_validation_successful"]
    ]
    if not errors:
        return TRUSTED
    return OTHER_NAME if all("no matching subjectAltName" in error for error in errors) else UNTRUSTED

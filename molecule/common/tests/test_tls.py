# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts agree to in a handshake, at every address, with each name, with none and with an unknown one."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from frontends import TIMEOUT
from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.errors import TLSRemoteAlert

OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
SUITES12 = ["ECDHE-{}-AES128-GCM-SHA256", "ECDHE-{}-AES256-GCM-SHA384", "ECDHE-{}-CHACHA20-POLY1305"]
SUITES13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
GROUPS = {"x25519", "secp256r1", "secp384r1"}
POST_QUANTUM = "X25519MLKEM768"


@pytest.fixture(scope="module")
def grades(hardened, tmp_path_factory):
    """Each endpoint, and how the collection's own prober grades it, whose hellos no library has a say in."""
    wanted = [
        {"host": point.server_name or point.address, "addresses": [point.address]} for point in hardened.endpoints
    ]
    folder = tmp_path_factory.mktemp("grades")
    words = ["ansible", "localhost", "--tree", folder, "--module-name", "kopano.hardening.tls_grade_info"]
    words += ["--args", json.dumps({"endpoints": wanted, "timeout": 60})]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    results = json.loads((folder / "localhost").read_text())["results"]
    return list(zip(hardened.endpoints, results, strict=True))


def suites(frontend, endpoint):
    """The TLS 1.2 suites that are fine for the endpoint's key, by OpenSSL's names, in the guideline's order."""
    key = frontend.handshake(endpoint.server_name, address=endpoint.address).certificate.public_key()
    return [name.format("RSA" if isinstance(key, rsa.RSAPublicKey) else "ECDSA") for name in SUITES12]


def test_the_current_protocols_are_spoken(hardened, frontend):
    for endpoint in hardened.endpoints:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            agreed = frontend.handshake(endpoint.server_name, protocol=version, address=endpoint.address)
            assert agreed.protocol == name, endpoint


@pytest.mark.parametrize("version", OLD, ids=["1.0", "1.1"])
def test_the_old_protocols_are_refused(hardened, frontend, version):
    for endpoint in hardened.endpoints:
        assert frontend.refuses(endpoint.server_name, protocol=version, address=endpoint.address), endpoint


def test_the_old_protocols_are_refused_to_another_library_too(hardened):
    settings = HandshakeSettings()
    settings.minVersion, settings.maxVersion = (3, 0), (3, 2)
    for endpoint in hardened.endpoints:
        with (
            socket.create_connection((endpoint.address, 443), TIMEOUT) as connection,
            pytest.raises(TLSRemoteAlert, match="protocol_version"),
        ):
            TLSConnection(connection).handshakeClientCert(settings=settings, serverName=endpoint.server_name)


def test_tls_1_2_has_just_the_good_suites(hardened, frontend):
    for endpoint in hardened.endpoints:
        accepted = []
        while len(accepted) < 10:
            offer = ":".join(["ALL", *(f"!{name}" for name in accepted)])
            try:
                agreed = frontend.handshake(
                    endpoint.server_name, protocol=ssl.TLSVersion.TLSv1_2, ciphers=offer, address=endpoint.address
                )
            except ssl.SSLError:
                break
            accepted.append(agreed.cipher)
        # The order in which they were chosen is the server's own.
        assert accepted == suites(frontend, endpoint), endpoint


def test_the_order_of_the_suites_is_the_servers(hardened, frontend):
    for endpoint in hardened.endpoints:
        names = suites(frontend, endpoint)
        for offer in (names, names[::-1]):
            agreed = frontend.handshake(
                endpoint.server_name,
                protocol=ssl.TLSVersion.TLSv1_2,
                ciphers=":".join(offer),
                address=endpoint.address,
            )
            assert agreed.cipher == names[0], endpoint


def test_nothing_but_the_policy_is_accepted_from_raw_hellos(grades):
    for endpoint, grade in grades:
        assert grade["error"] is None, endpoint
        assert grade["protocols"] == ["TLSv1.2", "TLSv1.3"], endpoint
        assert set(grade["ciphers"]["TLSv1.3"]) == SUITES13, endpoint
        assert len(grade["ciphers"]["TLSv1.2"]) == len(SUITES12), endpoint
        assert grade["cipher_order"] == {"TLSv1.2": "server", "TLSv1.3": "server"}, endpoint
        assert grade["features"]["compression"] is False, endpoint
        assert grade["features"]["client_renegotiation"] is False, endpoint


def test_the_grade_would_be_the_best_with_a_trusted_certificate(grades):
    assert {str(endpoint): grade["grade_trust_ignored"] for endpoint, grade in grades} == {
        str(endpoint): "A+" for endpoint, _grade in grades
    }


def test_the_key_exchange_is_post_quantum_where_the_release_knows_it(grades, frontend):
    expected = GROUPS | ({POST_QUANTUM} if frontend.post_quantum else set())
    for endpoint, grade in grades:
        assert set(grade["groups"]) == expected, endpoint


def test_openssl_gets_the_post_quantum_key_exchange_too(hardened, frontend):
    if not frontend.post_quantum:
        pytest.skip("its OpenSSL does not know it")
    for endpoint in hardened.endpoints:
        words = ["openssl", "s_client", "-connect", f"[{endpoint.address}]:443"]
        words += ["-servername", endpoint.server_name] if endpoint.server_name else ["-noservername"]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
        assert f"Negotiated TLS1.3 group: {POST_QUANTUM}" in done.stdout, endpoint

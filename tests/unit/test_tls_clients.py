# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Simulated clients: their hellos and data, what they get of real and of hostile servers, and by data alone."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clients as _clients
from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

from . import tls_bed as bed
from . import tls_peers as peers
from .slow_bed import SLACK

pytestmark = pytest.mark.slow

ALL = _client_data.clients()
TOOL = Path(__file__).parents[2] / "tools" / "client_data.py"
TESTSSL = Path("/etc/testssl/client-simulation.txt")
SUITES13 = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]
ECDHE12 = [
    f"TLS_ECDHE_{kind}_WITH_{cipher}"
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
    for kind in ("ECDSA", "RSA")
]
GROUPS = ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"]


@pytest.fixture(scope="module")
def tool():
    pytest.importorskip("yaml", reason="PyYAML is not installed here")
    spec = importlib.util.spec_from_file_location("client_data_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    pki = bed.Pki(tmp_path_factory.mktemp("clients"))
    pki.leaf("rsa")
    pki.leaf("ec", key="ec")
    pki.leaf("ed", key="ed25519")
    pki.leaf("other", names=("other.test",))
    return pki


def peer_of(port, timeout=10, name="good.test"):
    return _handshake.Peer({"host": name, "address": "127.0.0.1", "port": port}, timeout)


def simulated(port, *ids, timeout=10, name="good.test", shown=()):
    """The results by id; all clients without ids."""
    chosen = _clients.find(ids) if ids else list(ALL.values())
    results = _clients.simulate(peer_of(port, timeout, name), chosen, shown)
    assert [result["id"] for result in results] == [client.id for client in chosen]
    return {result["id"]: result for result in results}


# The data


def test_data_are_whole():
    assert 55 <= len(ALL) <= 90
    for ident, client in ALL.items():
        assert re.fullmatch(r"[a-z0-9.-]+", ident) and ident == client.id
        words = " ".join((client.name, client.version, client.platform)).lower().split()
        assert set(ident.split("-")) <= set("-".join(words).replace("node.js", "node").split("-")), ident
        assert data.PROTOCOLS.index(client.oldest) <= data.PROTOCOLS.index(client.newest)
        assert client.source and re.fullmatch(r"20\d\d-\d\d-\d\d", client.date)
        assert len(set(client.suites)) == len(client.suites) > 0
        assert bool(client.shares) == (client.newest == "TLSv1.3") and set(client.shares) <= set(client.groups)
        # What TLS 1.2 and 1.3 cannot do without, and what no client may send at random.
        assert bool(client.signatures) == (client.newest in ("TLSv1.2", "TLSv1.3"))
        assert not any(code & 0x0F0F == 0x0A0A for code in client.suites + client.groups + client.signatures)
        assert any(code in data.SUITES for code in client.suites)
        assert all(code in data.GROUPS for code in client.groups if code != 0x11EE)  # curveSM2MLKEM768, a draft


def test_data_are_of_every_generation():
    newest = {client.name: set() for client in ALL.values()}
    for client in ALL.values():
        newest[client.name].add(client.newest)
    for name in ("Android", "Java", "OpenSSL"):
        assert newest[name] == {"TLSv1.0", "TLSv1.2", "TLSv1.3"}, name
    assert newest["Outlook"] == {"TLSv1.0", "TLSv1.2"}
    assert {"Android", "Safari", "IE", "Edge", "Firefox", "Chrome", "Thunderbird", "GnuTLS", "curl"} <= set(newest)


@pytest.mark.skipif(not TESTSSL.exists(), reason="testssl.sh is not installed here")
def test_data_are_those_of_testssl(tool):
    known = tool.of_testssl(TESTSSL.read_text())
    compared = 0
    for client in ALL.values():
        match = re.fullmatch(r"testssl\.sh 3\.2\.1: (.*?)(, of Schannel.*)?", client.source)
        if not match or match.group(1) not in known:
            continue  # another version of testssl.sh
        offer = tool.from_hello(bytes.fromhex(known[match.group(1)]["handshakebytes"]))
        assert tuple(offer["suites"]) == client.suites, client.id
        assert tuple(offer.get("groups", ())) == client.groups, client.id
        assert tuple(offer.get("signatures", ())) == client.signatures, client.id
        assert tuple(offer.get("shares", ())) == client.shares, client.id
        assert offer.get("sni", False) == client.sni, client.id
        compared += 1
    assert compared > 40


@pytest.mark.parametrize("ident", ALL)
def test_a_hello_is_what_the_data_are(tool, ident):
    client = ALL[ident]
    offer = tool.from_hello(_clients.hello(client, "good.test"))
    assert tuple(offer["suites"]) == client.suites
    assert offer["newest"] == min(data.WIRE_VERSION[client.newest], 0x0303)
    assert tuple(offer.get("groups", ())) == client.groups
    assert tuple(offer.get("signatures", ())) == client.signatures
    assert tuple(offer.get("shares", ())) == client.shares
    assert tuple(offer.get("alpn", ())) == client.alpn
    assert tuple(offer["others"]) == client.others
    assert (offer.get("sni", False), offer.get("ssl2", False)) == (client.sni, client.ssl2)
    if client.newest == "TLSv1.3":
        assert [data.PROTOCOL_OF[code] for code in offer["versions"]][:: len(offer["versions"]) - 1] == [
            client.newest,
            client.oldest,
        ]
    assert "sni" not in tool.from_hello(_clients.hello(client, None))
    assert "alpn" not in tool.from_hello(_clients.hello(client, "good.test", alpn=False))


def test_shares_are_keys_of_their_groups():
    for client in ALL.values():
        for group in client.shares:
            assert _clients.crypto.placeholder(group), (client.id, data.GROUPS[group].name)


def test_unknown_ids():
    assert [client.id for client in _clients.find(["java-7u25", "android-4.4.2"])] == ["java-7u25", "android-4.4.2"]
    with pytest.raises(ValueError, match=r"'android-4\.4' is no client that is known here, near are android-4\.4\.2, "):
        _clients.find(["java-7u25", "android-4.4"])
    with pytest.raises(ValueError) as raised:
        _clients.find(["zzzzzz", "opensssl-3.5.9"])
    first, second = str(raised.value).split("; ")
    assert first == "'zzzzzz' is no client that is known here" and "openssl-3.5.9" in second


# Servers that are none, and such that refuse


@pytest.mark.parametrize("kind", [kind for kind in peers.HOSTILE if kind != "a fatal alert"])
def test_what_is_no_response_is_not_known(kind):
    with peers.serving(peers.HOSTILE[kind]) as port:
        started = time.monotonic()
        results = simulated(port, "android-4.4.2", "java-6u45", "openssl-3.5.9", timeout=1.5)
        assert time.monotonic() - started < 1.5 + SLACK
    for result in results.values():
        assert result["ok"] is None and result["reason"], (kind, result)
        assert result["certificate"] is None


def test_no_server_is_not_known():
    (port,) = bed.free_ports()
    results = simulated(port, timeout=2)
    assert {result["ok"] for result in results.values()} == {None}
    assert all("cannot connect" in result["reason"] for result in results.values())


@pytest.mark.parametrize("seed", range(4))
def test_damaged_responses_are_survived(pki, seed):
    """Any response leads to a result for each client, and no client connects with what it does not accept."""
    (port,) = bed.free_ports()
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["rsa"])], port), peers.flipping(port, seed) as proxy:
        results = simulated(proxy, timeout=3)
    assert {type(result["ok"]) for result in results.values()} <= {bool, type(None)}
    for ident, result in results.items():
        if result["ok"]:
            code = next(suite.code for suite in data.SUITES.values() if suite.name == result["suite"])
            assert code in ALL[ident].suites
        else:
            assert result["reason"]


def test_a_refusal_is_one():
    with peers.serving(peers.HOSTILE["a fatal alert"]) as port:
        results = simulated(port)
    assert {(result["ok"], result["reason"]) for result in results.values()} == {(False, "alert handshake_failure")}


def test_what_is_lost_once_is_queried_again(pki):
    (port,) = bed.free_ports()
    seen = []

    def verdict(offer):
        seen.append(offer)
        return peers.closing if len(seen) == 2 else None

    with bed.nginx(pki.folder, [bed.nginx_site(port, ["rsa"])], port), peers.gated(port, verdict) as proxy:
        results = simulated(proxy, "firefox-71-win-10", "android-4.4.2", "curl-8.14.1-debian-13")
    assert [result["ok"] for result in results.values()] == [True] * 3
    assert len(seen) > 3


def test_a_server_that_faults_on_a_hello_refuses_it(pki):
    """Time and again, while it takes others."""
    (port,) = bed.free_ports()

    def verdict(offer):
        return peers.alert(80) if offer.version < 0x0303 else None

    with bed.nginx(pki.folder, [bed.nginx_site(port, ["rsa"])], port), peers.gated(port, verdict) as proxy:
        results = simulated(proxy, "android-4.4.2", "android-4.0.4")
    assert results["android-4.4.2"]["ok"] is True
    assert (results["android-4.0.4"]["ok"], results["android-4.0.4"]["reason"]) == (False, "alert internal_error")


def test_a_server_that_closes_on_what_it_refuses(pki):
    """It does so each time, also on suites that there are not, and takes others in between."""
    (port,) = bed.free_ports()

    def verdict(offer):
        return peers.closing if offer.version < 0x0303 else None

    with bed.nginx(pki.folder, [bed.nginx_site(port, ["rsa"])], port), peers.gated(port, verdict) as proxy:
        results = simulated(proxy, "android-4.4.2", "android-4.0.4")
    assert results["android-4.4.2"]["ok"] is True
    assert (results["android-4.0.4"]["ok"], results["android-4.0.4"]["reason"]) == (False, "connection closed")


# What the server chooses and the client does not take


def test_a_certificate_of_another_name(pki):
    """A client that sends no name gets the first virtual host's."""
    (port,) = bed.free_ports()
    site = {"protocols": "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", "ciphers": "ALL:@SECLEVEL=0"}
    first = bed.nginx_site(port, ["other"], names="other.test", **site)
    with bed.nginx(pki.folder, [first, bed.nginx_site(port, ["rsa"], **site)], port):
        results = simulated(port)
        assert simulated(port, "android-2.3.7", name="other.test")["android-2.3.7"]["ok"] is True
    without = {ident: result for ident, result in results.items() if not ALL[ident].sni and result["protocol"]}
    assert set(without) >= {"android-2.3.7", "java-6u45"}
    for result in without.values():
        assert result["ok"] is False and "another one" in result["reason"]
    assert all(result["ok"] for ident, result in results.items() if ALL[ident].sni)


def test_diffie_hellman_parameters(pki):
    (port,) = bed.free_ports()
    pki.run("dhparam", "-dsaparam", "-out", "dh2048.pem", "2048")
    arguments = [*bed.shown("rsa"), "-dhparam", "dh2048.pem", "-cipher", "DHE-RSA-AES128-SHA:@SECLEVEL=0"]
    with bed.s_server(pki.folder, port, *arguments, "-tls1"):
        results = simulated(port, "java-7u25", "android-4.2.2")
    refused, taken = results["java-7u25"], results["android-4.2.2"]
    assert (refused["protocol"], refused["suite"]) == ("TLSv1.0", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA")
    assert refused["ok"] is False and refused["reason"].startswith("Diffie-Hellman parameters of 2048 bits")
    assert (taken["ok"], taken["certificate"], taken["group"]) == (True, "rsa", None)


KEYS = [
    ("safari-6-ios-6.0.1", "TLSv1.2", x509.Key("RSA", 4096), True),
    ("safari-6-ios-6.0.1", "TLSv1.2", x509.Key("RSA", 8192), False),
    ("apple-ats-9-ios-9", "TLSv1.2", x509.Key("RSA", 1024), False),
    ("ie-11-win-7", "TLSv1.2", x509.Key("EC", 256, "secp256r1"), True),
    ("ie-11-win-7", "TLSv1.2", x509.Key("EC", 521, "secp521r1"), False),
    ("ie-11-win-7", "TLSv1.2", x509.Key("Ed25519", 256), False),
    ("android-4.2.2", "TLSv1.0", x509.Key("Ed25519", 256), False),
    ("android-4.4.2", "TLSv1.2", x509.Key("RSA", 2048, scheme="RSA-PSS"), False),
    ("openssl-3.5.9", "TLSv1.3", x509.Key("RSA", 2048, scheme="RSA-PSS"), True),
    ("openssl-3.5.9", "TLSv1.3", x509.Key("Ed25519", 256), True),
    ("chromium-156-debian-13", "TLSv1.3", x509.Key("Ed25519", 256), False),
    ("chromium-156-debian-13", "TLSv1.3", x509.Key("EC", 384, "secp384r1"), True),
    ("chromium-156-debian-13", "TLSv1.3", x509.Key("EC", 521, "secp521r1"), False),
    ("chromium-156-debian-13", "TLSv1.3", x509.Key("1.2.3.4", 0), False),
]


@pytest.mark.parametrize(("ident", "protocol", "key", "taken"), KEYS)
def test_keys(ident, protocol, key, taken):
    reason = _clients._against_key(ALL[ident], protocol, key)
    assert (reason is None) is taken, reason


def test_a_signature_that_is_not_offered(pki):
    (port,) = bed.free_ports()
    pki.leaf("sha1", digest="sha1")
    arguments = [*bed.shown("sha1"), "-cipher", "ALL:@SECLEVEL=0", "-tls1_2"]
    with bed.s_server(pki.folder, port, *arguments):
        results = simulated(port, "ie-11-win-10", "edge-133-win-11")
    assert results["ie-11-win-10"]["ok"] is True
    assert results["edge-133-win-11"]["ok"] is False
    assert "signed with ecdsa-with-SHA1" in results["edge-133-win-11"]["reason"]


def test_an_older_protocol_than_the_client_takes():
    """A server that does not heed which protocols a client has."""
    hello = b"\x02\x00\x00\x26\x03\x01" + bytes(32) + b"\x00\x00\x2f\x00"
    answer = b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello + b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00"

    def handle(sock, _over):
        peers.read_offer(sock)
        sock.sendall(answer)

    with peers.serving(handle) as port:
        results = simulated(port, "openssl-3.5.9", "android-4.4.2")
    assert (results["openssl-3.5.9"]["ok"], results["openssl-3.5.9"]["protocol"]) == (False, "TLSv1.0")
    # It may be spoken to in TLS 1.0, but not without a certificate.
    assert (results["android-4.4.2"]["ok"], results["android-4.4.2"]["protocol"]) == (None, "TLSv1.0")


def test_a_server_without_parameters(pki):
    """It chooses a suite whose parameters it does not send, with a certificate that is fine."""
    der = _der(pki, "rsa")
    chain = (len(der) + 3).to_bytes(3, "big") + len(der).to_bytes(3, "big") + der
    hello = b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00{}\x00"
    rest = b"\x0b" + len(chain).to_bytes(3, "big") + chain + b"\x0e\x00\x00\x00"
    for code, ok in ((b"\xc0\x2f", None), (b"\x00\x9e", None), (b"\x00\x9c", True)):
        body = hello.replace(b"{}", code) + rest

        def handle(sock, _over, body=body):
            peers.read_offer(sock)
            sock.sendall(b"\x16\x03\x03" + len(body).to_bytes(2, "big") + body)

        with peers.serving(handle) as port:
            result = simulated(port, "android-4.4.2")["android-4.4.2"]
        assert result["ok"] is ok and (ok or result["reason"] == "no parameters of the key exchange"), result


def test_tls13_shows_the_kind_of_key_only_where_there_is_one(pki):
    one, both = bed.free_ports(2)
    sites = [
        bed.nginx_site(one, ["ec"], protocols="TLSv1.3"),
        bed.nginx_site(both, ["rsa", "ec"]),
    ]
    with bed.nginx(pki.folder, sites, one):
        alone = simulated(one, "openssl-3.5.9")["openssl-3.5.9"]
        (leaf,) = (_prober.read_certificate(_der(pki, name)) for name in ("ec",))
        known = simulated(one, "openssl-3.5.9", shown=[leaf])["openssl-3.5.9"]
        mixed = simulated(both)
    assert (alone["ok"], alone["protocol"]) == (None, "TLSv1.3") and "hides" in alone["reason"]
    assert (known["ok"], known["certificate"], known["reason"]) == (True, "ecdsa", None)
    assert (mixed["openssl-3.5.9"]["ok"], mixed["openssl-3.5.9"]["certificate"]) == (True, None)
    assert mixed["chrome-49-xp-sp3"]["certificate"] == "rsa"


def _der(pki, name):
    import ssl

    with open(pki.path(name + ".pem")) as stream:
        return ssl.PEM_cert_to_DER_cert(stream.read())


# By data alone


OPENSSL_NAMES = {
    "AES128-SHA": "TLS_RSA_WITH_AES_128_CBC_SHA",
    "AES256-GCM-SHA384": "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-AES128-SHA": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES256-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    "ECDHE-ECDSA-AES256-SHA": "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "DHE-RSA-AES128-GCM-SHA256": "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    "DHE-RSA-AES128-SHA": "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
}
SWITCHES = {"TLSv1.0": "-no_tls1", "TLSv1.1": "-no_tls1_1", "TLSv1.2": "-no_tls1_2", "TLSv1.3": "-no_tls1_3"}
EVERY = tuple(SWITCHES)
RSA_LEGACY = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-SHA", "AES128-SHA")
MATRIX = {
    "everything, RSA": (EVERY, RSA_LEGACY, GROUPS[1:], ("rsa",)),
    "everything, both keys": (
        EVERY,
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA", *RSA_LEGACY),
        GROUPS[1:],
        ("ec", "rsa"),
    ),
    "everything, ECDSA": (EVERY, ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"), GROUPS[1:], ("ec",)),
    "TLS 1.0 alone": (("TLSv1.0",), RSA_LEGACY, GROUPS[1:], ("rsa",)),
    "TLS 1.1 alone": (("TLSv1.1",), RSA_LEGACY, GROUPS[1:], ("rsa",)),
    "TLS 1.2 and 1.3, modern": (
        ("TLSv1.2", "TLSv1.3"),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"),
        GROUPS[1:],
        ("ec", "rsa"),
    ),
    "TLS 1.2, no forward secrecy": (("TLSv1.2",), ("AES256-GCM-SHA384",), GROUPS[1:], ("rsa",)),
    "TLS 1.2, CBC": (("TLSv1.2",), ("ECDHE-RSA-AES256-SHA384",), GROUPS[1:], ("rsa",)),
    "TLS 1.2, DHE": (("TLSv1.2",), ("DHE-RSA-AES128-GCM-SHA256",), GROUPS[1:], ("rsa",)),
    "TLS 1.2, X25519 alone": (("TLSv1.2",), ("ECDHE-RSA-AES128-GCM-SHA256",), ["x25519"], ("rsa",)),
    "TLS 1.3, secp384r1 alone": (("TLSv1.3",), (), ["secp384r1"], ("rsa",)),
    "TLS 1.3, X448 alone": (("TLSv1.3",), (), ["x448"], ("rsa",)),
    "TLS 1.3, Ed25519": (("TLSv1.2", "TLSv1.3"), ("ECDHE-ECDSA-AES128-GCM-SHA256",), GROUPS[1:], ("ed",)),
}
KIND_OF = {"rsa": "rsa", "ec": "ecdsa", "ed": "ed25519"}


@contextlib.contextmanager
def matrix_server(pki, case, prefer_server):
    protocols, ciphers, groups, leaves = MATRIX[case]
    (port,) = bed.free_ports()
    pki.run("dhparam", "-dsaparam", "-out", "dh2048.pem", "2048")
    arguments = list(bed.shown(leaves[0]))
    for leaf in leaves[1:]:
        arguments += ["-dcert", leaf + ".pem", "-dkey", leaf + ".key", "-dcert_chain", "middle.pem"]
    arguments += [switch for name, switch in SWITCHES.items() if name not in protocols]
    arguments += ["-cipher", ":".join([*(ciphers or ["ALL"]), "@SECLEVEL=0"]), "-dhparam", "dh2048.pem"]
    arguments += ["-groups", ":".join({"secp256r1": "P-256", "secp384r1": "P-384"}.get(one, one) for one in groups)]
    with bed.s_server(pki.folder, port, *arguments, *(["-serverpref"] if prefer_server else [])):
        yield port


def differences(seen, *server, **more):
    """Where the results of a server are not those that are expected of it."""
    found = []
    for client in ALL.values():
        by_data, real = _clients.expected(client, *server, **more), seen[client.id]
        assert by_data.keys() == real.keys()
        keys = ["ok", "protocol", "suite", "certificate"] if real["ok"] else ["ok"]
        # In TLS 1.3 libraries weigh a key that was sent against their own order in different ways.
        keys += ["group"] if real["ok"] and real["protocol"] != "TLSv1.3" else []
        found += [f"{client.id}: {key}: {by_data} {real}" for key in keys if by_data[key] != real[key]]
    return "\n".join(found)


@pytest.mark.parametrize("prefer_server", [True, False])
@pytest.mark.parametrize("case", MATRIX)
def test_what_is_expected_is_what_is_seen(pki, case, prefer_server):
    protocols, ciphers, groups, leaves = MATRIX[case]
    suites = [*SUITES13, *(OPENSSL_NAMES[cipher] for cipher in ciphers)]
    shown = [_prober.read_certificate(_der(pki, leaf)) for leaf in leaves]
    with matrix_server(pki, case, prefer_server) as port:
        seen = simulated(port, shown=shown)
    kinds = [KIND_OF[leaf] for leaf in leaves]
    assert differences(seen, protocols, suites, groups, kinds, prefer_server, dh_bits=2048) == ""


@pytest.mark.parametrize("leaves", [("rsa",), ("ec",), ("rsa", "ec")], ids="+".join)
@pytest.mark.parametrize("server", ["nginx", "Apache"])
def test_what_is_expected_of_a_web_server_is_what_is_seen(pki, server, leaves):
    (port,) = bed.free_ports()
    files = "".join(f"SSLCertificateFile {leaf}.chain\nSSLCertificateKeyFile {leaf}.key\n" for leaf in leaves)
    body = f"{files}SSLProtocol -all +TLSv1.2 +TLSv1.3\nSSLCipherSuite {bed.GOOD12}\nSSLHonorCipherOrder on"
    running = {
        "nginx": lambda: bed.nginx(pki.folder, [bed.nginx_site(port, leaves)], port),
        "Apache": lambda: bed.apache(pki.folder, port, body),
    }
    shown = [_prober.read_certificate(_der(pki, leaf)) for leaf in leaves]
    with running[server]():
        seen = simulated(port, shown=shown)
    suites = [*SUITES13, *ECDHE12]
    assert differences(seen, ["TLSv1.2", "TLSv1.3"], suites, GROUPS, [KIND_OF[leaf] for leaf in leaves], True) == ""


def test_expected_fails_closed():
    client = ALL["java-7u25"]
    dhe = ["TLS_DHE_RSA_WITH_AES_128_CBC_SHA"]
    for bits, ok in ((None, None), (1024, True), (2048, False)):
        result = _clients.expected(client, ["TLSv1.0"], dhe, [], ["rsa"], True, dh_bits=bits)
        assert result["ok"] is ok and (ok or "Diffie-Hellman" in result["reason"])
    with pytest.raises(ValueError, match="'EC' is none of rsa, rsa-pss, ecdsa"):
        _clients.expected(client, ["TLSv1.0"], dhe, [], ["EC"], True)
    nothing = _clients.expected(client, [], [], [], [], True)
    assert nothing["ok"] is False and nothing["protocol"] is None


# Before and after


def after(protocols, suites, groups=GROUPS, kinds=("rsa",), **more):
    return [_clients.expected(client, protocols, suites, groups, kinds, True, **more) for client in ALL.values()]


OLD_SUITES = [*SUITES13, *ECDHE12, *(OPENSSL_NAMES[name] for name in RSA_LEGACY)]


def test_lost_clients():
    before = after(EVERY, OLD_SUITES, dh_bits=1024)
    changes = {
        entry["id"]: (entry["change"], entry["text"])
        for entry in _clients.lost(before, after(["TLSv1.2", "TLSv1.3"], [*SUITES13, *ECDHE12]))
    }
    assert changes["android-4.2.2"] == changes["ie-8-10-win-7"] == ("protocol", "TLSv1.0")
    assert changes["ie-11-win-7"] == ("suite", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")
    served = {result["id"] for result in before if result["ok"]}
    assert "android-4.4.2" in served and "android-4.4.2" not in changes
    assert set(changes) <= served
    entry = _clients.lost(before, after(["TLSv1.3"], SUITES13))[0]
    assert set(entry) == {"id", "name", "version", "platform", "change", "text"}


def test_lost_for_the_certificate():
    before = after(["TLSv1.2", "TLSv1.3"], [*SUITES13, *ECDHE12])
    found = _clients.lost(before, after(["TLSv1.2", "TLSv1.3"], [*SUITES13, *ECDHE12], kinds=["ecdsa"]))
    changes = {entry["id"]: (entry["change"], entry["text"]) for entry in found}
    assert changes == {"chrome-49-xp-sp3": ("certificate", "ECDSA certificate")}


def test_lost_for_a_group():
    before = after(["TLSv1.2", "TLSv1.3"], [*SUITES13, *ECDHE12])
    found = _clients.lost(before, after(["TLSv1.2", "TLSv1.3"], [*SUITES13, *ECDHE12], groups=["x25519"]))
    changes = {entry["id"]: (entry["change"], entry["text"]) for entry in found}
    assert changes["android-4.4.2"] == ("group", "secp256r1") and "android-8.1" not in changes


def test_lost_for_what_the_client_alone_does_not_take():
    dhe = ["TLS_DHE_RSA_WITH_AES_128_CBC_SHA"]
    found = _clients.lost(after(EVERY, dhe, dh_bits=1024), after(EVERY, dhe, dh_bits=2048))
    changes = {entry["id"]: (entry["change"], entry["text"]) for entry in found}
    assert changes["java-7u25"] == (
        "group",
        "Diffie-Hellman parameters of 2048 bits, and the client takes 1024 at most",
    )
    assert "android-4.2.2" not in changes


def test_what_is_not_known_is_not_lost():
    before = after(EVERY, OLD_SUITES)
    unknown = [{**result, "ok": None, "reason": "no response in time"} for result in before]
    assert _clients.lost(before, unknown) == [] and _clients.lost(unknown, after([], [])) == []
    assert _clients.lost(before, []) == []
    everything = _clients.lost(before, after([], []))
    assert len(everything) == sum(result["ok"] is True for result in before)
    assert {entry["change"] for entry in everything} == {"protocol"}


# In the prober


def test_the_prober_has_them_where_they_are_asked_for(pki):
    (port,) = bed.free_ports()
    endpoint = {"host": "good.test", "port": port, "address": "127.0.0.1"}
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["rsa", "ec"])], port):
        trust = _prober.Trust(pki.path("root.pem"))
        quiet, full = (_prober.probe(endpoint, trust=trust, clients=clients) for clients in (False, True))
        started = time.monotonic()
        simulated(port)
        seconds = time.monotonic() - started
    assert quiet["clients"] == [] and [result["id"] for result in full["clients"]] == list(ALL)
    assert full["connections"] == quiet["connections"] + len(ALL)
    assert {result["ok"] for result in full["clients"]} == {True, False}
    # A tenth of a second on a machine that has nothing else to do.
    assert seconds < 5


def test_an_endpoint_with_an_error_has_none():
    with peers.serving(peers.HOSTILE["plain HTTP"]) as port:
        seen = _prober.probe({"host": "good.test", "port": port, "address": "127.0.0.1"}, clients=True, timeout=3)
    assert seen["error"] and seen["clients"] == []


def test_no_letter_depends_on_them(pki):
    """A server that has enough of connections after the prober's own."""
    (port,) = bed.free_ports()
    seen = []

    def verdict(offer):
        seen.append(offer)
        return peers.closing if simulating else None

    simulating = []
    real = _clients.simulate

    def simulate(*arguments):
        simulating.append(True)
        return real(*arguments)

    with bed.nginx(pki.folder, [bed.nginx_site(port, ["rsa"])], port), peers.gated(port, verdict) as proxy:
        endpoint = {"host": "good.test", "port": proxy, "address": "127.0.0.1"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_clients, "simulate", simulate)
            observation = _prober.probe(endpoint, clients=True, timeout=5)
    assert observation["error"] is None and observation["lost"] == []
    assert {result["ok"] for result in observation["clients"]} == {None}


def test_names_that_are_alike_share_them(pki):
    pki.leaf("all", names=("one.test", "two.test"))
    (port,) = bed.free_ports()
    endpoints = [
        {"host": name, "port": port, "addresses": ["127.0.0.1"], "group": "all"} for name in ("one.test", "two.test")
    ]
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["all"], names="one.test two.test")], port):
        trust = _prober.Trust(pki.path("root.pem"))
        first, second = _prober.probe_all(endpoints, trust=trust, clients=True)
    assert second["ciphers_from"] == "one.test" and second["connections"] < len(ALL)
    assert first["clients"] == second["clients"] != []

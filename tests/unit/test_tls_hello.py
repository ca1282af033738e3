# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our hellos as tlslite-ng reads them, and whole handshakes with its server."""

from __future__ import annotations

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire

messages = pytest.importorskip("tlslite.messages", reason="tlslite-ng is not installed here")
constants = pytest.importorskip("tlslite.constants", reason="tlslite-ng is not installed here")
from tlslite.utils.codec import Parser  # noqa: E402


def parse(hello):
    """The hello as tlslite-ng reads it."""
    assert hello[0] == wire.CLIENT_HELLO
    return messages.ClientHello().parse(Parser(bytearray(hello[1:])))


@pytest.mark.parametrize("version", [0x0301, 0x0302, 0x0303])
def test_hello_to_tls12(version):
    hello = parse(
        wire.client_hello(
            version,
            [0xC02F, 0x0005],
            server_name="good.test",
            groups=[0x001D, 0x0017],
            signatures=data.ALL_SIGNATURES,
            alpn=("h2", "http/1.1"),
            compressions=(1, 0),
            extras=True,
        )
    )
    assert hello.client_version == (3, version & 0xFF)
    assert hello.cipher_suites == [0xC02F, 0x0005]
    assert list(hello.compression_methods) == [1, 0]
    assert hello.server_name == b"good.test"
    assert hello.getExtension(constants.ExtensionType.supported_groups).groups == [0x001D, 0x0017]
    assert hello.getExtension(constants.ExtensionType.alpn).protocol_names == [b"h2", b"http/1.1"]
    assert hello.getExtension(constants.ExtensionType.renegotiation_info).renegotiated_connection == b""
    assert hello.getExtension(constants.ExtensionType.supported_versions) is None
    for kind in ("extended_master_secret", "session_ticket", "status_request", "heartbeat", "encrypt_then_mac"):
        assert hello.getExtension(getattr(constants.ExtensionType, kind)) is not None
    signatures = hello.getExtension(constants.ExtensionType.signature_algorithms)
    expected = [(code >> 8, code & 0xFF) for code in data.ALL_SIGNATURES]
    assert (signatures.sigalgs if version == 0x0303 else None) == (expected if version == 0x0303 else None)


def test_hello_to_tls13():
    hello = parse(wire.client_hello(0x0304, [0x1301], groups=[0x11EC], key_shares=[(0x001D, b"k" * 32)]))
    assert hello.client_version == (3, 3)
    assert hello.getExtension(constants.ExtensionType.supported_versions).versions == [(3, 4)]
    (share,) = hello.getExtension(constants.ExtensionType.key_share).client_shares
    assert (share.group, bytes(share.key_exchange)) == (0x001D, b"k" * 32)
    assert len(hello.session_id) == 32
    assert hello.getExtension(constants.ExtensionType.renegotiation_info) is None


def test_hello_to_ssl3():
    hello = parse(wire.client_hello(0x0300, [0x0005], server_name="good.test", groups=[23], extras=True))
    assert hello.client_version == (3, 0)
    # Nothing but the names that a server may insist on.
    assert [extension.extType for extension in hello.extensions] == [constants.ExtensionType.server_name]
    assert hello.cipher_suites == [0x0005, 0x00FF]


def test_hello_to_ssl2():
    raw = wire.ssl2_client_hello(list(data.SSL2_SUITES))
    assert int.from_bytes(raw[:2], "big") == 0x8000 | len(raw) - 2
    hello = messages.ClientHello(ssl2=True).parse(Parser(bytearray(raw[3:])))
    assert hello.client_version == (0, 2)
    assert len(hello.cipher_suites) == len(data.SSL2_SUITES)


def test_the_names_are_those_of_tlslite():
    ours = {code: suite.name.lower() for code, suite in data.SUITES.items()}
    theirs = {code: name.lower() for code, name in constants.CipherSuite.ietfNames.items() if code in ours}
    # Drafts are named otherwise.
    theirs = {code: name for code, name in theirs.items() if "draft" not in name}
    assert len(theirs) > 90
    assert theirs == {code: ours[code] for code in theirs}


# Handshakes with the server of tlslite-ng

api = pytest.importorskip("tlslite.api", reason="tlslite-ng is not installed here")
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade  # noqa: E402
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober  # noqa: E402

from . import tls_bed as bed  # noqa: E402
from . import tls_peers as peers  # noqa: E402


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    pki = bed.Pki(tmp_path_factory.mktemp("tlslite"))
    pki.leaf("good", names=("good.test",))
    pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
    chain = api.X509CertChain()
    with open(pki.path("good.chain")) as stream:
        chain.parsePemList(stream.read())
    with open(pki.path("traditional.key")) as stream:
        key = api.parsePEMKey(stream.read(), private=True)
    return pki, chain, key


def probe(identity, settings, mode="full"):
    pki, chain, key = identity

    def handle(sock, _over):
        connection = api.TLSConnection(sock)
        # Whatever the prober leaves unfinished is an error to a server.
        try:
            connection.handshakeServer(certChain=chain, privateKey=key, settings=settings)
            connection.read(max=4096, min=1)
            connection.write(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=31536000\r\n\r\n")
            connection.close()
        except Exception:
            pass

    with peers.serving(handle) as port:
        endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port}
        return _prober.probe(endpoint, mode, 30, trust=_prober.Trust(pki.path("root.pem")))


def test_every_old_protocol_of_tlslite(identity):
    settings = api.HandshakeSettings()
    settings.minVersion, settings.maxVersion = (3, 0), (3, 3)
    settings.cipherNames = ["rc4", "3des", "aes128"]
    settings.macNames = ["sha", "md5"]
    settings.keyExchangeNames = ["rsa"]
    observation = probe(identity, settings)
    expected = {
        "TLS_RSA_WITH_RC4_128_MD5",
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
    }
    found = {protocol: set(names) for protocol, names in observation["ciphers"].items()}
    assert found == dict.fromkeys(("SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2"), expected)
    assert _grade.grade(observation)["grade_trust_ignored"] == "C"


@pytest.mark.parametrize("group", ["x25519", "secp256r1", "secp384r1", "x448", "ffdhe2048"])
def test_each_group_of_tlslite(identity, group):
    settings = api.HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 4)
    settings.eccCurves = [] if group.startswith("ff") else [group]
    settings.dhGroups = [group] if group.startswith("ff") else []
    settings.keyShares = []
    observation = probe(identity, settings, "quick" if group == "x448" else "full")
    assert observation["groups"] == [group]
    assert set(observation["ciphers"]) == {"TLSv1.3"}

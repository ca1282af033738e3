# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that tell how messages were malformed, servers that do not, and servers that are hard to understand."""

from __future__ import annotations

import contextlib
import itertools
import ssl

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import oracles as _oracles
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire

from . import tls_bed as bed
from . import tls_peers as peers

# Servers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

serialization = pytest.importorskip(
    "cryptography.hazmat.primitives.serialization", reason="cryptography is not installed here"
)

RSA_SUITES = [0x002F, 0x009C]


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Servers in Python are slow on a busy machine, and what takes too long counts as silence."""
    monkeypatch.setattr(_oracles, "PATIENCE", 6.0)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("oracles"))
    made.leaf("good")
    made.leaf("ec", key="ec")
    return made


def peer(port, seconds=10):
    return _handshake.Peer({"host": "good.test", "address": "127.0.0.1", "port": port}, seconds)


def alert(description):
    return b"\x15\x03\x03\x00\x02\x02" + bytes([description])


def messages(sock):
    """The handshake messages of a client's flight, as far as they are not protected."""
    stream = wire.RecordStream()
    while True:
        received = sock.recv(65536)
        if not received:
            return
        for event in stream.feed(received):
            if isinstance(event, wire.Protected):
                return
            yield event


def responder(pki, respond):
    """A server with RSA key exchange in TLS 1.2; C(respond) gives the response to a decrypted premaster block."""
    with open(pki.path("good.key"), "rb") as stream:
        numbers = serialization.load_pem_private_key(stream.read(), None).private_numbers()
    modulus = numbers.public_numbers.n
    with open(pki.path("good.pem")) as stream:
        certificate = ssl.PEM_cert_to_DER_cert(stream.read())
    hello = b"\x03\x03" + bytes(32) + b"\0\x00\x2f\0"
    flight = b"".join(
        wire.record(wire.HANDSHAKE, 0x0303, wire.message(kind, body))
        for kind, body in (
            (wire.SERVER_HELLO, hello),
            (wire.CERTIFICATE, wire.vector(3, wire.vector(3, certificate))),
            (wire.SERVER_HELLO_DONE, b""),
        )
    )

    def handle(sock, over):
        offered = sock.recv(65536)
        if b"\x00\x2f" not in offered or (b"\x03\x04" in offered[40:] and b"\x00\x2b" in offered):
            sock.sendall(alert(40))
            return
        sock.sendall(flight)
        for message in messages(sock):
            if message.kind == wire.CLIENT_KEY_EXCHANGE:
                sealed = int.from_bytes(message.body[2:], "big")
                block = pow(sealed, numbers.d, modulus).to_bytes(256, "big")
                sock.sendall(respond(block))
                over.wait(0.05)
                return

    return peers.serving(handle)


def is_well_formed(block):
    return block[:2] == b"\x00\x02" and block.find(b"\0", 2) == len(block) - 49


def test_a_server_that_reveals_bad_padding(pki):
    with responder(pki, lambda block: alert(20 if is_well_formed(block) else 47)) as port:
        found = _oracles.rsa(peer(port), "TLSv1.2", RSA_SUITES)
    assert "well formed: alert 20" in found and "another block type: alert 47" in found


def test_a_server_that_reveals_another_version(pki):
    with responder(pki, lambda block: alert(70 if block[-48:-46] == b"\x02\x02" else 20)) as port:
        assert "another version: alert 70" in _oracles.rsa(peer(port), "TLSv1.2", RSA_SUITES)


def test_a_server_that_hangs_up_on_bad_padding(pki):
    with responder(pki, lambda block: alert(20) if is_well_formed(block) else b"") as port:
        assert "no end of padding: closed" in _oracles.rsa(peer(port), "TLSv1.2", RSA_SUITES)


def test_one_that_reveals_nothing(pki):
    with responder(pki, lambda _block: alert(20)) as port:
        assert _oracles.rsa(peer(port), "TLSv1.2", RSA_SUITES) is False


def test_what_differs_by_chance_is_no_oracle(pki):
    count = itertools.count()
    with responder(pki, lambda _block: alert(20 if next(count) % 3 else 51)) as port:
        assert _oracles.rsa(peer(port), "TLSv1.2", RSA_SUITES) is None


@pytest.mark.parametrize("name", sorted(set(peers.HOSTILE) - {"hangs", "drips", "SSH", "only warnings"}))
def test_what_is_lost_is_no_response(name):
    with peers.serving(peers.HOSTILE[name]) as port:
        assert _oracles.rsa(peer(port), "TLSv1.2", RSA_SUITES) is None
        assert _oracles.cbc(peer(port), [0xC013]) is None


def test_an_oracle_is_an_f(pki):
    trust = _prober.Trust(pki.path("root.pem"))
    with responder(pki, lambda block: alert(20 if is_well_formed(block) else 47)) as port:
        endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port}
        for mode in ("quick", "full"):
            result = _grade.grade(_prober.probe(endpoint, mode, trust=trust, http=False))
            assert result["grade_trust_ignored"] == "F"
            (found,) = [one for one in result["findings"] if one["id"] == "tls.attack.robot"]
            assert (found["step"], found["severity"]) == (2, "fail") and "alert 47" in found["evidence"]


# Real servers


CBC = {
    "ECDHE-RSA-AES128-SHA": 0xC013,
    "ECDHE-RSA-AES256-SHA384": 0xC028,
    "ECDHE-RSA-AES128-SHA256": 0xC027,
    "AES128-SHA": 0x002F,
    "AES256-SHA256": 0x003D,
}


@pytest.mark.parametrize("name", list(CBC))
def test_openssl_reveals_nothing(pki, name):
    """Each handshake comes to its end, so that it is the damaged record that is refused."""
    (port,) = bed.free_ports()
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"], protocols="TLSv1.2", ciphers=name)], port):
        assert _oracles.cbc(peer(port), [CBC[name]]) is False
        if not name.startswith("ECDHE"):
            assert _oracles.rsa(peer(port), "TLSv1.2", [CBC[name]]) is False


def test_an_undamaged_record_is_taken(pki, monkeypatch):
    """The other responses are to the damage, then, and not to something that is wrong with all of them."""
    (port,) = bed.free_ports()
    request = b"GET / HTTP/1.0\r\n\r\n"
    monkeypatch.setitem(_oracles._CBC_VARIANTS, "wrong MAC", (request, {}))
    site = bed.nginx_site(port, ["good"], protocols="TLSv1.2", ciphers="ECDHE-RSA-AES128-SHA")
    with bed.nginx(pki.folder, [site], port):
        found = _oracles.cbc(peer(port), [0xC013])
    assert found.startswith("wrong MAC: record 23 of ") and "wrong padding: record 21 of " in found


@contextlib.contextmanager
def lenient(pki, monkeypatch, check):
    """A server in Python whose check of padding and MAC is another one."""
    tlslite = pytest.importorskip("tlslite.api", reason="tlslite-ng is not installed here")
    recordlayer = pytest.importorskip("tlslite.recordlayer")
    monkeypatch.setattr(recordlayer, "ct_check_cbc_mac_and_pad", check(recordlayer.ct_check_cbc_mac_and_pad))
    chain, key = tlslite.X509CertChain(), None
    with open(pki.path("good.chain")) as stream:
        chain.parsePemList(stream.read())
    pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
    with open(pki.path("traditional.key")) as stream:
        key = tlslite.parsePEMKey(stream.read(), private=True)
    settings = tlslite.HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 3)
    settings.cipherNames = ["aes128"]
    settings.macNames = ["sha"]
    settings.useEncryptThenMAC = False

    def handle(sock, over):
        connection = tlslite.TLSConnection(sock)
        with contextlib.suppress(Exception):
            connection.handshakeServer(certChain=chain, privateKey=key, settings=settings)
            connection.read(max=1, min=1)
            over.wait(60)

    with peers.serving(handle) as port:
        yield port


def test_a_server_that_does_not_check_padding(pki, monkeypatch):
    """POODLE against TLS: what is encrypted can be found out byte by byte."""

    def check(real):
        def lax(data, mac, seqnum, content_type, version, block_size):
            length = data[-1] + 1
            # The padding as it should be, whatever it is.
            mended = bytearray(data[:-length]) + bytearray([data[-1]] * length) if length <= len(data) else data
            return real(mended, mac, seqnum, content_type, version, block_size)

        return lax

    with lenient(pki, monkeypatch, check) as port:
        # Silence is waited for twice.
        found = _oracles.cbc(peer(port, 60), [0x002F])
    assert "wrong MAC: record 21 of " in found and "; wrong padding: silent" in found


def test_a_server_in_python_that_reveals_nothing(pki, monkeypatch):
    with lenient(pki, monkeypatch, lambda real: real) as port:
        assert _oracles.cbc(peer(port), [0x002F]) is False

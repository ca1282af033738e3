# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OpenSSL library beside Python's own use of it, and against what does the same without it."""

from __future__ import annotations

import os
import ssl
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto
from ansible_collections.kopano.hardening.plugins.module_utils._tls import trust as _trust
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import libcrypto

from . import tls_bed as bed


@pytest.fixture(scope="module", autouse=True)
def library():
    if not libcrypto.available():
        pytest.skip("no OpenSSL library can be loaded here")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("library"))
    made.leaf("good", key="ec")
    return made


@pytest.fixture(scope="module")
def store(pki):
    return libcrypto.Store(pki.path("root.pem"))


def der(pki, name):
    with open(pki.path(name + ".pem")) as stream:
        return ssl.PEM_cert_to_DER_cert(stream.read())


@pytest.mark.parametrize("group", crypto.Share.ALL)
def test_secrets_are_those_of_the_slow_way(group):
    share = crypto.Share(group)
    for _turn in range(3):
        own = crypto._SECRET
        try:
            crypto._SECRET = os.urandom(32)
            crypto._public.cache_clear()
            peer = crypto._public(group)
        finally:
            crypto._SECRET = own
            crypto._public.cache_clear()
        size = len(share.agree_slowly(peer))
        assert libcrypto.agree(*crypto._as_der(group, peer), size) == share.agree_slowly(peer) == share.agree(peer)


@pytest.mark.parametrize("group", crypto.Share.ALL)
def test_a_point_that_is_none_is_refused(group):
    share = crypto.Share(group)
    with pytest.raises(crypto.CryptoError):
        share.agree(share.public[:-1])
    if group in crypto.CURVES:
        with pytest.raises(crypto.CryptoError):
            share.agree(share.public[:-1] + bytes([share.public[-1] ^ 1]))


@pytest.mark.parametrize("suite", list(crypto.CIPHERS13))
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
def test_records_are_opened_as_in_the_slow_way(suite, size):
    cipher = crypto.CIPHERS13[suite]
    key, nonce, plain = os.urandom(cipher.key_size), os.urandom(12), os.urandom(size)
    sealed = cipher.aead(key).seal(nonce, plain, b"extra")
    assert libcrypto.unseal(cipher.name, key, nonce, sealed[:-16], sealed[-16:], b"extra") == plain
    assert libcrypto.unseal(cipher.name, key, nonce, sealed[:-16], bytes(16), b"extra") is None


def test_verdicts(pki):
    known, unknown = libcrypto.Store(pki.path("root.pem")), libcrypto.Store()
    leaf, middle, root = (der(pki, name) for name in ("good", "middle", "root"))
    assert known.verify(leaf, [middle]) == libcrypto.Verdict(0, None, [leaf, middle, root])
    assert known.verify(leaf, [root, middle, middle]).code == 0
    assert (known.verify(leaf, []).code, known.verify(leaf, []).path) == (20, [leaf])
    assert unknown.verify(leaf, [middle]).code == 20
    assert unknown.verify(leaf, [middle, root]).reason == "self-signed certificate in certificate chain"
    assert known.verify(b"0", [middle]).code != 0
    assert known.verify(leaf, [b"0", middle]).code == 0
    # An intermediate authority may be the anchor, too.
    assert libcrypto.Store(pki.path("middle.pem")).verify(leaf, []).code == 0


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_certificates_are_not_trusted(pki, store, data):
    """And end nothing but the verification."""
    leaf, middle = bytearray(der(pki, "good")), der(pki, "middle")
    at = data.draw(st.integers(0, len(leaf) - 1))
    value = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(leaf)))
    changed = leaf[at] != value
    leaf[at] = value
    assert store.verify(bytes(leaf), [middle]).code != 0 or not changed
    assert store.verify(bytes(leaf[:end]), [middle]).code != 0 or end == len(leaf)
    store.verify(der(pki, "good"), [bytes(leaf), bytes(leaf[:end])])


def test_ssl_notices_nothing(store):
    """No error is left behind in the queue that the ssl module reads."""
    store.verify(b"0", [b"1"])
    libcrypto.agree(b"0", b"1", 32)
    libcrypto.unseal("aes_128_gcm", bytes(16), bytes(12), b"x", bytes(16), b"")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(inward, outward, server_hostname="good.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    assert outward.pending


def test_one_store_for_many_threads(pki, store):
    leaf, middle = der(pki, "good"), der(pki, "middle")
    codes = []

    def work():
        codes.extend(store.verify(leaf, [middle]).code for _turn in range(50))

    threads = [threading.Thread(target=work) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 400


def test_without_a_library_nothing_is_claimed(pki, monkeypatch):
    """Neither trusted nor untrusted, and the handshakes go on by themselves."""
    share = crypto.Share(0x001D)
    secret = share.agree(share.public)
    monkeypatch.setattr(libcrypto, "LIBRARY", None)
    assert share.agree(share.public) == secret
    judgement = _trust.Trust(pki.path("root.pem")).judge(
        [_x509_certificate.read_certificate(der(pki, "good"))], "127.0.0.1", 1
    )
    assert judgement.trusted is None and "no OpenSSL library" in judgement.reason

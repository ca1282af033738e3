# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The little cryptography of the prober against the vectors of its standards and against `cryptography`."""

from __future__ import annotations

import os

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto


def hexes(text):
    return bytes.fromhex(text.replace(" ", "").replace("\n", ""))


def test_x25519_rfc7748():
    scalar = hexes("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = hexes("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert crypto.x25519(scalar, point) == hexes("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")


def test_aes_fips197():
    plain = hexes("00112233445566778899aabbccddeeff")
    assert crypto.Aes(bytes(range(16))).block(plain) == hexes("69c4e0d86a7b0430d8cdb78070b4c55a")
    assert crypto.Aes(bytes(range(32))).block(plain) == hexes("8ea2b7ca516745bfeafc49904b496089")


def test_aes_gcm_sp800_38d_case_4():
    key, nonce = hexes("feffe9928665731c6d6a8f9467308308"), hexes("cafebabefacedbaddecaf888")
    plain = hexes(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    extra = hexes("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = crypto.AesGcm(key).seal(nonce, plain, extra)
    assert sealed[-16:] == hexes("5bc94fbc3221a5db94fae95ae7121a47")
    assert crypto.AesGcm(key).open(nonce, sealed, extra) == plain


def test_chacha20_poly1305_rfc8439():
    key, nonce = bytes(range(0x80, 0xA0)), hexes("070000004041424344454647")
    extra = hexes("50515253c0c1c2c3c4c5c6c7")
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    sealed = crypto.ChaCha20Poly1305(key).seal(nonce, plain, extra)
    assert sealed[:16] == hexes("d31a8d34648e60db7b86afbc53ef7ec2")
    assert sealed[-16:] == hexes("1ae10b594f09e26a7e902ecbd0600691")
    assert crypto.ChaCha20Poly1305(key).open(nonce, sealed, extra) == plain


def test_prf_published_vector():
    """The vector for P_SHA256 that TLS implementers have shared since 2008."""
    secret, seed = hexes("9bbe436ba940f017b17652849a71db35"), hexes("a0ba9f936cda311827a6f796ffd5198c")
    out = crypto.prf("sha256", secret, b"test label", seed, 100)
    assert out.startswith(hexes("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"))
    assert len(out) == 100


@pytest.mark.parametrize("cipher", ["AesGcm", "ChaCha20Poly1305"])
def test_a_changed_bit_is_noticed(cipher):
    aead = getattr(crypto, cipher)(bytes(32))
    sealed = bytearray(aead.seal(bytes(12), b"something", b"extra"))
    for at in range(len(sealed)):
        sealed[at] ^= 1
        with pytest.raises(crypto.CryptoError):
            aead.open(bytes(12), bytes(sealed), b"extra")
        sealed[at] ^= 1


@pytest.mark.parametrize("group", crypto.Share.GROUPS)
def test_both_sides_agree(group):
    ours, theirs = crypto.Share(group), crypto.Share(group)
    assert ours.agree(theirs.public) == theirs.agree(ours.public)


@pytest.mark.parametrize("point", [b"", b"\x04" + bytes(64), b"\x04" + b"\x01" * 64, b"\x02" + bytes(32), bytes(65)])
def test_points_off_the_curve(point):
    with pytest.raises(crypto.CryptoError):
        crypto.Share(0x0017).agree(point)


def test_against_cryptography():
    ec = pytest.importorskip(
        "cryptography.hazmat.primitives.asymmetric.ec", reason="cryptography is not installed here"
    )
    from cryptography.hazmat.primitives.asymmetric import x25519
    from cryptography.hazmat.primitives.ciphers import aead
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    for _turn in range(10):
        share, other = crypto.Share(0x0017), ec.generate_private_key(ec.SECP256R1())
        public = other.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), share.public)
        assert share.agree(public) == other.exchange(ec.ECDH(), peer)
        share25519, other25519 = crypto.Share(0x001D), x25519.X25519PrivateKey.generate()
        public = other25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        assert share25519.agree(public) == other25519.exchange(
            x25519.X25519PublicKey.from_public_bytes(share25519.public)
        )
        for size in (0, 1, 15, 16, 17, 64, 65, 200):
            plain, nonce, key, extra = os.urandom(size), os.urandom(12), os.urandom(32), os.urandom(size % 7)
            assert crypto.AesGcm(key).seal(nonce, plain, extra) == aead.AESGCM(key).encrypt(nonce, plain, extra)
            assert crypto.AesGcm(key[:16]).seal(nonce, plain, extra) == aead.AESGCM(key[:16]).encrypt(
                nonce, plain, extra
            )
            assert crypto.ChaCha20Poly1305(key).seal(nonce, plain, extra) == aead.ChaCha20Poly1305(key).encrypt(
                nonce, plain, extra
            )

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Just enough cryptography to finish a handshake, with the standard library alone if need be.

A ServerHello does not show everything: not which certificates a server has that speaks nothing but TLS 1.3, and not
whether it renegotiates at a client's request. For those the prober needs keys. Nothing secret is ever sent over such a
connection and nothing received is trusted because of it, so this code is neither constant-time nor a library for
anything else.

RFC 5246 and 8446 (key schedules), 7748 (X25519), 8439 (ChaCha20-Poly1305), FIPS 197 and SP 800-38D (AES-GCM).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import struct
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import libcrypto


class CryptoError(ValueError):
    """The peer's values make no sense, or a tag does not match."""


# X25519

_P25519 = 2**255 - 19


def x25519(scalar: bytes, point: bytes) -> bytes:
    """Scalar multiplication on Curve25519, RFC 7748 section 5."""
    k = int.from_bytes(scalar, "little") & ~(7 | 1 << 255) | 1 << 254
    k &= (1 << 255) - 1
    x1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = k >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a % _P25519, c * b % _P25519
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _P25519, x1 * (da - cb) ** 2 % _P25519
        x2, z2 = aa * bb % _P25519, e * (aa + 121665 * e) % _P25519
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P25519 - 2, _P25519) % _P25519).to_bytes(32, "little")


# NIST curves, in Jacobian coordinates

_Jacobian = t.Tuple[int, int, int]


class Curve(t.NamedTuple):
    """A curve with a = -3: its prime, b, generator, bytes of a coordinate, and object identifier (DER)."""

    prime: int
    b: int
    generator: tuple[int, int]
    size: int
    oid: bytes


CURVES = {
    0x0017: Curve(
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        (
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
        32,
        bytes.fromhex("06082a8648ce3d030107"),
    ),
    0x0018: Curve(
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        int(
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
            16,
        ),
        (
            int(
                "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
                16,
            ),
            int(
                "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
                16,
            ),
        ),
        48,
        bytes.fromhex("06052b81040022"),
    ),
    0x0019: Curve(
        2**521 - 1,
        int(
            "51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf07"
            "3573df883d2c34f1ef451fd46b503f00",
            16,
        ),
        (
            int(
                "c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de"
                "3348b3c1856a429bf97e7e31c2e5bd66",
                16,
            ),
            int(
                "11839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad076"
                "1353c7086a272c24088be94769fd16650",
                16,
            ),
        ),
        66,
        bytes.fromhex("06052b81040023"),
    ),
}


def _double(point: _Jacobian, prime: int) -> _Jacobian:
    x, y, z = point
    yy, zz = y * y % prime, z * z % prime
    s, m = 4 * x * yy % prime, 3 * (x - zz) * (x + zz) % prime
    x3 = (m * m - 2 * s) % prime
    return x3, (m * (s - x3) - 8 * yy * yy) % prime, 2 * y * z % prime


def _add(p: _Jacobian, q: tuple[int, int], prime: int) -> _Jacobian:
    """A Jacobian and an affine point."""
    x1, y1, z1 = p
    if not z1:
        return q[0], q[1], 1
    zz = z1 * z1 % prime
    h, r = (q[0] * zz - x1) % prime, (q[1] * zz * z1 - y1) % prime
    if not h:
        return _double(p, prime) if not r else (1, 1, 0)
    hh = h * h % prime
    hhh, v = h * hh % prime, x1 * hh % prime
    x3 = (r * r - hhh - 2 * v) % prime
    return x3, (r * (v - x3) - y1 * hhh) % prime, z1 * h % prime


def _multiply(scalar: int, point: tuple[int, int], prime: int) -> tuple[int, int]:
    result: _Jacobian = (1, 1, 0)
    for bit in bin(scalar)[2:]:
        result = _double(result, prime)
        if bit == "1":
            result = _add(result, point, prime)
    x, y, z = result
    if not z:
        raise CryptoError("the point at infinity")
    inverse = pow(z, prime - 2, prime)
    return x * inverse**2 % prime, y * inverse**3 % prime


def _point(data: bytes, curve: Curve) -> tuple[int, int]:
    x, y = int.from_bytes(data[1 : 1 + curve.size], "big"), int.from_bytes(data[1 + curve.size :], "big")
    if len(data) != 1 + 2 * curve.size or data[0] != 4 or (y * y - x * x * x + 3 * x - curve.b) % curve.prime:
        raise CryptoError("not a point of the curve")
    return x, y


# A key takes a millisecond to make, an endpoint several of them, and none of them keeps anything secret.
_SECRET = os.urandom(32)


@functools.lru_cache(maxsize=None)
def _public(group: int) -> bytes:
    """What this process shows of its secret in one of the groups."""
    if group == 0x001D:
        return x25519(_SECRET, b"\x09" + bytes(31))
    curve = CURVES[group]
    x, y = _multiply(int.from_bytes(_SECRET, "big"), curve.generator, curve.prime)
    return b"\x04" + x.to_bytes(curve.size, "big") + y.to_bytes(curve.size, "big")


def _der(tag: int, *parts: bytes) -> bytes:
    """One DER element of less than 256 bytes."""
    body = b"".join(parts)
    return bytes([tag, len(body)] if len(body) < 0x80 else [tag, 0x81, len(body)]) + body


_X25519_OID = bytes.fromhex("06032b656e")
_EC_KEY_OID = bytes.fromhex("06072a8648ce3d0201")


def _as_der(group: int, peer: bytes) -> tuple[bytes, bytes]:
    """Our private key (PKCS #8) and the peer's public one (SubjectPublicKeyInfo)."""
    if group == 0x001D:
        algorithm, private = _der(0x30, _X25519_OID), _der(0x04, _SECRET)
    else:
        curve = CURVES[group]
        algorithm = _der(0x30, _EC_KEY_OID, curve.oid)
        private = _der(0x30, b"\x02\x01\x01", _der(0x04, _SECRET.rjust(curve.size, b"\0")))
    return (
        _der(0x30, b"\x02\x01\x00", algorithm, _der(0x04, private)),
        _der(0x30, algorithm, _der(0x03, b"\0", peer)),
    )


class Share:
    """A key of one group: what goes out, and the secret it makes with the peer's.

    C(GROUPS) are those that nearly every server has; C(ALL) what can be done here for one that has none of these.
    """

    GROUPS = (0x001D, 0x0017)
    ALL = (*GROUPS, 0x0018, 0x0019)

    def __init__(self, group: int) -> None:
        self.group = group
        self.public = _public(group)

    def agree(self, peer: bytes) -> bytes:
        if len(peer) != len(self.public):
            raise CryptoError("not a point of the curve")
        size = 32 if self.group == 0x001D else CURVES[self.group].size
        secret = libcrypto.agree(*_as_der(self.group, peer), size) if libcrypto.available() else None
        return secret or self.agree_slowly(peer)

    def agree_slowly(self, peer: bytes) -> bytes:
        """The same without a library."""
        if self.group == 0x001D:
            return x25519(_SECRET, peer)
        curve = CURVES[self.group]
        x, _y = _multiply(int.from_bytes(_SECRET, "big"), _point(peer, curve), curve.prime)
        return x.to_bytes(curve.size, "big")


# Public values for key agreements that will not be finished: the generators of the curves, and for ML-KEM zeros.
_P384 = (
    "04AA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7"
    "3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F"
)
_P521 = (
    "0400C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A42"
    "9BF97E7E31C2E5BD66011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD07"
    "61353C7086A272C24088BE94769FD16650"
)
_KEM768, _KEM1024 = bytes(1184), bytes(1568)


@functools.lru_cache(maxsize=None)
def placeholder(group: int) -> bytes | None:
    """A public value that a server takes for this group, None if none is known here."""
    if group in Share.GROUPS:
        return _public(group)
    made = {
        0x0018: bytes.fromhex(_P384),
        0x0019: bytes.fromhex(_P521),
        0x001E: b"\x05" + bytes(55),
        0x0201: _KEM768,
        0x0202: _KEM1024,
        0x11EB: _public(0x0017) + _KEM768,
        0x11EC: _KEM768 + _public(0x001D),
        0x11ED: bytes.fromhex(_P384) + _KEM1024,
    }
    if 0x0100 <= group <= 0x0104:
        return (2).to_bytes((256, 384, 512, 768, 1024)[group - 0x0100], "big")
    return made.get(group)


# AES and GCM


def _aes_tables() -> tuple[bytes, list[list[int]]]:
    """The S-box and the four tables that do SubBytes, ShiftRows and MixColumns at once."""
    sbox = bytearray(256)
    p = q = 1
    while True:
        p ^= (p << 1 ^ (0x1B if p & 0x80 else 0)) & 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        turned = q ^ _turn8(q, 1) ^ _turn8(q, 2) ^ _turn8(q, 3) ^ _turn8(q, 4)
        sbox[p] = turned ^ 0x63
        if p == 1:
            break
    sbox[0] = 0x63
    first = []
    for s in sbox:
        double = s << 1 ^ (0x11B if s & 0x80 else 0)
        first.append(double << 24 | s << 16 | s << 8 | double ^ s)
    tables = [first]
    for _number in range(3):
        tables.append([word >> 8 | (word & 0xFF) << 24 for word in tables[-1]])
    return bytes(sbox), tables


def _turn8(value: int, by: int) -> int:
    return (value << by | value >> 8 - by) & 0xFF


_SBOX, _T = _aes_tables()


class Aes:
    """AES encryption of single blocks, with a key of 16 or 32 bytes."""

    def __init__(self, key: bytes) -> None:
        size = len(key) // 4
        words = list(struct.unpack(f"!{size}I", key))
        rcon = 1
        for at in range(size, 4 * (size + 7)):
            word = words[-1]
            if at % size == 0:
                word = self._sub(word << 8 & 0xFFFFFFFF | word >> 24) ^ rcon << 24
                rcon = rcon << 1 ^ (0x11B if rcon & 0x80 else 0)
            elif size > 6 and at % size == 4:
                word = self._sub(word)
            words.append(words[at - size] ^ word)
        self._keys = words

    @staticmethod
    def _sub(word: int) -> int:
        return _SBOX[word >> 24] << 24 | _SBOX[word >> 16 & 255] << 16 | _SBOX[word >> 8 & 255] << 8 | _SBOX[word & 255]

    def block(self, data: bytes) -> bytes:
        keys = self._keys
        t0, t1, t2, t3 = _T
        a, b, c, d = (word ^ key for word, key in zip(struct.unpack("!4I", data), keys))
        for at in range(4, len(keys) - 4, 4):
            a, b, c, d = (
                t0[a >> 24] ^ t1[b >> 16 & 255] ^ t2[c >> 8 & 255] ^ t3[d & 255] ^ keys[at],
                t0[b >> 24] ^ t1[c >> 16 & 255] ^ t2[d >> 8 & 255] ^ t3[a & 255] ^ keys[at + 1],
                t0[c >> 24] ^ t1[d >> 16 & 255] ^ t2[a >> 8 & 255] ^ t3[b & 255] ^ keys[at + 2],
                t0[d >> 24] ^ t1[a >> 16 & 255] ^ t2[b >> 8 & 255] ^ t3[c & 255] ^ keys[at + 3],
            )
        s = _SBOX
        rows = ((a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c))
        out = (
            (s[w >> 24] << 24 | s[x >> 16 & 255] << 16 | s[y >> 8 & 255] << 8 | s[z & 255]) ^ key
            for (w, x, y, z), key in zip(rows, keys[-4:])
        )
        return struct.pack("!4I", *out)


def _xor(data: bytes, stream: bytes) -> bytes:
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream[:size], "big")).to_bytes(size, "big")


class AesGcm:
    """AES-GCM with nonces of 12 bytes."""

    def __init__(self, key: bytes) -> None:
        self._aes = Aes(key)
        # Powers of H times x**i, so that a multiplication is a sum over the bits that are set.
        h = int.from_bytes(self._aes.block(bytes(16)), "big")
        self._shifted = []
        for _bit in range(128):
            self._shifted.append(h)
            h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)

    def _hash(self, data: bytes) -> int:
        value, shifted = 0, self._shifted
        for at in range(0, len(data), 16):
            value ^= int.from_bytes(data[at : at + 16], "big")
            product = 0
            for bit in range(128):
                if value >> 127 - bit & 1:
                    product ^= shifted[bit]
            value = product
        return value

    def _stream(self, nonce: bytes, size: int) -> bytes:
        return b"".join(self._aes.block(nonce + struct.pack("!I", at)) for at in range(2, 2 + (size + 15) // 16))

    def _tag(self, nonce: bytes, sealed: bytes, extra: bytes) -> bytes:
        padded = b"".join(part + bytes(-len(part) % 16) for part in (extra, sealed))
        value = self._hash(padded + struct.pack("!QQ", len(extra) * 8, len(sealed) * 8))
        return _xor(value.to_bytes(16, "big"), self._aes.block(nonce + b"\0\0\0\1"))

    def seal(self, nonce: bytes, plain: bytes, extra: bytes) -> bytes:
        sealed = _xor(plain, self._stream(nonce, len(plain)))
        return sealed + self._tag(nonce, sealed, extra)

    def open(self, nonce: bytes, data: bytes, extra: bytes) -> bytes:
        sealed, tag = data[:-16], data[-16:]
        if tag != self._tag(nonce, sealed, extra):
            raise CryptoError("a tag that does not match")
        return _xor(sealed, self._stream(nonce, len(sealed)))


class ChaCha20Poly1305:
    """ChaCha20-Poly1305 with nonces of 12 bytes."""

    _ROUNDS = (
        (0, 4, 8, 12),
        (1, 5, 9, 13),
        (2, 6, 10, 14),
        (3, 7, 11, 15),
        (0, 5, 10, 15),
        (1, 6, 11, 12),
        (2, 7, 8, 13),
        (3, 4, 9, 14),
    )

    def __init__(self, key: bytes) -> None:
        self._key = struct.unpack("<8I", key)

    def _block(self, nonce: bytes, counter: int) -> bytes:
        start = struct.unpack("<4I", b"expand 32-byte k") + self._key + (counter,) + struct.unpack("<3I", nonce)
        x = list(start)
        mask = 0xFFFFFFFF
        for _round in range(10):
            for a, b, c, d in self._ROUNDS:
                xa, xb, xc, xd = x[a], x[b], x[c], x[d]
                xa = xa + xb & mask
                xd ^= xa
                xd = (xd << 16 | xd >> 16) & mask
                xc = xc + xd & mask
                xb ^= xc
                xb = (xb << 12 | xb >> 20) & mask
                xa = xa + xb & mask
                xd ^= xa
                xd = (xd << 8 | xd >> 24) & mask
                xc = xc + xd & mask
                xb ^= xc
                x[a], x[b], x[c], x[d] = xa, (xb << 7 | xb >> 25) & mask, xc, xd
        return struct.pack("<16I", *(value + first & mask for value, first in zip(x, start)))

    def _stream(self, nonce: bytes, size: int) -> bytes:
        return b"".join(self._block(nonce, counter) for counter in range(1, 1 + (size + 63) // 64))

    def _tag(self, nonce: bytes, sealed: bytes, extra: bytes) -> bytes:
        key = self._block(nonce, 0)
        r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
        data = b"".join(part + bytes(-len(part) % 16) for part in (extra, sealed))
        data += struct.pack("<QQ", len(extra), len(sealed))
        value = 0
        for at in range(0, len(data), 16):
            value = (value + int.from_bytes(data[at : at + 16], "little") + (1 << 128)) * r % ((1 << 130) - 5)
        return (value + int.from_bytes(key[16:32], "little") & (1 << 128) - 1).to_bytes(16, "little")

    def seal(self, nonce: bytes, plain: bytes, extra: bytes) -> bytes:
        sealed = _xor(plain, self._stream(nonce, len(plain)))
        return sealed + self._tag(nonce, sealed, extra)

    def open(self, nonce: bytes, data: bytes, extra: bytes) -> bytes:
        sealed, tag = data[:-16], data[-16:]
        if tag != self._tag(nonce, sealed, extra):
            raise CryptoError("a tag that does not match")
        return _xor(sealed, self._stream(nonce, len(sealed)))


Aead = t.Union[AesGcm, ChaCha20Poly1305]


class Cipher(t.NamedTuple):
    """How a suite protects: the AEAD, bytes of its key, the digest, bytes of the fixed part of the TLS 1.2 nonce, and
    the AEAD's name in the library."""

    aead: t.Callable[[bytes], Aead]
    key_size: int
    digest: str
    fixed: int
    name: str


_CHACHA = Cipher(ChaCha20Poly1305, 32, "sha256", 12, "chacha20_poly1305")
_AES128 = Cipher(AesGcm, 16, "sha256", 4, "aes_128_gcm")
_AES256 = Cipher(AesGcm, 32, "sha384", 4, "aes_256_gcm")
# The suites that this code can speak, in the order in which it offers them: the cheapest here first.
CIPHERS12 = {0xCCA8: _CHACHA, 0xCCA9: _CHACHA, 0xC02F: _AES128, 0xC02B: _AES128, 0xC030: _AES256, 0xC02C: _AES256}
CIPHERS13 = {0x1303: _CHACHA, 0x1301: _AES128, 0x1302: _AES256}


def _hmac(digest: str, key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, digest).digest()


# TLS 1.2


def prf(digest: str, secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """The pseudorandom function of TLS 1.2."""
    seed = label + seed
    block, out = seed, b""
    while len(out) < size:
        block = _hmac(digest, secret, block)
        out += _hmac(digest, secret, block + seed)
    return out[:size]


class Writer12:
    """Protects what the client sends over a TLS 1.2 connection, from the two randoms and the premaster secret on."""

    def __init__(self, cipher: Cipher, premaster: bytes, client_random: bytes, server_random: bytes) -> None:
        self._cipher = cipher
        self._master = prf(cipher.digest, premaster, b"master secret", client_random + server_random, 48)
        size = 2 * (cipher.key_size + cipher.fixed)
        keys = prf(cipher.digest, self._master, b"key expansion", server_random + client_random, size)
        self._aead = cipher.aead(keys[: cipher.key_size])
        start = 2 * cipher.key_size
        self._fixed = keys[start : start + cipher.fixed]
        self._sequence = 0

    def verify_data(self, transcript: bytes) -> bytes:
        """The content of the client's Finished."""
        digest = hashlib.new(self._cipher.digest, transcript).digest()
        return prf(self._cipher.digest, self._master, b"client finished", digest, 12)

    def protect(self, content_type: int, plain: bytes) -> bytes:
        """One record."""
        sequence = struct.pack("!Q", self._sequence)
        self._sequence += 1
        extra = sequence + struct.pack("!BHH", content_type, 0x0303, len(plain))
        if len(self._fixed) == 12:
            sealed = self._aead.seal(_xor(self._fixed, bytes(4) + sequence), plain, extra)
        else:
            sealed = sequence + self._aead.seal(self._fixed + sequence, plain, extra)
        return struct.pack("!BHH", content_type, 0x0303, len(sealed)) + sealed


# TLS 1.3


def _expand_label(digest: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    full = b"tls13 " + label
    info = struct.pack("!HB", size, len(full)) + full + bytes([len(context)]) + context
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = _hmac(digest, secret, block + info + bytes([counter]))
        out += block
        counter += 1
    return out[:size]


class Reader13:
    """Opens what a server sends under its handshake keys: C(shared) secret, transcript ClientHello to ServerHello."""

    def __init__(self, cipher: Cipher, shared: bytes, transcript: bytes) -> None:
        digest = cipher.digest
        size = hashlib.new(digest).digest_size
        early = _hmac(digest, bytes(size), bytes(size))
        derived = _expand_label(digest, early, b"derived", hashlib.new(digest).digest(), size)
        secret = _hmac(digest, derived, shared)
        traffic = _expand_label(digest, secret, b"s hs traffic", hashlib.new(digest, transcript).digest(), size)
        self._cipher = cipher
        self._key = _expand_label(digest, traffic, b"key", b"", cipher.key_size)
        self._iv = _expand_label(digest, traffic, b"iv", b"", 12)
        self._sequence = 0

    def open(self, header: bytes, payload: bytes) -> tuple[int, bytes]:
        """Content type and content of one protected record."""
        nonce = _xor(self._iv, bytes(4) + struct.pack("!Q", self._sequence))
        self._sequence += 1
        plain = self._unseal(nonce, payload, header).rstrip(b"\0")
        if not plain:
            raise CryptoError("a protected record without content")
        return plain[-1], plain[:-1]

    def _unseal(self, nonce: bytes, payload: bytes, header: bytes) -> bytes:
        if libcrypto.available():
            plain = libcrypto.unseal(self._cipher.name, self._key, nonce, payload[:-16], payload[-16:], header)
            if plain is not None:
                return plain
        return self._cipher.aead(self._key).open(nonce, payload, header)

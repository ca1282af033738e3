# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The OpenSSL that this Python uses, as a library: it verifies certificate chains and does what is slow in Python.

C(ssl) can only verify the chain of a connection that it made itself. The same library, by its own interface, verifies
certificates however they were received. Each call leaves the thread's queue of errors empty, so that C(ssl) notices
nothing. L(LIBRARY) is None where no such library can be loaded; then nothing here can be used but L(available).

X509_STORE_CTX_new(3), X509_verify_cert(3), EVP_PKEY_derive(3), EVP_DecryptInit(3); all functions are there since 1.1.0.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import ssl
import sys
import typing as t
import weakref

_POINTER, _INT, _LONG, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
_PROTOTYPES: dict[str, tuple[t.Any, tuple[t.Any, ...]]] = {
    "ERR_clear_error": (None, ()),
    "OPENSSL_sk_new_null": (_POINTER, ()),
    "OPENSSL_sk_push": (_INT, (_POINTER, _POINTER)),
    "OPENSSL_sk_num": (_INT, (_POINTER,)),
    "OPENSSL_sk_value": (_POINTER, (_POINTER, _INT)),
    "OPENSSL_sk_free": (None, (_POINTER,)),
    "d2i_X509": (_POINTER, (_POINTER, _POINTER, _LONG)),
    "i2d_X509": (_INT, (_POINTER, _POINTER)),
    "X509_free": (None, (_POINTER,)),
    "d2i_X509_CRL": (_POINTER, (_POINTER, _POINTER, _LONG)),
    "X509_CRL_free": (None, (_POINTER,)),
    "X509_STORE_new": (_POINTER, ()),
    "X509_STORE_free": (None, (_POINTER,)),
    "X509_STORE_add_cert": (_INT, (_POINTER, _POINTER)),
    "X509_STORE_add_crl": (_INT, (_POINTER, _POINTER)),
    "X509_STORE_set_default_paths": (_INT, (_POINTER,)),
    "X509_STORE_load_locations": (_INT, (_POINTER, _TEXT, _TEXT)),
    "X509_STORE_set_flags": (_INT, (_POINTER, ctypes.c_ulong)),
    "X509_STORE_CTX_new": (_POINTER, ()),
    "X509_STORE_CTX_free": (None, (_POINTER,)),
    "X509_STORE_CTX_init": (_INT, (_POINTER, _POINTER, _POINTER, _POINTER)),
    "X509_STORE_CTX_set_default": (_INT, (_POINTER, _TEXT)),
    "X509_STORE_CTX_get0_param": (_POINTER, (_POINTER,)),
    "X509_VERIFY_PARAM_set_auth_level": (None, (_POINTER, _INT)),
    "X509_verify_cert": (_INT, (_POINTER,)),
    "X509_STORE_CTX_get_error": (_INT, (_POINTER,)),
    "X509_STORE_CTX_get0_chain": (_POINTER, (_POINTER,)),
    "X509_verify_cert_error_string": (_TEXT, (_LONG,)),
    "d2i_AutoPrivateKey": (_POINTER, (_POINTER, _POINTER, _LONG)),
    "d2i_PUBKEY": (_POINTER, (_POINTER, _POINTER, _LONG)),
    "EVP_PKEY_free": (None, (_POINTER,)),
    "EVP_PKEY_CTX_new": (_POINTER, (_POINTER, _POINTER)),
    "EVP_PKEY_CTX_free": (None, (_POINTER,)),
    "EVP_PKEY_derive_init": (_INT, (_POINTER,)),
    "EVP_PKEY_derive_set_peer": (_INT, (_POINTER, _POINTER)),
    "EVP_PKEY_derive": (_INT, (_POINTER, _POINTER, _POINTER)),
    "EVP_aes_128_gcm": (_POINTER, ()),
    "EVP_aes_256_gcm": (_POINTER, ()),
    "EVP_chacha20_poly1305": (_POINTER, ()),
    "EVP_CIPHER_CTX_new": (_POINTER, ()),
    "EVP_CIPHER_CTX_free": (None, (_POINTER,)),
    "EVP_CIPHER_CTX_ctrl": (_INT, (_POINTER, _INT, _INT, _POINTER)),
    "EVP_DecryptInit_ex": (_INT, (_POINTER, _POINTER, _POINTER, _TEXT, _TEXT)),
    "EVP_DecryptUpdate": (_INT, (_POINTER, _POINTER, _POINTER, _TEXT, _INT)),
    "EVP_DecryptFinal_ex": (_INT, (_POINTER, _POINTER, _POINTER)),
}
_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: an intermediate authority may be the anchor
_CRL_CHECK = 0x4  # X509_V_FLAG_CRL_CHECK: of the first certificate
_SET_TAG = 0x11  # EVP_CTRL_AEAD_SET_TAG


def _candidates() -> t.Iterator[str | None]:
    """Where the functions may be found: what Python's own module is linked to, Python itself, and the system's."""
    import _ssl

    if getattr(_ssl, "__file__", None):
        yield _ssl.__file__
    yield None
    if sys.platform.startswith("linux"):
        yield ctypes.util.find_library("crypto")


def _load() -> t.Any:
    for path in _candidates():
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)
            for name, (result, arguments) in _PROTOTYPES.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
            return library
    return None


LIBRARY = _load()


def available() -> bool:
    return LIBRARY is not None


@contextlib.contextmanager
def _cleaning() -> t.Iterator[contextlib.ExitStack]:
    """What is pushed on the stack is freed in the end, and the queue of errors emptied."""
    with contextlib.ExitStack() as stack:
        stack.callback(LIBRARY.ERR_clear_error)
        yield stack


def _parsed(function: str, data: bytes) -> t.Any:
    """The result of a d2i function; None if it cannot read the data."""
    buffer = ctypes.create_string_buffer(data, len(data))
    at = ctypes.c_void_p(ctypes.addressof(buffer))
    return getattr(LIBRARY, function)(None, ctypes.byref(at), len(data))


def _encoded(certificate: t.Any) -> bytes:
    size = LIBRARY.i2d_X509(certificate, None)
    buffer = ctypes.create_string_buffer(max(size, 0))
    at = ctypes.c_void_p(ctypes.addressof(buffer))
    LIBRARY.i2d_X509(certificate, ctypes.byref(at))
    return buffer.raw


class Verdict(t.NamedTuple):
    """OpenSSL's C(code) (0: trusted), its C(reason), and the C(path) (DER) that it chose, as far as it came."""

    code: int
    reason: str | None
    path: list[bytes]


_UNREADABLE = Verdict(1, "OpenSSL cannot read the certificate", [])  # X509_V_ERR_UNSPECIFIED


class Store:
    """Trusted authorities: those of this system, and those in C(ca_file) (PEM)."""

    def __init__(self, ca_file: str | None = None) -> None:
        self._store = LIBRARY.X509_STORE_new()
        weakref.finalize(self, LIBRARY.X509_STORE_free, self._store)
        with _cleaning():
            LIBRARY.X509_STORE_set_default_paths(self._store)
            if ca_file is not None and LIBRARY.X509_STORE_load_locations(self._store, ca_file.encode(), None) != 1:
                raise ssl.SSLError(f"no certificate could be read from {ca_file}")
            LIBRARY.X509_STORE_set_flags(self._store, _PARTIAL_CHAIN)

    def verify(self, leaf: bytes, others: t.Sequence[bytes]) -> Verdict:
        """Verify a server's certificate, with others that may be needed on the way up.

        The strength of keys and digests is for the grade to judge; here only the chain counts.
        """
        with _cleaning() as stack:
            pile = LIBRARY.OPENSSL_sk_new_null()
            stack.callback(LIBRARY.OPENSSL_sk_free, pile)
            for der in others:
                other = _parsed("d2i_X509", der)
                if other:
                    stack.callback(LIBRARY.X509_free, other)
                    LIBRARY.OPENSSL_sk_push(pile, other)
            subject = _parsed("d2i_X509", leaf)
            if not subject:
                return _UNREADABLE
            stack.callback(LIBRARY.X509_free, subject)
            context = LIBRARY.X509_STORE_CTX_new()
            stack.callback(LIBRARY.X509_STORE_CTX_free, context)
            if LIBRARY.X509_STORE_CTX_init(context, self._store, subject, pile) != 1:
                return _UNREADABLE
            LIBRARY.X509_STORE_CTX_set_default(context, b"ssl_server")
            LIBRARY.X509_VERIFY_PARAM_set_auth_level(LIBRARY.X509_STORE_CTX_get0_param(context), 0)
            code, reason = _verdict(context)
            chain = LIBRARY.X509_STORE_CTX_get0_chain(context)
            size = LIBRARY.OPENSSL_sk_num(chain) if chain else 0
            return Verdict(
                code, reason, [_encoded(LIBRARY.OPENSSL_sk_value(chain, number)) for number in range(max(size, 0))]
            )


def check_crl(crl: bytes, leaf: bytes, issuer: bytes) -> Verdict:
    """Whether an issuer has revoked a certificate, by its CRL: that it is this issuer's, current and for such
    certificates is a part of it (RFC 5280, 6.3). The codes are those of X509_STORE_CTX_get_error(3).
    """
    with _cleaning() as stack:
        store = LIBRARY.X509_STORE_new()
        stack.callback(LIBRARY.X509_STORE_free, store)
        revoked = _parsed("d2i_X509_CRL", crl)
        if not revoked:
            return Verdict(1, "OpenSSL cannot read the CRL", [])
        stack.callback(LIBRARY.X509_CRL_free, revoked)
        certificates = [_parsed("d2i_X509", der) for der in (leaf, issuer)]
        for certificate in filter(None, certificates):
            stack.callback(LIBRARY.X509_free, certificate)
        if not all(certificates):
            return _UNREADABLE
        LIBRARY.X509_STORE_add_cert(store, certificates[1])
        LIBRARY.X509_STORE_add_crl(store, revoked)
        LIBRARY.X509_STORE_set_flags(store, _PARTIAL_CHAIN | _CRL_CHECK)
        context = LIBRARY.X509_STORE_CTX_new()
        stack.callback(LIBRARY.X509_STORE_CTX_free, context)
        if LIBRARY.X509_STORE_CTX_init(context, store, certificates[0], None) != 1:
            return _UNREADABLE
        LIBRARY.X509_VERIFY_PARAM_set_auth_level(LIBRARY.X509_STORE_CTX_get0_param(context), 0)
        code, reason = _verdict(context)
        return Verdict(code, reason, [])


def _verdict(context: t.Any) -> tuple[int, str | None]:
    """OpenSSL's code for the verification that was set up, and its reason."""
    trusted = LIBRARY.X509_verify_cert(context) == 1
    # A verification that could not even begin has no code of its own.
    code = 0 if trusted else LIBRARY.X509_STORE_CTX_get_error(context) or 1
    return code, None if trusted else LIBRARY.X509_verify_cert_error_string(code).decode("ascii", "replace")


@functools.lru_cache(maxsize=None)
def _private_key(data: bytes) -> t.Any:
    """Decoded once and kept: a process has one key of each group, and decoding takes as long as agreeing."""
    return _parsed("d2i_AutoPrivateKey", data)


def agree(private: bytes, public: bytes, size: int) -> bytes | None:
    """The secret of C(size) bytes that two keys share, given as DER; None if the other's key makes no sense."""
    with _cleaning() as stack:
        own, peer = _private_key(private), _parsed("d2i_PUBKEY", public)
        if peer:
            stack.callback(LIBRARY.EVP_PKEY_free, peer)
        if not own or not peer:
            return None
        context = LIBRARY.EVP_PKEY_CTX_new(own, None)
        stack.callback(LIBRARY.EVP_PKEY_CTX_free, context)
        secret, length = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
        if (
            LIBRARY.EVP_PKEY_derive_init(context) == 1
            and LIBRARY.EVP_PKEY_derive_set_peer(context, peer) == 1
            and LIBRARY.EVP_PKEY_derive(context, secret, ctypes.byref(length)) == 1
        ):
            return secret.raw[: length.value]
        return None


def unseal(cipher: str, key: bytes, nonce: bytes, sealed: bytes, tag: bytes, extra: bytes) -> bytes | None:
    """What an AEAD (C(aes_128_gcm), C(aes_256_gcm), C(chacha20_poly1305)) protects; None if the tag does not match."""
    with _cleaning() as stack:
        context = LIBRARY.EVP_CIPHER_CTX_new()
        stack.callback(LIBRARY.EVP_CIPHER_CTX_free, context)
        plain, size = ctypes.create_string_buffer(len(sealed) + 16), ctypes.c_int()
        good = (
            LIBRARY.EVP_DecryptInit_ex(context, getattr(LIBRARY, "EVP_" + cipher)(), None, key, nonce) == 1
            and LIBRARY.EVP_DecryptUpdate(context, None, ctypes.byref(size), extra, len(extra)) == 1
            and LIBRARY.EVP_DecryptUpdate(context, plain, ctypes.byref(size), sealed, len(sealed)) == 1
            and LIBRARY.EVP_CIPHER_CTX_ctrl(context, _SET_TAG, len(tag), ctypes.create_string_buffer(tag, len(tag)))
            == 1
            and LIBRARY.EVP_DecryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(size)) == 1
        )
        return plain.raw[: len(sealed)] if good else None

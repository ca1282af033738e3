# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Tests which groups, cipher suites and cipher strings the libssl that a web server is linked to accepts.

Versions do not show that: distributions patch and configure their OpenSSL. The library is loaded into this process with
its symbols kept to itself, every test gets a context of its own, and the error queue is left empty, so that Python's
own use of an OpenSSL notices nothing. Sources: SSL_CTX_set1_groups_list(3), SSL_CTX_set_cipher_list(3), ssl.h.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model

_SET_GROUPS_LIST = 92  # SSL_CTRL_SET_GROUPS_LIST

# The TLS groups that a policy may name: their name in the IANA registry, and the one that every OpenSSL from 1.1.1 on
# takes if it has the group.
GROUPS = {
    "X25519MLKEM768": "X25519MLKEM768",
    "SecP256r1MLKEM768": "SecP256r1MLKEM768",
    "SecP384r1MLKEM1024": "SecP384r1MLKEM1024",
    "x25519": "X25519",
    "x448": "X448",
    "secp256r1": "prime256v1",
    "secp384r1": "secp384r1",
    "secp521r1": "secp521r1",
    "ffdhe2048": "ffdhe2048",
    "ffdhe3072": "ffdhe3072",
}


# Suites with forward secrecy and authenticated encryption: IANA's name and OpenSSL's. Those of TLS 1.3 have one name.
SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
SUITES13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


class OpenSSL:
    """One libssl. Every test returns None when the library cannot be used."""

    def __init__(self, version: str | None, library: ctypes.CDLL | None) -> None:
        self.version = version  # such as 3.5.9; None: not known
        self._library = library

    def _try(self, function: str, *arguments: t.Any) -> bool | None:
        library = self._library
        call = getattr(library, function, None)
        if library is None or call is None:
            return None
        context = library.SSL_CTX_new(library.TLS_method())
        if not context:
            return None
        try:
            call.restype = ctypes.c_long if function == "SSL_CTX_ctrl" else ctypes.c_int
            return bool(call(ctypes.c_void_p(context), *arguments) == 1)
        finally:
            library.SSL_CTX_free(ctypes.c_void_p(context))
            library.ERR_clear_error()

    def groups_ok(self, text: str) -> bool | None:
        """Whether the library takes a list of groups as it stands in ssl_ecdh_curve or SSLOpenSSLConfCmd Curves."""
        return self._try("SSL_CTX_ctrl", _SET_GROUPS_LIST, ctypes.c_long(0), ctypes.c_char_p(text.encode()))

    def cipher_string_ok(self, text: str) -> bool | None:
        """Whether a cipher string selects at least one suite for TLS 1.2 and older."""
        return self._try("SSL_CTX_set_cipher_list", ctypes.c_char_p(text.encode()))

    def ciphersuites_ok(self, text: str) -> bool | None:
        """Whether every name in a list of TLS 1.3 suites is known."""
        return self._try("SSL_CTX_set_ciphersuites", ctypes.c_char_p(text.encode()))

    def ciphersuites(self, candidates: t.Iterable[str]) -> list[str] | None:
        """Those of the candidates, suites of TLS 1.3, that the library can use.

        It takes every name that it knows, also that of a suite whose parts no provider has, as in FIPS mode. What is
        left of them is in the list of the context.
        """
        library = self._library
        if library is None:
            return None
        known = [name for name in candidates if self.ciphersuites_ok(name)]
        context = ctypes.c_void_p(library.SSL_CTX_new(library.TLS_method())) if known else None
        if not context:
            return []
        try:
            library.SSL_CTX_set_ciphersuites(context, ctypes.c_char_p(":".join(known).encode()))
            library.SSL_CTX_get_ciphers.restype = library.OPENSSL_sk_value.restype = ctypes.c_void_p
            library.SSL_CIPHER_get_name.restype = ctypes.c_char_p
            ciphers = ctypes.c_void_p(library.SSL_CTX_get_ciphers(context))
            places = range(library.OPENSSL_sk_num(ciphers))
            listed = [ctypes.c_void_p(library.OPENSSL_sk_value(ciphers, place)) for place in places]
            usable = {library.SSL_CIPHER_get_name(cipher).decode() for cipher in listed}
        finally:
            library.SSL_CTX_free(context)
            library.ERR_clear_error()
        return [name for name in known if name in usable]

    def groups(self, candidates: t.Iterable[str]) -> list[str] | None:
        """Those of the candidates, by OpenSSL's names, that the library knows."""
        candidates = list(candidates)
        if self._library is None:
            return None
        return [name for name in candidates if self.groups_ok(name)]


def _linked(path: str) -> str | None:
    """The path of the libssl that the dynamic linker gives to a program or shared object."""
    try:
        result = _programs.run(["ldd", path], 10, errors=_programs.DROPPED)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"libssl\.so\S* => (/\S+)", _webserver_model.decode(result.stdout))
    return match.group(1) if match else None


def _built_in(path: str) -> str | None:
    """The version of an OpenSSL that was linked into the program itself."""
    try:
        with open(path, "rb") as handle:
            match = re.search(rb"OpenSSL (\d+\.\d+\.\d+[a-z]*) +\d+ [A-Z][a-z]{2} \d{4}", handle.read())
    except OSError:
        return None
    return match.group(1).decode() if match else None


def for_binary(path: str) -> OpenSSL | None:
    """The OpenSSL of a server's binary (nginx) or TLS module (Apache's mod_ssl.so); None where none can be found.

    A library that was linked in statically can be named but not tested.
    """
    linked = _linked(path) if os.path.exists(path) else None
    if linked is None:
        version = _built_in(path)
        return OpenSSL(version, None) if version else None
    try:
        library = ctypes.CDLL(linked, mode=os.RTLD_LOCAL | os.RTLD_NOW)
        library.TLS_method.restype = library.SSL_CTX_new.restype = ctypes.c_void_p
        library.SSL_CTX_new.argtypes = [ctypes.c_void_p]
        library.OpenSSL_version.restype = ctypes.c_char_p
    except (OSError, AttributeError):  # not loadable here, or older than 1.1.0
        return OpenSSL(None, None)
    parts = library.OpenSSL_version(0).decode("ascii", "replace").split()
    return OpenSSL(parts[1] if len(parts) > 1 else None, library)

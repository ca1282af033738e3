# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""A certificate that nobody has signed, made by the host's openssl(1): for a lab, or until a CA has issued one."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils import _certificate_deploy, _x509
from ansible_collections.kopano.hardening.plugins.module_utils._parse_error import ParseError

OPENSSL_TIMEOUT = 60
COMMON_NAME_MAX = 64  # RFC 5280, upper bounds; clients look at the alternative names only

_CONFIG = """[req]
distinguished_name = subject
x509_extensions = extensions
prompt = no
utf8 = yes
[subject]
CN = {name}
[extensions]
subjectAltName = {names}
subjectKeyIdentifier = hash
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
"""


# What openssl(1) makes a key with, by its kind; and the kind as a certificate has it.
KEYS = {
    "ecdsa": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-pkeyopt", "ec_param_enc:named_curve"],
    "rsa": ["rsa:3072"],
}
KINDS = {"ecdsa": "EC", "rsa": "RSA"}


def make(names: t.Sequence[str], days: int, key_type: str = "ecdsa") -> tuple[str, str]:
    """A new key and its certificate for the names: (chain, key) as PEM texts. Raises ValueError."""
    name = next((name for name in names if len(name) <= COMMON_NAME_MAX), "kopano-hardening")
    with tempfile.TemporaryDirectory(prefix="kopano-hardening-") as folder:
        paths = [os.path.join(folder, part) for part in ("config", "key", "certificate")]
        with open(paths[0], "w") as stream:
            stream.write(_CONFIG.format(name=name, names=", ".join(f"DNS:{name}" for name in names)))
        command = ["openssl", "req", "-x509", "-new", "-sha256", "-nodes", "-batch", "-config", paths[0]]
        command += ["-newkey", *KEYS[key_type], "-days", str(days), "-keyout", paths[1], "-out", paths[2]]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=OPENSSL_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"openssl cannot make a certificate: {error}") from error
        if done.returncode:
            raise ValueError(
                "openssl cannot make a certificate: {}".format(done.stdout.decode("utf-8", "replace").strip())
            )
        with open(paths[1]) as key, open(paths[2]) as chain:
            return chain.read(), key.read()


def why_not(path: str, key_path: str, names: t.Iterable[str], own: bool, key_type: str = "ecdsa") -> str | None:
    """Why what lies there cannot go on being used, or None.

    own: it has to be self-signed and for just these names; else any certificate with its key will do that is not over.
    """
    try:
        with open(path, encoding="ascii") as stream:
            found = _certificate_deploy.PEM.search(stream.read())
        if not found:
            return f"{path} is no PEM certificate"
        certificate = _x509.read_certificate(ssl.PEM_cert_to_DER_cert(found.group()))
        # It reads the key, and compares the two.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key_path, password=lambda: b"")
    except FileNotFoundError as error:
        return f"{error.filename or path} is not there"
    except (OSError, ValueError, ParseError) as error:
        # OpenSSL's own words for two that do not belong together, among others.
        return f"{path} and {key_path}: {getattr(error, 'strerror', None) or error}"
    now, lifetime = time.time(), certificate.not_after - certificate.not_before
    if not certificate.not_before <= now < certificate.not_after:
        return f"{path} is not valid now"
    if certificate.key.type != KINDS[key_type]:
        return f"{path} has a key of the kind {certificate.key.type}"
    if own:
        if not certificate.self_signed:
            return f"{path} is not self-signed"
        if sorted(map(str.lower, certificate.dns_names)) != sorted(map(str.lower, names)):
            return f"{path} is for {' '.join(certificate.dns_names) or 'no names'}"
        if certificate.not_after - now < lifetime / 3:
            return f"{path} is in its last third"
    return None

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""A self-signed certificate, made by the host's openssl(1): for a lab, or until a CA has issued one."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import Pair
from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

OPENSSL_TIMEOUT = 60
COMMON_NAME_MAX = 64  # RFC 5280, upper bounds; clients use the alternative names only

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
            done = _programs.run(command, OPENSSL_TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"openssl cannot make a certificate: {error}") from error
        if done.returncode:
            raise ValueError(
                "openssl cannot make a certificate: {}".format(done.stdout.decode("utf-8", "replace").strip())
            )
        with open(paths[1]) as key, open(paths[2]) as chain:
            return chain.read(), key.read()


def why_not(path: str, key_path: str, names: t.Iterable[str], own: bool, key_type: str = "ecdsa") -> str | None:
    """Why what is there cannot be used any longer, or None. Raises OSError where it cannot be read.

    own: it has to be self-signed, with this kind of key, and for just these names. Otherwise anything will do that a
    client can use, and so does what cannot be judged here, such as a key whose password only the web server has.
    """
    try:
        chain, key = map(_read, (path, key_path))
    except FileNotFoundError as error:
        return f"{error.filename} is not there"
    found = _checks.defect(chain, key, time.time())
    if found and (own or found.sure):
        # OpenSSL's own report for two that do not belong together, among others.
        return f"{path} and {key_path}: {found.message}"
    return _not_own(path, chain, names, key_type) if own else None


def _not_own(path: str, chain: bytes, names: t.Iterable[str], key_type: str) -> str | None:
    certificate = _checks.first(chain)
    if certificate is None:
        return f"{path} cannot be read as a certificate"
    if certificate.key.type != KINDS[key_type]:
        return f"{path} has a key of the kind {certificate.key.type}"
    if not certificate.self_signed:
        return f"{path} is not self-signed"
    if sorted(map(str.lower, certificate.dns_names)) != sorted(map(str.lower, names)):
        return f"{path} is for {' '.join(certificate.dns_names) or 'no names'}"
    if certificate.not_after - time.time() < (certificate.not_after - certificate.not_before) / 3:
        return f"{path} is in its last third"
    return None


MOST = 4 << 20  # bytes of a certificate, or of a key


def _read(path: str) -> bytes:
    return _regular.read(path, MOST, foreign_links=True)


# --- in place of one that is ordered ---------------------------------------------------------------------------------


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Place(t.TypedDict):  # novm
        """Where a chain and its key belong, and the kind of key, one of C(KEYS)."""

        path: str
        key_path: str
        key_type: str

    class Properties(t.TypedDict):  # novm
        """What a certificate is to be like, and whether any that works will do until one is ordered (C(bootstrap))."""

        names: list[str]
        days: int
        bootstrap: bool

else:
    Place = Properties = t.Dict[str, t.Any]


class Chosen(t.NamedTuple):
    """The pairs that are to be there, why some of them had to be made, and warnings about others."""

    pairs: list[Pair]
    reasons: list[str]
    warnings: list[str]


def choose(entries: t.Sequence[Place], properties: Properties, server: str) -> Chosen:
    """What is there if it will do, else a new pair.

    server: as web_config's option. Raises ValueError, OSError.
    """
    reasons: list[str] = []
    warnings: list[str] = []
    found = [_there(entry, properties, server, reasons, warnings) for entry in entries]
    # A server uses the newer kind of key with a client that supports both. So one that no client trusts must not be
    # beside one that works: until it has its own, its place gets the same.
    model = next((pair for pair in found if pair and pair.stays and pair.key), None)
    pairs = [pair or _new(entry, properties, model) for entry, pair in zip(entries, found)]
    return Chosen(pairs, reasons, warnings)


def _there(entry: Place, properties: Properties, server: str, reasons: list[str], warnings: list[str]) -> Pair | None:
    """The pair that is there, if it is to be used, else None, with the reason added."""
    path, key_path, bootstrap = entry["path"], entry["key_path"], properties["bootstrap"]
    why = why_not(path, key_path, properties["names"], not bootstrap, entry["key_type"])
    if why is None:
        chain, key = (_read(one).decode("utf-8", "surrogateescape") for one in (path, key_path))
        return Pair(path, key_path, chain, key, stays=bootstrap)
    if bootstrap and _is_in_memory(path, server):
        warnings.append(
            f"{why}. The running web server still serves what it has read before, so nothing is replaced until the "
            "ordered certificate is there; until then it would not start again"
        )
        return Pair(path, key_path, "", "", stays=True)
    reasons.append(why)
    return None


def _is_in_memory(path: str, server: str) -> bool:
    """Whether a running server serves something that files no longer have, and that is not known to have expired."""
    try:
        certificate = _checks.first(_read(path))
    except (OSError, ParseError):
        certificate = None
    expired = certificate and not _checks.is_valid(certificate, time.time())
    return bool(_deploy.served_from(path, server) - {certificate.sha256 if certificate and expired else ""})


def _new(entry: Place, properties: Properties, model: Pair | None) -> Pair:
    made = (model.chain, model.key) if model else make(properties["names"], properties["days"], entry["key_type"])
    return Pair(entry["path"], entry["key_path"], *made)

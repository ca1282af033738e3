# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a host has decided about cryptography for all of its programs: Red Hat's system-wide policy, and FIPS mode.

C(update-crypto-policies --set NAME) writes the policy's settings for OpenSSL, which openssl.cnf includes. The OpenSSL
of these distributions replaces the cipher string C(PROFILE=SYSTEM) by the policy's; any other OpenSSL refuses it.
Sources: update-crypto-policies(8), crypto-policies(7), SSL_CONF_cmd(3).
"""

from __future__ import annotations

import os
import re
import typing as t

SYSTEM = "PROFILE=SYSTEM"

# The policy that was applied last, and the one that is to be applied; both have comments.
_NAMES = ("etc/crypto-policies/state/current", "etc/crypto-policies/config")
SETTINGS = "/etc/crypto-policies/back-ends/opensslcnf.config"
_FIPS = "proc/sys/crypto/fips_enabled"
# Since version 8.5 Red Hat's policies name the kind of TLS (TLS or DTLS) that the oldest protocol is of.
_OLDEST = re.compile(r"[ \t]*(?:TLS\.)?MinProtocol[ \t]*=[ \t]*(\S+)")
_PROTOCOLS = {"TLSv1": "TLSv1.0"}


class CryptoPolicy(t.NamedTuple):
    """The policy of a host. oldest: the oldest protocol of TLS that it allows, None if not known; line: the
    line of SETTINGS that sets it."""

    name: str  # such as DEFAULT or DEFAULT:NO-SHA1; empty if not known
    oldest: str | None
    line: int


def _read(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path.lstrip("/")), encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def read(root: str = "/") -> CryptoPolicy | None:
    """The policy of a host; None where no settings for OpenSSL were made of one."""
    text = _read(root, SETTINGS)
    if not text:
        return None
    named = [line for path in _NAMES for line in _read(root, path).splitlines() if re.match(r"[A-Z]", line)]
    found = [(match.group(1), number) for number, match in enumerate(map(_OLDEST.match, text.split("\n")), 1) if match]
    oldest, line = found[-1] if found else (None, 1)
    return CryptoPolicy(named[0].strip() if named else "", _PROTOCOLS.get(oldest or "", oldest), line)


def is_fips(root: str = "/") -> bool:
    """Whether the kernel demands FIPS mode of all programs."""
    return _read(root, _FIPS).strip() == "1"


def is_system(cipher_string: str) -> bool:
    """Whether a cipher string is that of the host's policy, maybe with additions."""
    return cipher_string.startswith(SYSTEM)

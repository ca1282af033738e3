# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Is an RSA key one of those that Debian's OpenSSL of 2006 to 2008 could only make (CVE-2008-0166)?

The published lists are no longer part of the distributions. Where they lie in their old place, or in one that an
administrator has put them, they decide: a line is the second half of the SHA-1 of C(Modulus=HEX) with a line feed, as
C(openssl rsa -modulus) prints it.
"""

from __future__ import annotations

import functools
import hashlib
import os

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

FOLDER = "/usr/share/openssl-blacklist"
# A list of one size has a hundred thousand keys; a file that is much longer is none.
MAX_BYTES = 64 * 1024 * 1024


@functools.lru_cache(maxsize=8)
def _listed(path: str) -> frozenset[str]:
    with open(path, "rb") as stream:
        lines = stream.read(MAX_BYTES).decode("latin-1").split("\n")
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def is_listed(key: x509.Key, folder: str | None = None) -> bool | None:
    """Whether the key is on the list of its size; None if there is no such list here."""
    path = os.path.join(folder or FOLDER, f"blacklist.RSA-{key.bits}")
    try:
        known = _listed(path)
    except OSError:
        return None
    # SHA-1 is what the lists are made of.
    digest = hashlib.sha1(b"Modulus=%X\n" % (key.modulus or 0)).hexdigest()  # noqa: S324
    return digest[20:] in known if known else None

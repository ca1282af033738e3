# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Fetches an intermediate certificate from the address that another certificate names (RFC 5280, 4.2.2.1).

What comes back is only ever an intermediate and no anchor. For where it may come from see C(_tls.fetch).
"""

from __future__ import annotations

import re
import ssl

from ansible_collections.kopano.hardening.plugins.module_utils._tls import fetch as _fetch
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

SECONDS = 3.0
MAX_SIZE = 64 * 1024


def fetch(url: str, endpoint: str, seconds: float) -> list[bytes]:
    """The certificates (DER) at C(url), for the endpoint at this address. Raises L(_fetch.NotFetched)."""
    try:
        return read(_fetch.fetch(url, endpoint, min(seconds, SECONDS), MAX_SIZE))
    except ParseError as error:
        raise _fetch.NotFetched(str(error)) from None


_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def read(data: bytes) -> list[bytes]:
    """The certificates in a DER or PEM file, or a PKCS #7 container (RFC 5280, 4.2.2.1). Raises L(ParseError)."""
    if _PEM.search(data):
        try:
            return [ssl.PEM_cert_to_DER_cert(found.decode("ascii")) for found in _PEM.findall(data)]
        except ValueError:
            raise ParseError("certificate: PEM that is not base64") from None
    whole = x509.Der(data).node(0x30)
    content = x509.Der(whole.body)
    if not whole.body.startswith(_SIGNED_DATA):
        return [whole.raw]
    content.node()
    signed = x509.Der(x509.Der(content.node(0xA0).body).node(0x30).body)
    for _field in ("version", "digest algorithms", "content"):
        signed.node()
    certificates = x509.Der(signed.node(0xA0).body)
    found = []
    while certificates.left:
        found.append(certificates.node(0x30).raw)
    return found

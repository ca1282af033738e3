# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates and keys as files."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from tests.fuzz import seeds
from tests.fuzz.checks import check_shown, texts_in
from tests.fuzz.frame import target

CHAIN = seeds.pem(seeds.LEAF, seeds.MIDDLE)
KEY = seeds.private_pem(seeds.LEAF_KEY)
ANCHORS = [x509.read_certificate(seeds.ROOT)]


@target(
    "certificate.chain",
    seeds=(CHAIN, CHAIN.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + CHAIN, seeds.LEAF, seeds.pem(seeds.FALSE_LEAF), b""),
)
def chain(case: bytes) -> None:
    """A chain that is usable is one that an authority has signed."""
    found = _checks.judge(case, KEY, ["good.test"], seeds.NOW, anchors=ANCHORS)
    check_shown(*(text for finding in found["findings"] for text in texts_in(finding["message"])))
    if found["usable"]:
        assert found["certificate"]["fingerprint_sha256"] == x509.read_certificate(seeds.LEAF).sha256


@target(
    "certificate.key", seeds=(KEY, KEY.replace(b"\n", b"\r\n"), CHAIN + KEY, seeds.private_pem(seeds.OCSP_KEY), b"")
)
def key(case: bytes) -> None:
    """A key that is usable is the one of the certificate; no part of any is shown."""
    found = _checks.judge(CHAIN, case, ["good.test"], seeds.NOW, anchors=ANCHORS)
    secret = KEY.decode().splitlines()[1]
    assert not any(secret[-20:] in text for text in texts_in(found["findings"]))
    if found["usable"]:
        assert secret[-20:].encode() in b"".join(case.split())

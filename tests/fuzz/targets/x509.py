# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates."""

from __future__ import annotations

import warnings

from cryptography import x509 as reference

from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError
from tests.fuzz import mutations
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import target
from tests.fuzz.seeds import CERTIFICATES


@target("x509.certificate", seeds=CERTIFICATES, make=mutations.of_der, declared=ParseError)
def certificate(case: bytes) -> None:
    """What is read is text that can be shown, and what another library reads where that takes it."""
    read = x509.read_certificate(case)
    texts = [read.subject, read.issuer, read.signature, *read.dns_names, *read.ocsp_urls, *read.issuer_urls]
    check_shown(*texts, *read.crl_urls, read.key.description)
    assert isinstance(x509.date(read.not_after), str)
    assert x509.matches(read, "www.good.test") <= bool({"www.good.test", "*.good.test"} & _lower(read.dns_names))
    x509.chain_of([read, read])
    x509.ends_first(read, read, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            other = reference.load_der_x509_certificate(case)
            expected = int(other.not_valid_after_utc.timestamp()), other.tbs_certificate_bytes, _dns_names(other)
        except Exception:
            return  # it takes less than this one
    assert (read.not_after, read.tbs, read.dns_names) == expected


def _dns_names(other: reference.Certificate) -> list[str]:
    try:
        names = other.extensions.get_extension_for_class(reference.SubjectAlternativeName)
    except reference.ExtensionNotFound:
        return []
    return [printable(name) for name in names.value.get_values_for_type(reference.DNSName)]


def _lower(names: list[str]) -> set[str]:
    return {name.lower() for name in names}

# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The letter for made observations: any mixture of what an endpoint can have.

What each item costs is repeated in this table, apart from the rules.
"""

from __future__ import annotations

import random
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.module_utils._x509.certificate import Key
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import gather as _gather
from tests.fuzz.checks import check_shown, texts_in
from tests.fuzz.frame import target
from tests.unit import test_tls_grade as bed

Case = dict[str, int]

RC4, CBC, NULL = "TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_NULL_SHA"
EXPORT, ANONYMOUS = "TLS_RSA_EXPORT_WITH_RC4_40_MD5", "TLS_DH_anon_WITH_AES_128_CBC_SHA"


def _protocol(name: str, *suites: str) -> dict[str, t.Any]:
    return {f"protocols__{name}": True, f"ciphers__{name}": list(suites)}


def _leaf(**changes: t.Any) -> dict[str, t.Any]:
    return {"certificates": [bed.entry(bed.certificate(**changes))]}


def _rsa(bits: int, **more: t.Any) -> dict[str, t.Any]:
    return _leaf(key=Key("RSA", bits, modulus=5, **more))


def _hsts(**changes: t.Any) -> dict[str, t.Any]:
    return {f"hsts__{name}": value for name, value in changes.items()}


# Of each item: what it can be, and the best grade that is left of it, "T" and "M" if no grade is. The first costs none.
ITEMS: dict[str, tuple[tuple[dict[str, t.Any], str], ...]] = {
    "certificate": (
        ({}, "A+"),
        ({"certificates": [bed.entry(bed.certificate(), trusted=False, reason="own authority")]}, "T"),
        ({"certificates": [bed.entry(bed.certificate()), bed.entry(bed.certificate(), trusted=False)]}, "T"),
        (_leaf(not_after=bed.NOW - 1), "T"),
        (_leaf(not_before=bed.NOW + 1), "T"),
        (_leaf(digest="sha1"), "T"),
        ({"certificates": [bed.entry(bed.certificate(), ocsp="revoked")]}, "T"),
        (_leaf(dns_names=["other.test"]), "M"),
        (_leaf(digest="md5"), "F"),
        (_rsa(1000), "F"),
        (_rsa(1024), "B"),
        (_rsa(4096), "A+"),
        (_rsa(4096, exponent=1), "F"),
        (bed.entries(bed.alone(trusted=False, reason="no issuer")), "T"),
    ),
    "ssl2": (({}, "A+"), (_protocol("SSLv2", "SSL_CK_RC4_128_WITH_MD5"), "F")),
    "ssl3": (({}, "A+"), (_protocol("SSLv3", CBC), "C"), (_protocol("SSLv3", RC4), "B")),
    "tls10": (({}, "A+"), (_protocol("TLSv1.0", CBC), "B"), (_protocol("TLSv1.0", EXPORT), "F")),
    "tls11": (({}, "A+"), (_protocol("TLSv1.1", CBC), "B"), (_protocol("TLSv1.1", RC4), "B")),
    "tls12": (
        ({}, "A+"),
        ({"ciphers__TLSv1.2": [*bed.GOOD12, CBC]}, "A+"),
        ({"ciphers__TLSv1.2": [*bed.GOOD12, RC4]}, "B"),
        ({"ciphers__TLSv1.2": [*bed.GOOD12, NULL]}, "F"),
        ({"ciphers__TLSv1.2": [*bed.GOOD12, EXPORT]}, "F"),
        ({"ciphers__TLSv1.2": [*bed.GOOD12, ANONYMOUS]}, "F"),
    ),
    "tls13": (({}, "A+"), ({"protocols__TLSv1.3": False, "ciphers__TLSv1.3": []}, "A-")),
    "hsts": (
        ({}, "A+"),
        (_hsts(status="absent", max_age=None, headers=[]), "A"),
        (_hsts(status="present", max_age=15_000_000, headers=["max-age=15000000"]), "A"),
        (_hsts(status="disabled", max_age=0, headers=["max-age=0"]), "A-"),
        (_hsts(status="invalid", max_age=None, headers=["max-age=x"], reason="no number"), "A-"),
        (_hsts(status="error", max_age=None, headers=[], reason="no response"), "A"),
    ),
    "compression": (({}, "A+"), ({"features__compression": True}, "C")),
    "renegotiation": (
        ({}, "A+"),
        ({"features__secure_renegotiation": False}, "A-"),
        ({"features__secure_renegotiation": False, "features__client_renegotiation": True}, "F"),
    ),
    "dh": (({}, "A+"), ({"features__dh_bits": 1000}, "F"), ({"features__dh_bits": 1024}, "B")),
    "oracle": (({}, "A+"), ({"oracles": {"rsa": "it responds differently"}}, "F"), ({"oracles": {"cbc": "so"}}, "F")),
    "unclear": (({}, "A+"), ({"unclear": [{"query": "TLSv1.1", "result": "silence"}]}, "A")),
    "lost": (({}, "A+"), ({"lost": [{"query": "TLSv1.1", "result": "silence"}]}, "A+")),
}


def _mixture(source: random.Random, _cases: t.Sequence[Case]) -> Case:
    """An observation with some items that are not as they should be."""
    chosen = source.sample(list(ITEMS), source.choice((0, 1, 1, 2, 2, 3, 4, len(ITEMS))))
    return {name: source.randrange(len(ITEMS[name])) for name in chosen}


def _result(case: Case) -> t.Any:
    changes: dict[str, t.Any] = {}
    for name, number in case.items():
        changes.update(ITEMS[name][number][0])
    return bed.grade(bed.good(**changes))


@target("grade.letter", seeds=({}, {"certificate": 1, "tls10": 1}), make=_mixture)
def letter(case: Case) -> None:
    """The letter is none above what its items leave, no item makes it better, and a bad certificate hides it."""
    result = _result(case)
    left = {ITEMS[name][number][1] for name, number in case.items()}
    ignored = result["grade_trust_ignored"]
    _gather.check({"good.test": {"results": [result]}})
    check_shown(*texts_in(result["findings"]))
    if result["error"]:
        assert case.get("lost") and result["grade"] is ignored is None and "F" not in left
        return
    assert not case.get("lost") or ignored == "F"
    worst = max((GRADES.index(grade) for grade in left if grade in GRADES), default=0)
    assert GRADES.index(ignored) >= worst
    assert result["grade"] == ("T" if "T" in left else "M" if "M" in left else ignored)
    for name in [*case][:1]:
        without = _result({key: number for key, number in case.items() if key != name})["grade_trust_ignored"]
        assert without is None or GRADES.index(without) <= GRADES.index(ignored), (name, without, ignored)

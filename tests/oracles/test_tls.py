# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Agreement with testssl.sh and sslyze on the servers of the bed: protocols, suites, groups, letter.

Slow, hence apart from the unit tests: `pytest tests/oracles -k sslyze` takes seconds a server, `-k testssl` a minute.
Every difference that is allowed is written down here, or in `compared.py`, with its reason.
"""

from __future__ import annotations

import re

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import rules as _rules
from tests.unit import test_tls_bed as expected
from tests.unit import tls_bed as bed
from tests.unit.test_tls_bed import pki, sites, trust  # noqa: F401 - fixtures

from . import compared, scanners

# sslyze asks with OpenSSL 1.0.2e and 1.1.1w. It never sees suites that neither has, nor those of TLS 1.3 beside these.
TESTSSL_SUITES = {"ssl3": "SSLv3", "tls1": "TLSv1.0", "tls1_1": "TLSv1.1", "tls1_2": "TLSv1.2", "tls1_3": "TLSv1.3"}
TESTSSL_GROUPS = {"prime256v1": "secp256r1", "X25519": "x25519", "X448": "x448"}

# It counts 3DES by the length of its key; SSL Labs, and we, by what it is worth, 112 bits.
TRIPLE_DES = 168
BITS = dict((*((suite.name, suite.bits) for suite in data.SUITES.values()), *data.SSL2_SUITES.values()))

SERVERS = list(expected.NGINX) + list(expected.OLD) + ["Debian 11"]


@pytest.fixture
def server(request, pki, sites):  # noqa: F811
    """The port of the server with this name."""
    name = request.param
    if name in sites:
        yield name, sites[name]
        return
    (port,) = bed.free_ports()
    debian_11 = name == "Debian 11"
    running = expected.debian_11_server(pki, port) if debian_11 else expected.old_server(pki, port, name)
    with running:
        yield name, port


def ours(port, trust):  # noqa: F811
    return _grade.grade(expected.look(port, trust))


def as_testssl_sees(observation):
    """The observation without what testssl.sh does not look at."""
    ciphers = observation["ciphers"]
    # It asks for protocols without suites that have no authentication, so that one with these alone is not there.
    unseen = {protocol for protocol, names in ciphers.items() if all("_anon_" in name for name in names)}
    # Groups are asked for with the suites that it calls robust.
    robust = [
        name
        for protocol, names in ciphers.items()
        for name in names
        if protocol == "TLSv1.3" or ("_ECDHE_" in name and not re.search("RC4|3DES|NULL|PSK", name))
    ]
    return dict(
        observation,
        protocols={name: offered and name not in unseen for name, offered in observation["protocols"].items()},
        ciphers={protocol: names for protocol, names in ciphers.items() if protocol not in unseen},
        groups=observation["groups"] if robust else [],
    )


def suites(result, drop=()):
    return {protocol: sorted(names) for protocol, names in result["ciphers"].items() if protocol not in drop}


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_sslyze(server, pki, trust, tmp_path):  # noqa: F811
    name, port = server
    scan = scanners.sslyze(port, pki.path("root.pem"), tmp_path)
    assert scan["connectivity_status"] == "COMPLETED", scan["connectivity_error_trace"]
    assert suites(ours(port, trust)) == scanners.suites_by_sslyze(scan), name


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_testssl(server, pki, trust, tmp_path):  # noqa: F811
    name, port = server
    theirs = scanners.testssl(port, pki.path("root.pem"), tmp_path, scanners.RATED, scanners.RATED_LIMIT)
    observation = expected.look(port, trust)
    agrees_with_testssl(name, observation, theirs)
    if compared.WRITTEN_FOR in theirs["rating_spec"]:
        real = _grade.grade(observation)["grade"]
        difference = compared.LETTERS.get(name)
        assert theirs["overall_grade"] == (difference.value if difference else real), name
        assert difference is None or difference.value != real, name


def agrees_with_testssl(name, observation, theirs):
    """The same protocols, suites and groups, and the letter that follows from them by the rules that it knows."""
    result = _grade.grade(as_testssl_sees(observation))

    offered = scanners.protocols_by_testssl(theirs)
    assert " ".join(result["protocols"]) == offered, name

    found: dict[str, list[str]] = {}
    for key, words in theirs.items():
        kind, _underscore, _code = key.partition("-")[2].rpartition("_")
        if key.startswith("cipher-") and kind in TESTSSL_SUITES:
            found.setdefault(TESTSSL_SUITES[kind], []).append(words.split()[-1])
    # It lists the suites of SSL 2.0 by names of its own.
    assert suites(result, drop=("SSLv2",)) == {key: sorted(names) for key, names in found.items()}, name

    groups = set((theirs.get("FS_ECDHE_curves", "") + " " + theirs.get("FS_KEMs", "")).split())
    groups = {TESTSSL_GROUPS.get(group, group) for group in groups if group not in ("No", "KEMs", "offered", "not")}
    assert {group for group in result["groups"] if not group.startswith("ffdhe")} == groups, name

    grade = letter(as_testssl_sees(observation), compared.unrated(theirs))
    if theirs["SSLv2"] == scanners.GREETING and grade not in _rules.BESIDE:
        grade = "F"
    assert theirs["overall_grade"] == grade, name


def letter(observation, unrated):
    """The grade without these rules."""
    missing = {rule for one in unrated for rule in one.rules}
    if "tls.cipher.anonymous" in missing:
        # Those suites are what makes the key exchange, and by it the whole, zero.
        ciphers = observation["ciphers"].items()
        named = {protocol: [name for name in names if "_anon_" not in name] for protocol, names in ciphers}
        observation = dict(observation, ciphers=named)
    result = _grade.grade(observation)
    held = [entry["grade"] for entry in result["caps"] + result["warnings"] if entry["id"] not in missing]
    for mark in _rules.BESIDE:
        if mark in held:
            return mark
    score = _grade.total(dict(result["scores"], cipher=cipher_score(observation)))
    by_score = next(letter for limit, letter in _rules.LETTERS if score >= limit)
    return max([*held, "A+" if by_score == "A" else by_score], key=_rules.GRADES.index)


def cipher_score(observation):
    """The grader's, but for 3DES."""
    names = [name for names in observation["ciphers"].values() for name in names]
    bits = [TRIPLE_DES if "3DES" in name else BITS[name] for name in names]
    scores = [next((score for limit, score in _rules.CIPHER_SCORE if value < limit), 100) for value in bits] or [0]
    return (max(scores) + min(scores)) // 2 if min(scores) else 0

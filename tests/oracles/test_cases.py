# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""testssl.sh and sslyze on the servers whose grade is hard to find: protocols, and trust in the certificates.

Each difference from the grader is in `compared.py`. One that is not fails, and so does one that is there no more.
"""

from __future__ import annotations

import contextlib
import subprocess
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from tests.unit import tls_cases
from tests.unit.test_tls_cases import servers  # noqa: F401 - fixtures
from tests.unit.test_tls_trust import pki  # noqa: F401

from . import compared, scanners


@contextlib.contextmanager
def on_a_port(case, made):
    """The port of the case's server; C(made) is what its module of cases needs."""
    with case.serve(made) as where:
        yield where["port"] if isinstance(where, dict) else where


def look(port, ca_file):
    endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port}
    return _prober.probe(endpoint, "full", trust=_prober.Trust(ca_file, fetch_issuers=True))


def protocols(observation):
    """Those that are offered, with a question mark where that is unclear."""
    seen = observation["protocols"]
    return " ".join(name + ("" if seen[name] else "?") for name in scanners.PROTOCOLS_BY_AGE if seen[name] is not False)


def trust(result):
    """What the letter says of the certificates, if there are any."""
    if not result["certificate"]:
        return scanners.UNKNOWN
    return {"T": scanners.UNTRUSTED, "M": scanners.OTHER_NAME, None: scanners.UNKNOWN}.get(
        result["grade"], scanners.TRUSTED
    )


def agree(one, scanner, theirs):
    """The scanner reports what is written down for it."""
    difference = one.differences.get(scanner)
    if difference is None:
        assert theirs == one.ours
    elif difference.value == compared.VARIES:
        certain = {name for name in theirs.split() if not name.endswith("?")}
        assert theirs == scanners.NO_SCAN or certain <= set(one.ours.split())
    else:
        assert theirs == difference.value


PROTOCOLS = pytest.mark.parametrize("one", compared.PROTOCOLS, ids=lambda one: one.case.name)
TRUST = pytest.mark.parametrize("one", compared.TRUST, ids=lambda one: one.case.name)


@PROTOCOLS
def test_protocols(one, servers):  # noqa: F811
    with on_a_port(one.case, servers) as port:
        observation = look(port, servers.pki.path("root.pem"))
    assert protocols(observation) == one.ours
    assert (_grade.grade(observation)["grade"] or tls_cases.NONE) == one.case.letter


@PROTOCOLS
def test_protocols_by_sslyze(one, servers, tmp_path):  # noqa: F811
    with on_a_port(one.case, servers) as port:
        scan = scanners.sslyze(port, servers.pki.path("root.pem"), tmp_path)
    agree(one, scanners.SSLYZE, scanners.protocols_by_sslyze(scan))


@PROTOCOLS
def test_protocols_by_testssl(one, servers, tmp_path):  # noqa: F811
    with on_a_port(one.case, servers) as port:
        found = scanners.testssl(port, servers.pki.path("root.pem"), tmp_path, scanners.PROTOCOLS)
    agree(one, scanners.TESTSSL, scanners.protocols_by_testssl(found))


@TRUST
def test_trust(one, pki):  # noqa: F811
    with on_a_port(one.case, pki) as port:
        result = _grade.grade(look(port, pki.path("root.pem")))
    assert (result["grade"], trust(result)) == (one.case.letter, one.ours)


@TRUST
def test_trust_by_sslyze(one, pki, tmp_path):  # noqa: F811
    with on_a_port(one.case, pki) as port:
        scan = scanners.sslyze(port, pki.path("root.pem"), tmp_path)
    agree(one, scanners.SSLYZE, scanners.trust_by_sslyze(scan))


@TRUST
def test_trust_by_testssl(one, pki, tmp_path):  # noqa: F811
    with on_a_port(one.case, pki) as port:
        found = scanners.testssl(port, pki.path("root.pem"), tmp_path, scanners.CERTIFICATES)
    agree(one, scanners.TESTSSL, scanners.trust_by_testssl(found))


def test_every_difference_is_one():
    for one in (*compared.PROTOCOLS, *compared.TRUST):
        assert all(difference.value != one.ours for difference in one.differences.values()), one.case.name


def test_a_scan_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    late = tmp_path / "late"
    with pytest.raises(subprocess.TimeoutExpired):
        scanners.bounded(["sh", "-c", f"(sleep 1; touch {late}) & wait"], 0.3)
    time.sleep(1.5)
    assert not late.exists()

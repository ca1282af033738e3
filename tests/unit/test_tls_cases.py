# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile networks and servers, and the letters that are right: the same in both modes, and never a better one."""

from __future__ import annotations

import contextlib
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _tls_grade, _tls_prober

from . import tls_bed as bed
from . import tls_cases as cases


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield cases.Servers(bed.Pki(tmp_path_factory.mktemp("cases")), stack)


@pytest.fixture(scope="module")
def trust(servers):
    return _tls_prober.Trust(servers.pki.path("root.pem"))


def grade(where, trust, mode, timeout=10.0, **options):
    endpoint = {"host": "good.test", "address": "127.0.0.1", **where}
    return _tls_grade.grade(_tls_prober.probe(endpoint, mode, timeout, trust=trust, **options))


@pytest.mark.parametrize("case", cases.CASES, ids=[case.name for case in cases.CASES])
def test_both_modes_give_the_right_letter(servers, trust, case):
    letters = []
    for mode in ("quick", "full"):
        with case.serve(servers) as where:
            started = time.monotonic()
            result = grade(where, trust, mode, case.timeout)
            assert time.monotonic() - started < 2 * case.timeout
        letters.append(result["grade"] or cases.NONE)
        if case.letter == cases.NONE:
            assert case.error in result["error"]
        elif not case.lossy:
            assert result["error"] is None
    if case.lossy:
        assert set(letters) <= {case.letter, cases.NONE}, letters
    else:
        assert letters == [case.letter, case.letter]


@pytest.mark.parametrize("letter", ["B", "F"])
def test_a_limit_on_connections_never_makes_it_better(servers, trust, letter):
    """Twenty-five whole runs: none is better than the server, and nearly all find out what it is."""
    with cases.limited(letter)(servers) as where:
        letters = [grade(where, trust, "full")["grade"] for _run in range(25)]
    assert set(letters) <= {letter, None}
    assert letters.count(letter) > 20

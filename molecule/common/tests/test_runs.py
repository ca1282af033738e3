# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each run of the playbooks did, and what the clients of the hosts saw meanwhile."""

from __future__ import annotations

import pytest
from hardened import changed

RATE = 3  # requests a second that a client makes, as watch.py says
KINDS = ["check", "harden", "restore", "harden", "harden"]


@pytest.fixture
def one(runs, frontend):
    """One run on one host, by its number: (before, after, result)."""
    assert [run.kind for run in runs] == KINDS
    return lambda number: [
        part[frontend.host] for part in (runs[number].before, runs[number].after, runs[number].results)
    ]


@pytest.fixture
def method(frontend):
    return "instance" if frontend.host.endswith("u") else "namespace"


def test_check_mode_changes_nothing(one):
    before, after, _result = one(0)
    assert len(before) > 500
    assert changed(before, after) == []


def test_check_mode_says_what_would_change_and_how_it_went(one, method, frontend):
    _before, _after, result = one(0)
    assert result["changed"] and not result["rolled_back"]
    assert [entry["before"] for entry in result["diff"]] != [entry["after"] for entry in result["diff"]]
    assert result["rehearsal"]["method"] == method
    assert result["rehearsal"]["ok"]
    endpoints = result["rehearsal"]["endpoints"]
    assert {endpoint["protocol"] for endpoint in endpoints} == {"TLSv1.3"}
    assert {tuple(endpoint["hsts"]) for endpoint in endpoints} == {("max-age=31536000",)}
    assert {grade["grade_trust_ignored"] for grade in result["rehearsal"]["grades"]} == {"A+"}
    assert {None, frontend.name} <= {endpoint["server_name"] for endpoint in endpoints}


def test_check_mode_has_told_the_truth(one):
    before, after, result = one(1)
    assert result["changed"] and result["phase"] == "commit"
    assert one(0)[2]["diff"] == result["diff"]
    # Beside those in /etc there are the notes that Debian's tools keep of what is enabled.
    told = {
        path for path in (entry["after_header"].split(" (")[0] for entry in result["diff"]) if path.startswith("/etc/")
    }
    folders = {path for path, state in {**before, **after}.items() if state["kind"] == "d"}
    assert set(changed(before, after)) - folders == told


def test_the_rehearsal_is_as_good_as_the_host_allows(one, method):
    for number in range(len(KINDS)):
        assert one(number)[2]["rehearsal"]["method"] == method


def test_restoring_puts_every_file_back(one):
    first, _hardened, _result = one(1)
    _hardened, restored, result = one(2)
    assert result["changed"] and result["phase"] == "commit"
    assert changed(first, restored, times=False) == []


def test_hardening_anew_comes_to_the_same(one):
    assert changed(one(1)[1], one(3)[1], times=False) == []


def test_hardening_once_more_changes_nothing(one):
    before, after, result = one(4)
    assert not result["changed"] and result["diff"] == []
    assert changed(before, after) == []


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[f"{number}-{kind}" for number, kind in enumerate(KINDS)])
def test_no_request_is_lost(runs, frontend, number):
    if "no-site" in frontend.dirt:
        pytest.skip("has no TLS before it is hardened")
    lines = [line.split(" ", 2) for line in runs[number].requests(frontend.host)]
    seconds = float(lines[-1][0]) - float(lines[0][0])
    assert len(lines) > max(RATE, seconds * RATE / 2)
    assert [line for line in lines if line[2]] == []

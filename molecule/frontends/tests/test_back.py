# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients would suffer from is taken back, and in the end everything can be."""

from __future__ import annotations

import pytest
from hardened import changed


@pytest.fixture
def run(runs):
    """One run, by its kind."""
    kinds = [run.kind for run in runs]
    assert kinds == ["inputs", "harden", "worse", "absent"]
    return lambda kind: runs[kinds.index(kind)]


@pytest.mark.parametrize(
    ("change", "words"),
    [("frames", ["frame", "X-Frame-Options"]), ("bodies", ["413", "body"])],
    ids=["frames", "bodies"],
)
def test_a_change_that_clients_would_suffer_from_is_rolled_back(run, frontend, change, words):
    if change == "bodies" and frontend.host in ("apache12", "apache13"):
        pytest.skip("its Apache hands everything on, and its limit does not count for that")
    result = run("worse").results[frontend.host][change]
    assert result["failed"]
    assert result["rolled_back"]
    assert result["phase"] == "probe"
    assert all(word in result["msg"] for word in words), result["msg"]


def test_every_file_is_back_byte_for_byte(run, frontend):
    before, after = run("worse").before[frontend.host], run("worse").after[frontend.host]
    assert len(before) > 500
    assert changed(before, after, times=False) == []


def test_in_the_end_everything_is_as_if_nothing_had_been(run, frontend):
    before, hardened = run("inputs").before[frontend.host], run("harden").after[frontend.host]
    assert changed(before, hardened, times=False) != []
    assert changed(before, run("absent").after[frontend.host], times=False) == []
    assert changed(hardened, run("absent").before[frontend.host], times=False) == []

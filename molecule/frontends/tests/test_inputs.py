# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that are no good are refused by their names, before anything is staged."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://apache12", "ansible://nginx12"]


@pytest.fixture
def run(runs):
    return next(run for run in runs if run.kind == "inputs")


def test_each_is_refused_by_its_name_and_value(run, frontend):
    refused = run.results[frontend.host]
    assert len(refused) > 7
    for entry in refused:
        assert [words for words in entry["says"] if words not in entry["msg"]] == [], entry["msg"]


def test_the_host_is_not_even_asked(run, frontend):
    """The first task refuses, before it queries the host."""
    tasks = {entry["task"] for entry in run.results[frontend.host]}
    assert tasks <= {"Deploy the TLS policy"} or all("rgument" in task for task in tasks), tasks


def test_nothing_is_staged(run, frontend, host):
    assert run.after[frontend.host] == run.before[frontend.host]
    assert not any(".kopano-hardening" in path for path in run.before[frontend.host])

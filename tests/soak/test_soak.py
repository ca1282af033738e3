# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that is repeatedly hardened and restored is, each time, what it was, and nothing on it grows."""

from __future__ import annotations

import pytest
from bench import hosts

from . import cycles, flat, report

HOSTS = [host.name for host in hosts()]


@pytest.mark.parametrize("host", HOSTS)
def test_each_cycle_leaves_the_host_as_it_was(seen, host):
    assert seen[host].problems == []
    assert len(seen[host].cycles) == cycles.CYCLES


@pytest.mark.parametrize("host", HOSTS)
def test_no_request_is_lost(seen, host):
    assert seen[host].lost == []
    # Fewer than were due where the machine is busy, but some in each cycle.
    assert seen[host].requests >= 10 * cycles.CYCLES


@pytest.mark.parametrize("measure", flat.MEASURES, ids=lambda measure: measure.name)
@pytest.mark.parametrize("host", HOSTS)
def test_nothing_grows(seen, host, measure):
    verdict = report.verdict(seen[host], measure)
    assert verdict.flat, verdict
